"""Making .venv fit the pins."""

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import time

from launcher.installer_process import SetupError, run_installer
from launcher.metadata import write_metadata
from launcher.places import (
    BASE_PINS,
    BASE_STAMP,
    CONSTRAINTS,
    LOCK,
    OFFLINE,
    PYTHON,
    ROOT,
    TEST_PINS,
    TEST_STAMP,
    VENV,
    is_ready,
    read,
    say,
    stamp,
    write,
)


def prepare(with_tests: bool) -> None:
    """Make .venv fit the pins. Quick where it does already. Ends the program with a message where that is impossible."""
    if is_ready(with_tests):
        return
    try:
        set_up(with_tests)
    except SetupError as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        say("stopped; the next run begins the set-up again")
        sys.exit(130)
    except OSError as error:
        sys.exit(f"lab: the set-up in {VENV} failed: {error.strerror or error}\n  Check free space and permissions, then run it again.")


def set_up(with_tests: bool) -> None:
    try:
        import fcntl
    except ImportError:
        raise SetupError("layerlab runs on Linux.\n  On Windows, use WSL or the Binder link in README.md.") from None

    os.makedirs(VENV, exist_ok=True)
    with open(LOCK, "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another ./lab is setting up .venv; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # The installer holds the lock as well: should this launcher be killed, the next waits until the installer is gone too.
        os.set_inheritable(lock.fileno(), True)
        if is_ready(with_tests):
            return
        relink()
        if not is_ready(with_tests):
            install(with_tests)


def relink() -> None:
    """Renew what this launcher itself puts into .venv, where that alone is old: the packages fit, and no network is needed."""
    if not os.access(PYTHON, os.X_OK):
        return
    wanted = {TEST_STAMP: stamp(BASE_PINS, TEST_PINS), BASE_STAMP: stamp(BASE_PINS)}
    fitting = [path for path, new in wanted.items() if (read(path) or b"").partition(b"\0")[2] == new.partition(b"\0")[2]]
    if BASE_STAMP in fitting:
        link_project()
        for path in fitting:
            write(path, wanted[path])


def install(with_tests: bool) -> None:
    begin = time.monotonic()
    before = {path: read(path) for path in (BASE_STAMP, TEST_STAMP)}
    old_interpreter = before[BASE_STAMP] is not None and (before[BASE_STAMP] or b"").split(b"\0")[:2] == stamp().split(b"\0")[:2]
    fresh = not (old_interpreter and os.access(PYTHON, os.X_OK))
    # From here until the stamps are back, an interruption leaves a .venv that the next run makes anew.
    for path in before:
        if os.path.exists(path):
            os.unlink(path)

    uv = shutil.which("uv")
    try:
        if uv is None or not install_with_uv(uv, fresh, with_tests):
            install_with_pip(fresh, with_tests)
    except SetupError:
        # The installer said no and left things as they were, most often for want of a network: what worked still works.
        if not fresh:
            for path, content in before.items():
                if content is not None:
                    write(path, content)
        raise
    link_project()
    compile_project()
    if with_tests or (not fresh and before[TEST_STAMP] == stamp(BASE_PINS, TEST_PINS)):
        write(TEST_STAMP, stamp(BASE_PINS, TEST_PINS))
    write(BASE_STAMP, stamp(BASE_PINS))
    say(f"ready after {time.monotonic() - begin:.0f} s")


def link_project() -> None:
    """Make the repository an installed package of .venv, ``layerlab`` its command and our settings Jupyter's, without a network.

    Paths are relative: a clone that is moved, .venv and all, still works.
    """
    for packages in glob.glob(os.path.join(glob.escape(VENV), "lib", "python3.*", "site-packages")):
        write(os.path.join(packages, "layerlab.pth"), os.path.relpath(ROOT, packages).encode() + b"\n")
        write_metadata(packages)
    command = os.path.join(VENV, "bin", "layerlab")
    write(command, b'#!/bin/sh\nexec "$(dirname -- "$(readlink -f -- "$0")")/python" -P -m layerlab "$@"\n')
    os.chmod(command, 0o755)
    folder = os.path.join(VENV, "etc", "jupyter")
    os.makedirs(folder, exist_ok=True)
    settings = os.path.join(folder, "jupyter_config.py")
    if os.path.lexists(settings):
        os.unlink(settings)
    # .venv may be a link itself, to another disk.
    ours = os.path.join(os.path.realpath(ROOT), "jupyter-config", "jupyter_config.py")
    os.symlink(os.path.relpath(ours, os.path.realpath(folder)), settings)


def compile_project() -> None:
    """Write the bytecode of our modules.

    Who may not write here, or is told not to (``PYTHONDONTWRITEBYTECODE``), would compile them at every start, which doubles it.
    """
    places = [os.path.join(ROOT, name) for name in ("layerlab", "autograder")]
    command = [PYTHON, "-m", "compileall", "-q", *filter(os.path.isdir, places)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def clear() -> None:
    """Empty .venv but for the lock, which another launcher may be waiting on."""
    for entry in list(os.scandir(VENV)):
        if entry.path == LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def pin_arguments(with_tests: bool) -> list[str]:
    names = [BASE_PINS, TEST_PINS] if with_tests else [BASE_PINS]
    result = ["--constraint", os.path.join(ROOT, CONSTRAINTS)]
    if "LAYERLAB_OFFLINE" in os.environ:
        result += ["--no-index", "--find-links", os.path.join(OFFLINE, "wheels")]
    for name in names:
        result += ["--requirement", os.path.join(ROOT, name)]
    return result


def install_with_uv(uv: str, fresh: bool, with_tests: bool) -> bool:
    """Set up with uv. False where uv failed: it does not read pip's configuration (mirrors, certificates), so pip may do better."""
    say(f"setting up .venv with uv: {summary(with_tests)}")
    try:
        if fresh:
            clear()
            run_installer("uv", [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, VENV])
        # uv gives its programs first lines as pip does; copying keeps a RUN or an edit from reaching uv's cache through a link.
        command = [uv, "pip", "install", "--python", PYTHON, "--link-mode", "copy", "--compile-bytecode", *pin_arguments(with_tests)]
        run_installer("uv", command)
    except SetupError as error:
        say(f"{error}\nlab: trying pip instead")
        return False
    return True


def install_with_pip(fresh: bool, with_tests: bool) -> None:
    say(f"setting up .venv with pip: {summary(with_tests)}")
    if not fresh and not has_pip():
        # uv made it. What is in it still works, so it is not made anew for that.
        run_installer("ensurepip", [PYTHON, "-m", "ensurepip"])
    if fresh:
        for module in ("venv", "ensurepip"):
            if importlib.util.find_spec(module) is None:
                raise SetupError(
                    f"this Python ({sys.executable}) has no module {module}, which makes virtual environments.\n"
                    f"  Debian, Ubuntu: apt-get install python3-venv (or python3.{sys.version_info[1]}-venv). Elsewhere: install uv."
                )
        clear()
        run_installer("venv", [sys.executable, "-m", "venv", VENV])
    command = [PYTHON, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    run_installer("pip", [*command, *pin_arguments(with_tests)])


def has_pip() -> bool:
    return bool(glob.glob(os.path.join(glob.escape(VENV), "lib", "python3.*", "site-packages", "pip", "__main__.py")))


def summary(with_tests: bool) -> str:
    text = b"".join(read(os.path.join(ROOT, name)) or b"" for name in ([BASE_PINS, TEST_PINS] if with_tests else [BASE_PINS]))
    names = [line.split("==")[0] for line in text.decode().splitlines() if "==" in line]
    return ", ".join(names) + ", and what they need"
