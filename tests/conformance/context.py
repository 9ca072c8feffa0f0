"""Build contexts on disk, made from a case's description, and the clock that gives files their times."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from .cases import Entry, Project, Settings

START = 1_700_000_000
"""The one modification time that every file of a context has at first."""


class Clock:
    """Gives a new time, in whole seconds, for every write: a test must not depend on how fast it runs."""

    def __init__(self) -> None:
        self.now = START

    def tick(self) -> int:
        """The next time."""
        self.now += 10
        return self.now


def create(directory: Path, project: Project) -> None:
    """Make the context of a project in ``directory``, which must not exist yet."""
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    # Directories that are given a mode come first, so that a file below one does not make it with another mode.
    for path, entry in sorted(project.context.items(), key=lambda item: not is_directory(item[1])):
        put(directory / path, entry)
    # An overridden file name is where the text goes: the builds of a project that name another file bring their own text.
    if project.dockerfile is not None:
        put(directory / str(project.build.get("file", "Dockerfile")), project.dockerfile)
    if project.dockerignore is not None:
        put(directory / ".dockerignore", project.dockerignore)
    for here, folders, names in os.walk(directory, topdown=False):
        for name in (*names, *folders):
            os.utime(os.path.join(here, name), (START, START), follow_symlinks=False)
    os.utime(directory, (START, START))


def write_dockerfile(directory: Path, settings: Settings, clock: Clock) -> None:
    """Write the Dockerfile that a step brings, which then stays; a new time, as for every write."""
    assert settings.dockerfile is not None
    path = directory / settings.file
    put(path, settings.dockerfile)
    stamp(path, clock.tick())


def is_directory(entry: Entry) -> bool:
    """Whether an entry of a context is a directory."""
    return isinstance(entry, dict) and bool(entry.get("dir"))


def put(path: Path, entry: Entry) -> None:
    """Write an entry: a file, a directory or a symlink. An existing file keeps its mode unless the entry gives one."""
    fields: dict[str, Any] = {"content": entry} if isinstance(entry, str) else entry
    make_parents(path)
    if "symlink" in fields:
        path.symlink_to(fields["symlink"])
        return
    mode = fields.get("mode")
    if fields.get("dir"):
        path.mkdir(exist_ok=True)
        path.chmod(int(mode or "0755", 8))
        return
    new = not path.exists()
    path.write_bytes(content(fields))
    if mode is not None or new:
        path.chmod(int(mode or "0644", 8))


def content(fields: dict[str, Any]) -> bytes:
    """The bytes that an entry or an edit describes."""
    data = base64.b64decode(fields["content_b64"]) if "content_b64" in fields else str(fields["content"]).encode("utf-8")
    return data * int(fields.get("repeat", 1))


def make_parents(path: Path) -> None:
    """Make the missing parent directories, mode 0755 whatever the umask."""
    missing = []
    parent = path.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for directory in reversed(missing):
        directory.mkdir()
        directory.chmod(0o755)


def stamp(path: Path, time: int) -> None:
    """Set the modification time of a file or of a symlink itself."""
    os.utime(path, (time, time), follow_symlinks=False)
