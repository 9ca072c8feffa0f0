"""What a client sends of a build context, where that is not what the sources of a build name.

A builder asks for the sources of all steps, and for what links among them lead to. The client takes their paths for patterns like those of
an ignore file (fsutil ``NewFilterFS``; BuildKit ``normalizeContextPaths``): one that begins with an exclamation mark lets nothing
through, and blanks at the ends of one do not count. All other paths are patterns that match themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from layerlab.context.ignore import IgnoreRules
from layerlab.context.tree import Directory, Entry, directory_digest


def sent(root: Directory, paths: Collection[str]) -> Directory:
    """The part of a tree that is sent for these paths (without leading slashes): all where they say what they mean, or one is the root.

    Raises ``DockerfileError`` for a path that is no pattern.
    """
    if "" in paths or not any(path != path.strip() or path.startswith("!") for path in paths):
        return root
    return _Sent(root, IgnoreRules([(0, path) for path in sorted(paths)], file="the build context"), "")


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
