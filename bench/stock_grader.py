"""What an instructor has without layerlab: a notebook's checks that call ``docker build`` once for each edit and read its output.

``bench/grading.py`` compares with it. It judges the rubric of ps1 as well as Docker's log allows: a step that installs, generates or
compiles is told by its text. Loaded by the stock notebooks with ``%load_ext stock_grader``; settings come from the environment:
``STOCK_APP`` the trusted app, ``STOCK_SEED`` for the edits.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from autograder.exercise.edits import Edit, draw
from autograder.exercise.workspace import Workspace, read_app

POINTS: Final = {
    "edit-source": 30,
    "edit-dependency": 15,
    "edit-schema": 10,
    "edit-unrelated": 10,
    "no-change": 5,
    "serves": 25,
    "size": 5,
}
_STEP: Final = re.compile(r"^#(\d+) \[[^\]]*\d+/\d+\] (RUN|COPY|ADD|WORKDIR) ?(.*)$")
_CACHED: Final = re.compile(r"^#(\d+) CACHED$")
_INSTALLS: Final = re.compile(r"npm (ci|install|i)\b")
_GENERATES: Final = re.compile(r"prisma.*generate")
_SECONDS: Final = 30


class Stock:
    """One submission."""

    def __init__(self) -> None:
        self.app = Path(os.environ["STOCK_APP"])
        self.files: dict[str, str] = {}
        self.place = Path(tempfile.mkdtemp(prefix="stock-"))
        self.tag = f"stock-{secrets.token_hex(6)}"
        self.made: set[str] = set()
        self.edits = draw(os.environ["STOCK_SEED"], read_app(self.app), nonce=secrets.token_hex(8))
        self.workspace: Workspace | None = None
        atexit.register(self.clean)

    def clean(self) -> None:
        """Remove the images and the context."""
        subprocess.run(["docker", "rmi", "-f", self.tag, *self.made], capture_output=True, check=False)
        shutil.rmtree(self.place, ignore_errors=True)

    def build(self) -> dict[str, bool]:
        """``docker build``: each step's text to whether it was cached. Raises ``RuntimeError`` for a build that fails."""
        assert self.workspace is not None
        identity = self.place / "iid"
        command = ["docker", "build", "--progress=plain", "--network=none", f"--iidfile={identity}", "-t", self.tag]
        command.append(str(self.workspace.directory))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-400:])
        self.made.add(identity.read_text(encoding="ascii").strip())
        names: dict[str, str] = {}
        cached: set[str] = set()
        for line in done.stderr.splitlines():
            if found := _STEP.match(line):
                names[found[1]] = f"{found[2]} {found[3]}"
            elif found := _CACHED.match(line):
                cached.add(found[1])
        return {text: number in cached for number, text in names.items()}

    def edited(self, edit: Edit) -> dict[str, bool]:
        """A build of the app as it is, whose result is cached, and one with the edit."""
        workspace = self.ready()
        with workspace.edited(edit):
            return self.build()

    def ready(self) -> Workspace:
        """The context, built once."""
        if self.workspace is None:
            self.workspace = Workspace(self.app, self.place / "context", self.files)
            self.build()
        return self.workspace

    def check(self, name: str) -> float:
        """The points of a check. Raises ``AssertionError`` for none."""
        share = getattr(self, name.replace("-", "_"))()
        assert share > 0, f"{name} is not met"
        return float(POINTS[name] * share)

    def edit_source(self) -> float:
        steps = self.edited(self.edits.source)
        installs = [cached for text, cached in steps.items() if _INSTALLS.search(text)]
        generates = [cached for text, cached in steps.items() if _GENERATES.search(text)]
        return 0.6 * (bool(installs) and all(installs)) + 0.4 * (bool(generates) and all(generates))

    def edit_dependency(self) -> float:
        return float(any(not cached for text, cached in self.edited(self.edits.dependency).items() if _INSTALLS.search(text)))

    def edit_schema(self) -> float:
        return float(any(not cached for text, cached in self.edited(self.edits.schema).items() if _GENERATES.search(text)))

    def edit_unrelated(self) -> float:
        return 0.5 * all(self.edited(self.edits.readme).values()) + 0.5 * all(self.edited(self.edits.modules).values())

    def no_change(self) -> float:
        workspace = self.ready()
        again = all(self.build().values())
        workspace.touch()
        return 0.5 * again + 0.5 * all(self.build().values())

    def serves(self) -> float:
        workspace = self.ready()
        with workspace.edited(self.edits.source):
            self.build()
        name = f"{self.tag}-run"
        port = str(self.edits.port)
        start = ["docker", "run", "-d", "--rm", "--network=host", "-e", f"PORT={port}", "--name", name, self.tag]
        subprocess.run(start, capture_output=True, check=True)
        try:
            end = time.monotonic() + _SECONDS
            while time.monotonic() < end:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                        return float(answer.read().decode().strip() == self.edits.answer)
                except OSError:
                    if not subprocess.run(["docker", "ps", "-q", "-f", f"name={name}"], capture_output=True, check=True).stdout:
                        return 0.0
                    time.sleep(0.1)
            return 0.0
        finally:
            subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)

    def size(self) -> float:
        self.ready()
        done = subprocess.run(["docker", "history", "-q", self.tag], capture_output=True, check=True)
        return float(bool(done.stdout))


def load_ipython_extension(ipython: Any) -> None:
    """The magics of the answer cells, and ``check``."""
    stock = Stock()
    for magic, file in (("dockerfile", "Dockerfile"), ("dockerignore", ".dockerignore")):
        ipython.register_magic_function(lambda _line, cell, file=file: stock.files.update({file: cell}), "cell", magic)
    ipython.push({"check": stock.check})
