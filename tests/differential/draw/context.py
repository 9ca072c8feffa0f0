"""A build context and what is done to it between builds."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any, Final

from .archives import NAMES, archive
from .dice import Dice
from .ignore import ignore

FILES: Final = (
    *("a", "b.txt", "c.ts", "package.json", "README.md", ".hidden", "x y", "é"),
    *("src/index.ts", "src/util.ts", "src/deep/x", "src/deep/er/y", "lib/one.js", "lib/two.js", "docs/a.md", "docs/b.md", "empty/only"),
)
_ODD_NAMES: Final = ("[a]", "a*b", "-n", "back\\slash", "src/[id].ts", "d.x/y z", "ab", "src/a", "A", "src/b.txt", "#x", "!y")
_LINKS: Final = (
    ("link", "a"),
    ("dirlink", "src"),
    ("src/up", "../a"),
    ("src/side", "util.ts"),
    ("lib/abs", "/a"),
    ("dangling", "nowhere"),
    ("loop", "loop"),
)
_MORE_LINKS: Final = (
    ("dirlink", "src"),
    ("chain", "dirlink"),
    ("ld", "src/deep"),
    ("src/deep/back", ".."),
    ("lib/src", "../src"),
    ("lib/out", "../../etc"),
    ("link2", "link"),
    ("src/abs", "/lib"),
)
_DIRECTORIES: Final = ("src", "src/deep", "lib", "docs", "vacant", "vacant/inner")
_CONTENTS: Final = ("one\n", "two\n", "", "three", '{"name": "app"}\n', "#!/bin/sh\necho hello\n")
_MODES: Final = ("0644", "0644", "0644", "0755", "0600", "4755")
_DIRECTORY_MODES: Final = ("0755", "0700", "2755", "1777", "0750", "0555", "2775")
_TARGETS: Final = ("a", "src", "../a", "nowhere")
_EDITS: Final = (
    "write",
    "write",
    "append",
    "append",
    "delete",
    "chmod",
    "touch",
    "rename",
    "symlink",
    "new",
    "new",
    "ignore",
    "hardlink",
    "dir",
)

Edit = dict[str, Any]


class Context:
    """``entries``: what is there now, by path; directories are there for what was put into them."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self.entries: dict[str, Any] = {}
        self.ignore_file = ".dockerignore"
        self._folders: set[str] = set()
        self._made = 0

    def fill(self) -> dict[str, Any]:
        """Draw what is there at first."""
        dice = self._dice
        for path in FILES:
            if dice.chance(0.6):
                self._put(path, self._entry())
        for path in dice.some(_ODD_NAMES, dice.number(1, 4)) if dice.theme("patterns") or dice.theme("ignores", 0.5) else ():
            self._put(path, self._entry())
        if "a" not in self.entries:
            self._put("a", "one\n")
        for path, target in (*_LINKS, *(_MORE_LINKS if dice.theme("links") else ())):
            # Mostly to something: of a link to nothing little more is asked than whose name an error says.
            often = (0.5 if dice.theme("links") else 0.15) if self._leads(path, target) else 0.02
            if dice.chance(often) and self._free(path):
                self._put(path, {"symlink": target})
        for name in NAMES:
            if dice.chance(0.5 if dice.theme("archives") else 0.08):
                self._put(name, {"content_b64": archive(dice)})
        start = dict(self.entries)
        for path in _DIRECTORIES if dice.theme("modes") else ():
            if dice.chance(0.4):
                start[path] = {"dir": True, "mode": dice.one(_DIRECTORY_MODES)}
                self._folders.add(path)
        return start

    def attributes(self) -> list[Edit]:
        """Extended attributes for the first build: of a file that it has already a builder does not see new ones."""
        names = self._dice.some(sorted(self._files()), self._dice.number(1, 2)) if self._dice.theme("xattrs") else []
        return [{"op": "setxattr", "path": name, "name": "user.k", "value": "v"} for name in names]

    def links(self) -> list[str]:
        """Symbolic links to what may be a directory."""
        return [path for path, entry in self.entries.items() if isinstance(entry, dict) and "symlink" in entry]

    def edit(self) -> list[Edit]:
        """One thing that is done; it is done here, too."""
        kinds: list[str] = list(_EDITS)
        if self._dice.theme("moves"):
            kinds += ["move", "move", "replace", "empty", "remove", "back"]
        if self._dice.theme("modes"):
            kinds += ["folder", "folder", "folder"]
        if self._dice.theme("archives"):
            kinds += ["archive", "archive", "fifo"]
        edits: dict[str, Callable[[str], list[Edit]]] = {
            "append": lambda path: [{"op": "append", "path": path, "content": "more\n"}],
            "chmod": lambda path: [{"op": "chmod", "path": path, "mode": self._dice.one(_MODES)}],
            "touch": lambda path: [{"op": "touch", "path": path}],
            "ignore": lambda _: [{"op": "write", "path": self.ignore_file, "content": ignore(self._dice)}],
            "delete": self._delete,
            "rename": self._rename,
            "symlink": self._symlink,
            "new": self._new,
            "hardlink": self._hardlink,
            "dir": self._directory,
            "move": self._move,
            "replace": self._replace,
            "back": self._back,
            "empty": self._empty,
            "remove": self._remove,
            "folder": self._folder_mode,
            "archive": self._archive,
            "fifo": self._fifo,
        }
        path = self._dice.one(sorted(self._files()))
        return edits.get(self._dice.one(kinds), self._write)(path) or self._write(path)

    def _entry(self) -> Any:
        content, mode = self._dice.one(_CONTENTS), self._dice.one(_MODES)
        return content if mode == "0644" else {"content": content, "mode": mode}

    def _put(self, path: str, entry: Any) -> None:
        self.entries[path] = entry
        self._folders.update(_above(path))

    def _files(self) -> list[str]:
        return [path for path, entry in self.entries.items() if not (isinstance(entry, dict) and "symlink" in entry)]

    def _free(self, path: str) -> bool:
        """Whether a file may be made there: nothing has the name, no name above it is something else than a directory."""
        return path not in self.entries and path not in self._folders and not any(above in self.entries for above in _above(path))

    def _leads(self, path: str, target: str) -> bool:
        """Whether a link there leads to something, or out of the context."""
        led = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
        return led == "" or target == "../../etc" or led in self.entries or led in self._folders

    def _name(self) -> str:
        self._made += 1
        choices = [name for name in FILES if self._free(name)]
        odd = [name for name in _ODD_NAMES if self._free(name)] if self._dice.theme("patterns") else []
        fresh = [name for name in (f"src/new{self._made}.ts", f"n{self._made}") if self._free(name)]
        name: str = self._dice.one([*choices, *odd, *fresh])
        return name

    def _write(self, path: str) -> list[Edit]:
        return [{"op": "write", "path": path, "content": self._dice.one(_CONTENTS)}]

    def _delete(self, path: str) -> list[Edit]:
        if len(self._files()) <= 2:
            return []
        del self.entries[path]
        return [{"op": "delete", "path": path}]

    def _rename(self, path: str) -> list[Edit]:
        new = self._name()
        self._put(new, self.entries.pop(path))
        return [{"op": "rename", "path": path, "to": new}]

    def _symlink(self, _path: str) -> list[Edit]:
        new, target = self._name(), self._dice.one(_TARGETS)
        self._put(new, {"symlink": target})
        return [{"op": "symlink", "path": new, "target": target}]

    def _new(self, _path: str) -> list[Edit]:
        new = self._name()
        self._put(new, "new")
        return [{"op": "write", "path": new, "content": self._dice.one(_CONTENTS)}]

    def _hardlink(self, path: str) -> list[Edit]:
        new = self._name()
        self._put(new, self.entries[path])
        return [{"op": "hardlink", "path": new, "target": path}]

    def _directory(self, _path: str) -> list[Edit]:
        self._made += 1
        path = self._dice.one((f"dir{self._made}", f"src/dir{self._made}"))
        if not self._free(path):
            return []
        self._folders |= {path, *_above(path)}
        return [{"op": "mkdir", "path": path}]

    def _move(self, _path: str) -> list[Edit]:
        """A directory under another name."""
        if not self._folders:
            return []
        self._made += 1
        old = self._dice.one(sorted(self._folders))
        new = self._dice.one((f"moved{self._made}", f"{old}{self._made}", f"lib/moved{self._made}", "src", "lib"))
        if not self._free(new) or new.startswith(f"{old}/"):
            return []
        inside = [path for path in self.entries if path.startswith(f"{old}/")]
        moved = {new + path[len(old) :]: self.entries.pop(path) for path in inside}
        folders = {path for path in self._folders if path == old or path.startswith(f"{old}/")}
        self._folders -= folders
        self._folders |= {new + path[len(old) :] for path in folders} | set(_above(new))
        self.entries |= moved
        if not self._files():
            return []
        return [{"op": "rename", "path": old, "to": new}]

    def _remove(self, _path: str) -> list[Edit]:
        """A whole directory gone."""
        if not self._folders:
            return []
        old = self._dice.one(sorted(self._folders))
        left = {path: entry for path, entry in self.entries.items() if not path.startswith(f"{old}/")}
        if not any(path in left for path in self._files()):
            return []
        self.entries = left
        self._folders = {path for path in self._folders if path != old and not path.startswith(f"{old}/")}
        return [{"op": "delete", "path": old}]

    def _replace(self, path: str) -> list[Edit]:
        """A file where a directory was."""
        removed = self._remove(path)
        if not removed:
            return []
        self._put(removed[0]["path"], "was a directory\n")
        return [*removed, {"op": "write", "path": removed[0]["path"], "content": "was a directory\n"}]

    def _back(self, path: str) -> list[Edit]:
        """A directory where a file was."""
        if len(self._files()) <= 2 or "/" in path:
            return []
        del self.entries[path]
        self._put(f"{path}/in", "in\n")
        return [{"op": "delete", "path": path}, {"op": "write", "path": f"{path}/in", "content": "in\n"}]

    def _empty(self, _path: str) -> list[Edit]:
        """The only file of a directory somewhere else, so that it is left empty."""
        for path in self._dice.some(sorted(self._files()), 30):
            folder = posixpath.dirname(path)
            if folder and sum(other.startswith(f"{folder}/") for other in self.entries) == 1:
                return self._rename(path)
        return []

    def _folder_mode(self, _path: str) -> list[Edit]:
        if not self._folders:
            return []
        # That the builder does not see the mode of a directory that it has is known; of a new one it does.
        self._made += 1
        path = f"m{self._made}"
        self._put(f"{path}/f", "f\n")
        mode = self._dice.one(_DIRECTORY_MODES)
        return [{"op": "mkdir", "path": path, "mode": mode}, {"op": "write", "path": f"{path}/f", "content": "f\n"}]

    def _archive(self, _path: str) -> list[Edit]:
        present = [name for name in NAMES if name in self.entries]
        if not present:
            return []
        return [{"op": "write", "path": self._dice.one(present), "content_b64": archive(self._dice)}]

    def _fifo(self, _path: str) -> list[Edit]:
        self._made += 1
        path = self._dice.one((f"fifo{self._made}", f"src/fifo{self._made}"))
        if not self._free(path):
            return []
        # No entry: it is never written to.
        self._folders.update(_above(path))
        return [{"op": "mkfifo", "path": path}]


def _above(path: str) -> list[str]:
    words = path.split("/")
    return ["/".join(words[:depth]) for depth in range(1, len(words))]
