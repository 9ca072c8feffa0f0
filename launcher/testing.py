"""``./lab test``: checks, pytest, and the Docker daemons that some tests want."""

import os
import subprocess
import sys
import tempfile
import threading
import zlib

from launcher.installing import compile_project
from launcher.places import PYTHON, ROOT, environment, say

# Options of pytest that take a value as the next word, so that the value is not mistaken for a path to test.
VALUE_OPTIONS = frozenset(
    (
        *(
            "-k",
            "-m",
            "-p",
            "-c",
            "-o",
            "-n",
            "-r",
            "-W",
            "--cases",
            "--engine",
            "--share",
            "--many",
            "--maxfail",
            "--durations",
            "--tb",
            "--rootdir",
        ),
        *("--ignore", "--deselect", "--basetemp", "--junitxml", "--timeout", "--log-file", "--log-level", "--confcutdir"),
        *("--import-mode", "--dist", "--seed", "--hypothesis-seed"),
    )
)

# All Python but Jupyter's settings, which are given a name by whoever reads them.
TYPED = ("lab", "launcher", "layerlab", "autograder", "tests", "bench", "binder", "docs", "course-source", "exercises/build.py")

NEWEST = "-newest"
# What the embedded engine follows (tests/conformance/cases.py).
NEWEST_DAEMON = {"SUITE": "forky", "DOCKERD_FLAGS": "--feature containerd-snapshotter=true"}


def run_tests(arguments: list[str]) -> int:
    variables = environment()
    compile_project()
    if "--docker" not in arguments:
        return run_checks(arguments, variables)
    arguments = [argument for argument in arguments if argument != "--docker"]
    daemon = os.path.join(ROOT, "tests", "docker", "daemon.sh")
    place = daemon_directory()
    try:
        found = start_daemon(daemon, place)
        if not found:
            say("no Docker daemon can be had here, so its tests are skipped; the others run")
            return run_checks(arguments, variables)
        with_daemon = leading_to(found, variables)
        if names_a_path(arguments):
            return run_checks(arguments, with_daemon)
        newest = start_daemon(daemon, place + NEWEST, NEWEST_DAEMON)
        if not newest:
            say("the newest recorded Docker cannot be had here: the cases are compared with the other one")
        return run_lanes(arguments, variables, with_daemon, leading_to(newest or found, variables))
    finally:
        call_daemon(daemon, "stop", place)
        call_daemon(daemon, "stop", place + NEWEST)


def leading_to(found: dict[str, str], variables: dict[str, str]) -> dict[str, str]:
    """The environment in which ``docker`` is the client of a daemon that was started."""
    rest = {**variables, **found}
    path = rest.pop("PATH_OF_DOCKER", "")
    if path:
        rest["PATH"] = variables["PATH"].replace(os.pathsep, os.pathsep + path + os.pathsep, 1)
    return rest


def run_lanes(arguments: list[str], variables: dict[str, str], with_daemon: dict[str, str], with_newest: dict[str, str]) -> int:
    """All tests, those that need a daemon beside the others: much of either is waiting. What the daemon's print comes at the end."""
    folders = [os.path.join(ROOT, "tests", name) for name in ("docker", "binder")]
    pytest = [PYTHON, "-P", "-m", "pytest", "--rootdir", ROOT, "-c", os.path.join(ROOT, "pyproject.toml"), *arguments]
    remote = os.path.join(ROOT, "tests", "remote", "test_remote_on_docker.py")
    # Cases were recorded on that Docker: asked anew, they tell whether it is read as it was, and for that a part of them does.
    cases = ["--engine", "docker", "--share", "4", *(os.path.join(ROOT, "tests", name) for name in ("conformance", "differential")), remote]
    codes: list[int] = []
    with tempfile.TemporaryFile() as output:

        def beside() -> None:
            lanes = (
                ("the tests that need a daemon", folders, with_daemon),
                ("a quarter of the conformance cases with --engine docker, drawn builds, and ADD from a server", cases, with_newest),
            )
            for title, words, env in lanes:
                output.write(f"lab: {title} ...\n".encode())
                output.flush()
                command = [*pytest, *words]
                done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
                codes.append(done.returncode)

        thread = threading.Thread(target=beside)
        thread.start()
        say("the tests that need a Docker daemon run beside these; what they print comes at the end")
        try:
            result = run_checks([*arguments, *(f"--ignore={path}" for path in (*folders, remote))], variables)
        finally:
            thread.join()
            output.seek(0)
            sys.stdout.write(output.read().decode("utf-8", "replace"))
            sys.stdout.flush()
    return result or max(codes, default=1)


def daemon_directory() -> str:
    """Where the tests' Docker daemon lives: a place of this checkout's own, short enough for the path of a socket."""
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir())
    return os.path.join(folder, f"layerlab-docker-{zlib.crc32(os.fsencode(ROOT)):08x}")


def start_daemon(daemon: str, place: str, settings: "dict[str, str] | None" = None) -> dict[str, str]:
    """Bring up a Docker daemon. Returns the variables that lead to it; none where it cannot be had, after saying why."""
    say(f"starting a Docker daemon in {place} (the first time takes a minute) ...")
    code, lines = call_daemon(daemon, "start", place, settings)
    if code != 0 or not lines:
        return {}
    found = dict(word.partition("=")[::2] for word in lines[-1].split(" "))
    found["LAYERLAB_PRIVATE_DAEMON"] = "1"
    if "PATH" in found:
        found["PATH_OF_DOCKER"] = found.pop("PATH")
    return found


def call_daemon(daemon: str, verb: str, place: str, settings: "dict[str, str] | None" = None) -> "tuple[int, list[str]]":
    try:
        words = ["bash", daemon, verb, place]
        done = subprocess.run(words, env={**os.environ, **(settings or {})}, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        say(f"bash cannot be run: {error.strerror}")
        return 127, []
    return done.returncode, done.stdout.splitlines()


def run_checks(arguments: list[str], variables: dict[str, str]) -> int:
    failed: list[str] = []
    pytest_arguments = ["--rootdir", ROOT, "-c", os.path.join(ROOT, "pyproject.toml"), *arguments]
    if not names_a_path(arguments):
        typed = [path for path in TYPED if os.path.exists(os.path.join(ROOT, path))]
        for title, command in (
            ("ruff check", ["ruff", "check", "."]),
            ("ruff format", ["ruff", "format", "--check", "."]),
            ("mypy", ["mypy", "--explicit-package-bases", *typed]),
        ):
            say(f"{title} ...")
            if subprocess.run([PYTHON, "-P", "-m", *command], cwd=ROOT, env=variables, check=False).returncode != 0:
                failed.append(title)
        if failed:
            say(f"failed: {', '.join(failed)} (see above); pytest runs all the same")
        pytest_arguments = [*in_parallel(arguments), *pytest_arguments, os.path.join(ROOT, "tests")]
    done = subprocess.run([PYTHON, "-P", "-m", "pytest", *pytest_arguments], env=variables, check=False)
    return done.returncode or (1 if failed else 0)


def in_parallel(arguments: list[str]) -> list[str]:
    """pytest's options for a process on each CPU, unless the caller says how many, or wants to see or stop at what happens."""
    cpus = min(len(os.sched_getaffinity(0)), 4)
    if cpus < 2 or any(
        word.startswith(("-n", "--numprocesses", "--pdb", "-s", "--capture", "--collect-only", "--co")) for word in arguments
    ):
        return []
    return ["-n", str(cpus), "--dist", "loadgroup"]


def names_a_path(arguments: list[str]) -> bool:
    """Whether a file, folder or test id is among pytest's arguments."""
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in VALUE_OPTIONS:
            skip = True
        elif not argument.startswith("-"):
            return True
    return False
