"""Whether code comes to what the edited source comes to: it is run, alone, where no compiler is.

A file with the marker and without the names of types may still be the source in disguise, which something turns back and compiles when
the container starts. No look at its bytes tells, since any disguise may be thought of. Only what a compiler has written says, as the
JavaScript that it is, what the drawn program comes to (``puzzle``); so each such file is run by itself in the base image, with stand-ins
for all that it imports (``run_compiled.cjs``), and the grader looks for the value among all texts that come out of it. The value is not
there to be found: it never leaves this process.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from autograder.sandbox.timing import Clock, TooSlow
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.reading import open_file
from layerlab.errors import LayerlabError

_PROGRAM: Final = "run_compiled.cjs"
# The second folder has nothing but the files.
_DOCKERFILE: Final = (
    "FROM {base}\nCOPY {program} environment.json /judge/\nCOPY files /judge/files\nRUN node /judge/{program} --all /judge/files\n"
)
# Of different content; an honest build makes one or two.
_FILES: Final = 8
_SAID_LIMIT: Final = 16 << 20
# Code that says something wherever code can be run.
_CONTROL: Final = "control"
_CONTROL_CODE: Final = b'exports.said = "yes";'
# By a limit on what they may use.
_KILLED: Final = 137


class Runner:
    """Runs files of one answer, each content once. ``base``: the image that they are run in; ``directory``: for the build context;
    ``value``: what the drawn program comes to with the variables ``environment``."""

    def __init__(
        self, engine: EmbeddedEngine, clock: Clock, base: str, directory: Path, value: str, environment: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._base = base
        self._directory = directory
        self._value = value
        self._environment = environment
        self._known: dict[str, bool] = {}

    def __call__(self, contents: Sequence[bytes]) -> tuple[bool, ...]:
        """Of each file, whether it comes to the value. Raises ``OSError`` and what the engine raises for trouble of its own."""
        names = [hashlib.sha256(content).hexdigest() for content in contents]
        new = {name: content for name, content in zip(names, contents, strict=True) if name not in self._known}
        wanted = dict(list(new.items())[: max(0, _FILES - len(self._known))])
        if wanted:
            said = self._run(wanted)
            self._known |= {name: any(self._value in text for text in said.get(name, ())) for name in wanted}
        return tuple(self._known.get(name, False) for name in names)

    def _run(self, files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """The texts that come out of each file. Of what ends the program that runs them all, nothing does."""
        said, problem = self._said(files)
        if problem and not self._said({_CONTROL: _CONTROL_CODE})[0].get(_CONTROL):
            raise LayerlabError(f"compiled code cannot be run here: {problem}")
        return said

    def _said(self, files: Mapping[str, bytes]) -> tuple[dict[str, list[str]], str]:
        """The texts, and what went wrong."""
        shutil.rmtree(self._directory, ignore_errors=True)
        (self._directory / "files").mkdir(parents=True)
        for name, content in files.items():
            (self._directory / "files" / name).write_bytes(content)
        here = Path(os.path.dirname(os.path.abspath(__file__)))
        shutil.copyfile(here / _PROGRAM, self._directory / _PROGRAM)
        (self._directory / "environment.json").write_bytes(msgspec.json.encode(self._environment))
        (self._directory / "Dockerfile").write_text(_DOCKERFILE.format(base=self._base, program=_PROGRAM), encoding="utf-8")
        try:
            record = self._clock.build(self._engine, BuildOptions(context=str(self._directory), offline=True))
        except TooSlow:
            return {}, ""
        if record.failure is not None:
            return {}, "" if record.failure.exit_status == _KILLED else record.failure.message
        diff_id = record.steps[-1].diff_id
        assert diff_id is not None
        path = posixpath.join(self._engine.store.path, self._engine.store.layer_path(diff_id), "said.json")
        try:
            with open(open_file(path), "rb") as stream:
                return msgspec.json.decode(stream.read(_SAID_LIMIT), type=dict[str, list[str]]), ""
        except msgspec.MsgspecError:
            return {}, ""
