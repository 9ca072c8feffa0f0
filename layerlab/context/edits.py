"""A tree with assumed edits: "what if this file changed", without touching the file."""

from __future__ import annotations

from collections.abc import Mapping

from layerlab.context.ignore import IgnoreRules
from layerlab.context.tree import Directory, Entry, directory_digest
from layerlab.sha256 import sha256

_NEW_FILE = 0o100644


class EditedDirectory:
    """``below`` with the content of some paths assumed to be other than it is; a path that is not there is assumed to appear.

    An edit of a path that the ignore rules hide changes nothing, as in a build.
    """

    def __init__(self, below: Directory | None, edits: tuple[str, ...], rules: IgnoreRules, prefix: str = "") -> None:
        self._below = below
        self._edits = edits
        self._rules = rules
        self._prefix = prefix
        self._entries: dict[str, Entry] | None = None
        self._digest: bytes | None = None

    def entries(self) -> Mapping[str, Entry]:
        """Entries by name."""
        if self._entries is None:
            found = dict(self._below.entries()) if self._below is not None else {}
            deeper: dict[str, list[str]] = {}
            for edit in self._edits:
                name, _, rest = edit.partition("/")
                deeper.setdefault(name, []).append(rest)
            for name, rests in deeper.items():
                path = self._prefix + name
                entry = found.get(name)
                if entry is None and self._rules.ignores("/".join(filter(None, [path, rests[0]]))):
                    continue
                inside = tuple(rest for rest in rests if rest)
                if inside or (entry is not None and entry.directory is not None):
                    # A directory named as the edit stands for some new file in it.
                    inside = inside or ("assumed-new-file",)
                    below = entry.directory if entry is not None else None
                    directory = EditedDirectory(below, inside, self._rules, path + "/")
                    if entry is not None or directory.entries():
                        attributes = entry.attributes if entry is not None and entry.directory is not None else b""
                        found[name] = Entry(entry.mode if entry is not None else 0o40755, directory=directory, attributes=attributes)
                else:
                    digest = sha256(b"assumed edit of " + path.encode("utf-8", "surrogateescape")).digest()
                    found[name] = Entry(entry.mode if entry is not None and not entry.is_symlink else _NEW_FILE, digest=digest)
            self._entries = found
        return self._entries

    def digest(self) -> bytes:
        """Recursive digest."""
        if self._digest is None:
            self._digest = directory_digest(self.entries())
        return self._digest
