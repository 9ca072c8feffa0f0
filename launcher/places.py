"""Where things are, and whether .venv is as it should be. Every run asks that, so nothing is imported here but os and sys."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(os.path.realpath(__file__))))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
# A stamp has the text of the pins that are installed. No stamp for the base: .venv is half made, and is made anew.
BASE_STAMP = os.path.join(VENV, "lab.stamp")
TEST_STAMP = os.path.join(VENV, "lab-test.stamp")
LOG = os.path.join(VENV, "lab.log")
LOCK = os.path.join(VENV, "lab.lock")
# What `fetch` stores, for a classroom without a network.
OFFLINE = os.path.join(ROOT, "offline")
CONSTRAINTS = "constraints.txt"
BASE_PINS = "requirements.txt"
TEST_PINS = "requirements-test.txt"
# Raise it when what this launcher itself puts into .venv changes, the project's entry points among it.
LAYOUT = "3"


def is_ready(with_tests: bool) -> bool:
    if not os.access(PYTHON, os.X_OK) or read(BASE_STAMP) != stamp(BASE_PINS):
        return False
    return not with_tests or read(TEST_STAMP) == stamp(BASE_PINS, TEST_PINS)


def stamp(*pins: str) -> bytes:
    """What the installed state must equal: the pins, word for word, and the interpreter that .venv was made with."""
    # The real path of the interpreter ends in its minor version: an upgraded system Python makes the old .venv useless.
    parts = [LAYOUT.encode(), os.fsencode(os.path.realpath(PYTHON))]
    parts += [read(os.path.join(ROOT, name)) or b"" for name in (*pins, CONSTRAINTS)]
    return b"\0".join(parts)


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def write(path: str, content: bytes) -> None:
    partial = path + ".partial"
    with open(partial, "wb") as stream:
        stream.write(content)
    os.replace(partial, path)


def environment() -> dict[str, str]:
    """The environment of what runs in .venv: its programs first on PATH, nothing that bends its Python."""
    result = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "__PYVENV_LAUNCHER__")}
    result["VIRTUAL_ENV"] = VENV
    # npm keeps compiled code in the system's directory for temporary files, under a name that everybody knows, and runs what is there.
    result["NODE_DISABLE_COMPILE_CACHE"] = "1"
    result["PATH"] = os.path.join(VENV, "bin") + os.pathsep + result.get("PATH", os.defpath)
    return result


def replace_process(module: str, arguments: list[str], variables: "dict[str, str] | None" = None) -> int:
    # -P: a file named json.py in the caller's folder, perhaps a student's, must not be imported.
    # -m instead of a script in .venv/bin: their first lines hold a path, which breaks when it is long, has a space or has moved.
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(PYTHON, [PYTHON, "-P", "-m", module, *arguments], variables or environment())


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)
