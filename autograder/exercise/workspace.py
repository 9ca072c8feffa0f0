"""A fresh copy of the trusted app with one student's texts in it, and edits that are made there and taken back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Final

from autograder.exercise.edits import NEEDED, SOURCES, Edit
from layerlab.errors import UsageError
from layerlab.fsutil import locked, remove_written

_NOT_COPIED: Final = ("Dockerfile*", ".dockerignore", "node_modules", "dist", "*.db", "*.db-journal", ".env", ".git")
NOT_OF_THE_APP: Final = ("node_modules", "dist", ".git")

_PREFIX: Final = "submission-"
# Beside a place: whoever works in it holds the lock of this file.
_HELD: Final = ".held"
# As ``mkdtemp`` names it; older versions said no more than "s".
_PLACE: Final = re.compile(rf"(?:{_PREFIX}|s)[a-z0-9_]{{8}}")


def read_app(app: Path) -> dict[str, str]:
    """The texts of the app that edits change: those that they need, and all sources. Raises ``UsageError``."""
    sources = (path.relative_to(app).as_posix() for path in sorted(app.glob(f"{SOURCES}*.ts")))
    try:
        return {path: (app / path).read_text(encoding="utf-8") for path in dict.fromkeys((*NEEDED, *sources))}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{app} is not the lesson's app: {error}") from error


def tree_digest(app: Path) -> str:
    """Identity of the app's files. Hexadecimal."""
    found = hashlib.sha256()
    for folder, folders, files in os.walk(app):
        folders[:] = sorted(name for name in folders if name not in NOT_OF_THE_APP)
        for name in sorted(files):
            path = Path(folder) / name
            found.update(f"{path.relative_to(app)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


@contextlib.contextmanager
def work_place(work: str) -> Iterator[str]:
    """A directory below ``work`` for the length of the block, held by a lock for as long as this process lives."""
    with locked(work + ".lock"):
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=work)
        descriptor = os.open(path + _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        remove_written(path)
        os.unlink(path + _HELD)
        os.close(descriptor)


def sweep(work: str) -> list[str]:
    """Remove the places below ``work`` whose owner was killed; returns their names. What cannot be removed stays for the next time."""
    swept = []
    with contextlib.suppress(OSError), locked(work + ".lock"):
        names = {name for entry in os.listdir(work) if _PLACE.fullmatch(name := entry.removesuffix(_HELD))}
        for name in sorted(names):
            path = os.path.join(work, name)
            with contextlib.suppress(OSError):
                # One without a lock is from a version that had none, or its owner has just begun to go.
                descriptor = os.open(path + _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_written(path)
                    if not os.path.lexists(path):
                        os.unlink(path + _HELD)
                        swept.append(name)
                finally:
                    os.close(descriptor)
    return swept


class Workspace:
    """A build context. ``app``: the trusted app; ``directory``: does not exist yet; ``files``: the student's, by name."""

    def __init__(self, app: Path, directory: Path, files: Mapping[str, str]) -> None:
        self.directory = directory
        shutil.copytree(app, directory, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        for name, text in files.items():
            (directory / name).write_bytes(text.encode("utf-8"))

    def paths(self) -> list[str]:
        """The paths of the files of the context."""
        return [str(path.relative_to(self.directory)) for path in sorted(self.directory.rglob("*"))]

    def others(self, names: Container[str]) -> list[bytes]:
        """What the files of the context hold, but for files with these names."""
        return [path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file() and path.name not in names]

    @contextlib.contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """For the length of the block, the edit is there."""
        before = {path: self._read(path) for path, _ in edit.files}
        made: list[Path] = []
        try:
            for path, text in edit.files:
                target = self.directory / path
                made += [parent for parent in (target, *target.parents) if not parent.exists()]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text.encode("utf-8"))
            yield
        finally:
            for path, content in before.items():
                if content is not None:
                    (self.directory / path).write_bytes(content)
            # Deepest first.
            for path_made in sorted(set(made), key=lambda path: len(path.parts), reverse=True):
                path_made.rmdir() if path_made.is_dir() else path_made.unlink()

    def _read(self, path: str) -> bytes | None:
        target = self.directory / path
        return target.read_bytes() if target.exists() else None

    def touch(self) -> None:
        """Give every file and folder another time, as ``git checkout`` and ``touch`` do."""
        for folder, _, names in os.walk(self.directory):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                status = os.stat(path)
                os.utime(path, ns=(status.st_atime_ns + 7_000_000_000, status.st_mtime_ns + 7_000_000_000))
