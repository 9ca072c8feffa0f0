"""The files of an app that a widget shows and edits: which they are, what is in them, and writing them back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from layerlab.errors import UsageError
from layerlab.fsutil import write_atomically

# What a build or a package manager makes is nothing to edit, and there is much of it.
_HIDDEN: Final = frozenset((".git", "node_modules", "dist", "build", "__pycache__", ".venv", ".ipynb_checkpoints"))
_LARGEST: Final = 256 << 10
_MOST: Final = 100


class WorkCopy:
    """Text files below a directory, by path. Raises ``UsageError`` for a directory or a named file that is not there."""

    def __init__(self, directory: str, names: Iterable[str] | None = None) -> None:
        self.directory = os.path.abspath(directory)
        if not os.path.isdir(self.directory):
            raise UsageError(f"{directory} is not a directory", remedy="Give the directory of the app.")
        self._named = tuple(os.path.normpath(name) for name in names) if names is not None else None
        # Files with DOS line ends get them back: an editor of a page knows only one kind.
        self._dos: set[str] = set()
        # What each file had when it was last read or written here: whatever else it has is somebody else's work.
        self._known: dict[str, str] = {}
        for name in self._named or ():
            if not os.path.isfile(self._path(name)):
                raise UsageError(f"there is no file {name} in {directory}", remedy="Name files relative to the directory.")

    def read(self) -> dict[str, str]:
        """All files with their text, Dockerfiles left to last. What is not text, or is too large to edit, is left out."""
        names = self._named if self._named is not None else self._found()
        found: dict[str, str] = {}
        for name in names:
            text = self._text(name)
            if text is not None and (self._named is not None or len(found) < _MOST):
                found[name] = text
        self._known = dict(found)
        return {name: found[name] for name in sorted(found, key=_shown_order)} if self._named is None else found

    def write(self, name: str, text: str, *, replace: bool = False) -> None:
        """Give a file another content. A file that has it already is not touched.

        Raises ``UsageError``; unless ``replace`` is given, also for a file that somebody else changed since it was last read or written
        here.
        """
        path = self._path(name)
        there = self._text(name)
        if there == text:
            self._known[name] = text
            return
        if there is not None and not replace and self._known.get(name, there) != there:
            raise UsageError(
                f"{name} was changed elsewhere in the meantime, so what you typed is not saved",
                remedy="Copy it if you want to keep it, then run the cell of the Workbench again: it shows the file as it is now.",
            )
        try:
            data = (text.replace("\n", "\r\n") if name in self._dos else text).encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} cannot be written: it has half a character", remedy="Remove it, and try again.") from error
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, data, durable=False, mode=mode)
            self._known[name] = text
        except OSError as error:
            raise UsageError(f"{name} cannot be written: {error.strerror}", remedy="Check the permissions and free space.") from error

    def holds(self, name: str) -> bool:
        """Whether a name is one of a file of this directory, there or not: none that leads out of it, by dots or by a symbolic link."""
        try:
            self._path(name)
        except UsageError:
            return False
        return True

    def _path(self, name: str) -> str:
        try:
            # Links are followed, so that one within the directory stays a link when its file is written.
            path = os.path.realpath(os.path.join(self.directory, os.path.normpath(name)))
        except ValueError:
            path = ""
        if os.path.isabs(name) or not path.startswith(os.path.realpath(self.directory) + os.sep):
            raise UsageError(f"{name} is not in {self.directory}", remedy="Name files relative to the directory.")
        return path

    def _text(self, name: str) -> str | None:
        try:
            if not self.holds(name):
                return None
            with open(self._path(name), "rb") as stream:
                data = stream.read(_LARGEST + 1)
            text = data.decode()
        except (OSError, UnicodeDecodeError):
            return None
        if len(data) > _LARGEST or "\0" in text:
            return None
        if "\r\n" in text:
            self._dos.add(name)
            text = text.replace("\r\n", "\n")
        return text

    def _found(self) -> list[str]:
        """Dockerfiles first: without them there is nothing to build."""
        return sorted(self._walk(), key=lambda name: (not is_dockerfile(name), *_shown_order(name)))

    def _walk(self) -> Iterator[str]:
        for here, folders, names in os.walk(self.directory):
            folders[:] = sorted(folder for folder in folders if folder not in _HIDDEN)
            for name in names:
                if not name.startswith(".tmp-") and os.path.isfile(os.path.join(here, name)):
                    yield os.path.relpath(os.path.join(here, name), self.directory)


def _shown_order(name: str) -> tuple[bool, bool, bool, str]:
    return is_dockerfile(name), name.startswith("."), name.count("/") == 0, name


def is_dockerfile(name: str) -> bool:
    """Whether a file is one to build with, by its name."""
    base = os.path.basename(name).lower()
    return not base.endswith(".dockerignore") and (base.startswith("dockerfile") or base.endswith(".dockerfile"))
