"""``./lab fetch``: the packages of .venv, then what the course needs, for a classroom without a network."""

import argparse
import os
import subprocess

from launcher.installing import has_pip
from launcher.places import BASE_PINS, CONSTRAINTS, OFFLINE, PYTHON, ROOT, environment, replace_process, say


def fetch(arguments: list[str]) -> int:
    """The packages of .venv, then what the course needs. The folder can be carried to another machine with the same system and Python."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        return replace_process("layerlab", ["fetch", *arguments])
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--to", default=OFFLINE)
    chosen, others = options.parse_known_args(arguments)
    target = os.path.abspath(chosen.to)
    say(f"fetching Python packages into {target} ...")
    if (
        not has_pip()
        and subprocess.run([PYTHON, "-m", "ensurepip"], stdout=subprocess.DEVNULL, env=environment(), check=False).returncode != 0
    ):
        say("pip, which fetches them, cannot be put into .venv (see above)")
        return 1
    command = [PYTHON, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--dest", os.path.join(target, "wheels")]
    command += [
        "--requirement",
        os.path.join(ROOT, BASE_PINS),
        "--constraint",
        os.path.join(ROOT, CONSTRAINTS),
        "pip",
        "setuptools",
        "wheel",
    ]
    if subprocess.run(command, env=environment(), check=False).returncode != 0:
        say("the Python packages could not be fetched (see above)")
        return 1
    return replace_process("layerlab", ["fetch", "--to", target, *others])
