"""What a client sends of a build context.

A builder asks for the sources of all steps, and the client adds what links among them lead to. It takes their paths for patterns like those
of an ignore file (fsutil ``NewFilterFS``; BuildKit ``normalizeContextPaths``): one that begins with an exclamation mark lets nothing
through, and blanks at the ends of one do not count. All other paths are patterns that match themselves.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping

from layerlab.context.ignore import SENT, IgnoreRules
from layerlab.context.select import compile_glob, has_wildcards
from layerlab.context.tree import Directory, Entry, directory_digest
from layerlab.errors import DockerfileError


def followed(root: Directory, paths: Iterable[str]) -> set[str]:
    """The paths that are asked for when sources are: those, with every link on the way and where it leads; empty: the root.

    A wildcard that matches a link counts as a path itself, and then so does all that it matches. Behind one that matches none, no link
    is seen. Rule: fsutil ``followlinks.go``.
    """
    found: set[str] = set()
    pending = list(paths)
    while pending:
        parts = [part for part in posixpath.normpath(f"/{pending.pop()}").split("/") if part]
        if not parts:
            found.add("")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            targets = _targets(root, parts[:count])
            if count < len(parts) and not targets:
                continue
            if path not in found:
                found.add(path)
                pending += ["/".join([target, *parts[count:]]) for target in targets]
            break
    return found


def _targets(root: Directory, parts: list[str]) -> list[str]:
    """Where a path leads that is a link, or a wildcard that matches some."""
    directory: Directory | None = root
    for part in parts[:-1]:
        entry = directory.entries().get(part) if directory is not None else None
        directory = entry.directory if entry is not None else None
    if directory is None:
        return []
    entries = directory.entries()
    names = [parts[-1]]
    if has_wildcards(parts[-1]):
        try:
            expression = compile_glob(parts[-1])
        except DockerfileError:
            # The error of its own step.
            return []
        names = [name for name in entries if expression.match(name)]
    links = [entry.target or "" for name in names if (entry := entries.get(name)) is not None and entry.is_symlink]
    return [link if link.startswith("/") else "/".join([*parts[:-1], link]) for link in links]


def sent(root: Directory, paths: Collection[str]) -> Directory:
    """The part of a tree that is sent for the paths of ``followed``, and more where that makes no difference.

    That is all where they say what they mean, or one is the root. Raises ``DockerfileError`` for a path that is no pattern.
    """
    if not any(path != path.strip() or path.startswith("!") or "[" in path or "\\" in path for path in paths):
        return root
    return sent_alone(root, paths)


def sent_alone(root: Directory, paths: Collection[str]) -> Directory:
    """The part of a tree that is sent for the paths of ``followed``, and nothing else. Raises as ``sent``."""
    if "" in paths:
        return root
    return _Sent(root, IgnoreRules([(0, path) for path in sorted(paths)], file=SENT), "")


class _Sent:
    """A directory without what the patterns do not match."""

    def __init__(self, below: Directory, patterns: IgnoreRules, prefix: str) -> None:
        self._below = below
        self._patterns = patterns
        self._prefix = prefix
        self._entries: dict[str, Entry] | None = None

    def entries(self) -> Mapping[str, Entry]:
        """Entries by name."""
        if self._entries is None:
            self._entries = {}
            for name, entry in sorted(self._below.entries().items()):
                path = self._prefix + name
                matched = self._patterns.ignores(path)
                if entry.directory is None:
                    if matched:
                        self._entries[name] = entry
                    continue
                below = _Sent(entry.directory, self._patterns, f"{path}/")
                if matched or below.entries():
                    self._entries[name] = Entry(entry.mode, directory=below, attributes=entry.attributes)
        return self._entries

    def digest(self) -> bytes:
        """Recursive digest."""
        return directory_digest(self.entries())
