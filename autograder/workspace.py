"""A fresh copy of the trusted app with one student's texts in it, and edits that are made there and taken back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from autograder.edits import NEEDED, Edit
from layerlab.errors import UsageError

_NOT_COPIED: Final = ("Dockerfile*", ".dockerignore", "node_modules", "dist", "*.db", "*.db-journal", ".env", ".git")
NOT_OF_THE_APP: Final = ("node_modules", "dist", ".git")


def read_app(app: Path) -> dict[str, str]:
    """The texts of the app that edits change. Raises ``UsageError``."""
    try:
        return {path: (app / path).read_text(encoding="utf-8") for path in NEEDED}
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


class Workspace:
    """A build context. ``app``: the trusted app; ``directory``: does not exist yet; ``files``: the student's, by name."""

    def __init__(self, app: Path, directory: Path, files: Mapping[str, str]) -> None:
        self.directory = directory
        shutil.copytree(app, directory, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        for name, text in files.items():
            (directory / name).write_bytes(text.encode("utf-8"))

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
