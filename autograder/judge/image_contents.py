"""What an image holds above its base: bytes, the largest folders, its user, and what only the build needed.

All of it is told by the files in the layers and by the image's configuration, never by the text of a Dockerfile.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from autograder.judge.loaded_modules import without_blanks
from layerlab.model import ImageView
from layerlab.oci.tar_entries import LayerEntry

_PACKAGE: Final = re.compile(r"(?:^|/)node_modules/((?:@[^/]+/)?[^/]+)/package\.json\Z")
_FOLDER: Final = re.compile(r"(.*?node_modules/[^/]+|[^/]+/[^/]+|[^/]+)(?:/.*)?\Z")
_MODULES: Final = "node_modules/"
# Folders above a file of the app, in the app.
_DEEPEST: Final = 16
# Bytes of an archive's entry that can say what one likes, beside its name: owner, group, mode, time.
_ENTRY: Final = 16
_LARGEST: Final = 5
# Bytes of a file, and characters of a line, that are no accident where they are found again.
_TELLING: Final = 256
_LINE: Final = 8
# Of what a compiler takes out of a source.
_SAME: Final = 0.8
_MAP: Final = frozenset({"version", "file", "sourceRoot", "sources", "sourcesContent", "names", "mappings", "ignoreList"})
# Bytes that are read for sources: more of what nobody can account for costs the whole check.
_SEARCHED: Final = 64 << 20


class Reader(Protocol):
    """Reads files of an image's layers, which are numbered from 1."""

    def digest(self, layer: int, path: str, size: int) -> str:
        """Of a file that the layer has, with this size: SHA-256, hexadecimal."""
        ...

    def content(self, layer: int, path: str) -> bytes:
        """The start of a file that the layer has."""
        ...


class Needless(msgspec.Struct, frozen=True, kw_only=True):
    """What a build needs and its image does not.

    ``packages``   names of packages that ``package-lock.json`` has for development alone.
    ``compilers``  names of development dependencies that npm keeps without ``devDependencies``, as somebody's optional peer, and of what
                   they alone need.
    ``sources``    of each file that is compiled, by its name, the lines that no compiler leaves as they are, without blanks.
    ``files``      by size in bytes and digest, the package that alone has such a file, or the name of a source: so it is known wherever
                   it stands and whatever it is called there. Nothing for a file that may be there: of the app or of another package.
    ``names``      of the app's and its packages' files and folders. ``places``: their paths, those of packages from the package's name on,
                   and how many there are of each.
    """

    packages: frozenset[str]
    compilers: frozenset[str]
    sources: Mapping[str, frozenset[str]]
    files: Mapping[int, Mapping[str, str]] = {}
    names: frozenset[str] = frozenset()
    places: Mapping[str, int] = {}


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What an image holds above its base.

    ``own``      bytes of the files in all layers above the base, those that a later layer hides included, and of what links and extended
                 attributes say.
    ``largest``  the largest folders (a folder in ``node_modules`` counts as one) with their bytes.
    ``user``     as in the configuration, empty for root; ``uid``: the number that it has in the image, -1 where it has none there.
    ``unknown``  bytes of the files that are neither the app's own nor a package's nor made as the app's own commands make them, of what
                 links and extended attributes say, and of what an archive says of an entry where neither the app nor a package has one:
                 its name, owner, time; ``strange``: the folders where most are.
    The others are what was found of a ``Needless``.
    """

    own: int = 0
    largest: tuple[tuple[str, int], ...] = ()
    user: str = ""
    uid: int = -1
    packages: tuple[str, ...] = ()
    compilers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    unknown: int = 0
    strange: tuple[tuple[str, int], ...] = ()


def needless(
    manifest: Mapping[str, Any],
    lock: Mapping[str, Any],
    sources: Mapping[str, bytes],
    others: Iterable[bytes] = (),
    brought: Iterable[tuple[str, int, str]] = (),
    code: Container[str] = (),
    paths: Iterable[str] = (),
) -> Needless:
    """What the image does not need, from decoded ``package.json`` and ``package-lock.json``. ``sources``: compiled files by path;
    ``others``: what else the app has; ``brought``: of each file of a package the package, and size and digest (SHA-256, hexadecimal);
    ``code``: the lines that compiling makes, without blanks; ``paths``: of all files of the app and its packages."""
    flags: dict[str, set[str]] = {}
    for path, row in lock["packages"].items():
        if path:
            name = path.rpartition("node_modules/")[2]
            flags.setdefault(name, set()).add("dev" if row.get("dev") else "peer" if row.get("devOptional") else "needed")
    packages = frozenset(name for name, found in flags.items() if found == {"dev"})
    compilers = _with_parts({name for name in manifest.get("devDependencies", {}) if flags.get(name) == {"peer"}}, lock)
    files: dict[int, dict[str, str]] = {}
    for package, size, digest in brought:
        name = package if size >= _TELLING and package in packages | compilers else ""
        known = files.setdefault(size, {})
        known[digest] = name if known.get(digest, name) == name else ""
    for path, content in sources.items():
        files.setdefault(len(content), {})[hashlib.sha256(content).hexdigest()] = posixpath.basename(path)
    for content in others:
        files.setdefault(len(content), {})[hashlib.sha256(content).hexdigest()] = ""
    lines = {posixpath.basename(path): _telling(content, code) for path, content in sources.items()}
    places: Counter[str] = Counter()
    for path in paths:
        places.update(itertools.accumulate(path.split("/"), posixpath.join))
    names = frozenset(map(posixpath.basename, places))
    return Needless(packages=packages, compilers=compilers, sources=lines, files=files, names=names, places=places)


def _with_parts(compilers: set[str], lock: Mapping[str, Any]) -> frozenset[str]:
    """Compilers with the packages that nothing else depends on: one may be a program for each platform, in a package of its own."""
    users: dict[str, set[str]] = {}
    for path, row in lock["packages"].items():
        for kind in ("dependencies", "optionalDependencies", "peerDependencies"):
            for name in row.get(kind, {}):
                users.setdefault(name, set()).add(path.rpartition("node_modules/")[2])
    found = set(compilers)
    while more := {name for name, by in users.items() if by <= found} - found:
        found |= more
    return frozenset(found)


def _telling(source: bytes, code: Container[str]) -> frozenset[str]:
    """The lines of a source that compiled code has not, without blanks."""
    lines = map(without_blanks, source.decode("utf-8", "replace").splitlines())
    return frozenset(line for line in lines if len(line) >= _LINE and line not in code)


def contents_of(
    layers: Sequence[Sequence[LayerEntry]],
    origin: Mapping[str, int],
    below: int,
    unwanted: Needless,
    read: Reader,
    *,
    user: str = "",
    uid: int = -1,
) -> Contents:
    """See an image. ``layers``: members of every layer, lowest first; ``origin``: the layer, from 1, that each visible path comes from;
    ``below``: how many layers are the base's."""
    sizes: Counter[str] = Counter()
    packages: set[str] = set()
    sources: set[str] = set()
    strange: Counter[str] = Counter()
    places = Counter(unwanted.places)
    own = unknown = 0
    for number, members in enumerate(layers[below:], start=below + 1):
        at = {entry.path: entry.size for entry in members}
        for entry in members:
            said = _said(entry)
            own += entry.size + said
            if entry.size:
                sizes[_folder(entry.path)] += entry.size
            if origin.get(entry.path) != number:
                continue
            name = posixpath.basename(entry.path)
            odd = said
            if not _takes(places, entry.path):
                odd += _ENTRY + (len(os.fsencode(name)) if name not in unwanted.names else 0)
            if odd:
                strange[_folder(entry.path)] += odd
                unknown += odd
            # The size of a hard link stands with its first name, which may be gone.
            linked = entry.type == "hardlink" and origin.get(entry.target) != number
            if size := at.get(entry.target, 0) if linked else entry.size:
                known = unwanted.files.get(size, {}).get(read.digest(number, entry.path, size) if size in unwanted.files else "")
                if known:
                    (sources if known in unwanted.sources else packages).add(entry.path if known in unwanted.sources else known)
                elif known is None:
                    strange[_folder(entry.path)] += size
                    unknown += size
                    if unknown <= _SEARCHED and _is_source(read.content(number, entry.path), unwanted):
                        sources.add(entry.path)
            if match := _PACKAGE.search(entry.path):
                packages.add(match[1])
            elif name in unwanted.sources and "node_modules/" not in entry.path:
                sources.add(entry.path)
    return Contents(
        own=own,
        largest=tuple(sizes.most_common(_LARGEST)),
        user=user,
        uid=uid,
        packages=tuple(sorted(packages & unwanted.packages)),
        compilers=tuple(sorted(packages & unwanted.compilers)),
        sources=tuple(sorted(sources)),
        unknown=unknown,
        strange=tuple(strange.most_common(_LARGEST)),
    )


def _folder(path: str) -> str:
    """The folder that a path counts for, or the path itself."""
    match = _FOLDER.fullmatch(path)
    return match[1] if match else path


def _takes(places: Counter[str], path: str) -> bool:
    """Whether a path ends in one of ``places`` that nothing else has taken; it is taken then."""
    _, modules, tail = path.rpartition(_MODULES)
    parts = path.split("/")
    for place in (tail,) if modules else ("/".join(parts[at:]) for at in range(max(0, len(parts) - _DEEPEST), len(parts))):
        if places[place] > 0:
            places[place] -= 1
            return True
    return False


class Vain(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that one step put into a layer and a later one hides: ``made`` and ``by`` are their instructions, ``folder`` has the most."""

    size: int
    folder: str
    made: str
    by: str


def deleted_in_vain(view: ImageView, below: int) -> tuple[Vain, ...]:
    """What the steps of an answer hide of one another, the most bytes first. ``below``: the layers of the base."""
    sizes: dict[tuple[int, int], int] = Counter()
    folders: dict[tuple[int, int], Counter[str]] = {}
    for layer in view.layers[below:]:
        for file in layer.hidden:
            sizes[layer.number, file.by] += file.size
            match = _FOLDER.match(file.path)
            folders.setdefault((layer.number, file.by), Counter())[match[1] if match else file.path] += file.size
    makers = {layer.number: layer.created_by for layer in view.layers}
    return tuple(
        Vain(size=size, folder=folders[pair].most_common(1)[0][0], made=makers[pair[0]], by=makers[pair[1]])
        for pair, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    )


def said_in_vain(layers: Iterable[Sequence[LayerEntry]], origin: Mapping[str, int]) -> int:
    """Bytes of what links and extended attributes say that a later layer hides. Arguments: see ``contents_of``."""
    return sum(_said(entry) for number, members in enumerate(layers, start=1) for entry in members if origin.get(entry.path) != number)


def _said(entry: LayerEntry) -> int:
    """Bytes in an entry that are no file's."""
    target = len(os.fsencode(entry.target)) if entry.type == "symlink" else 0
    return target + sum(len(os.fsencode(name)) + len(value) for name, value in entry.xattrs.items())


def _without_quotations(content: bytes) -> bytes:
    """A file, or nothing for a source map (ECMA-426): a debugger shows the sources that it quotes."""
    if content.lstrip().startswith(b"{") and b'"mappings"' in content:
        with contextlib.suppress(ValueError, RecursionError):
            if {"version", "sources", "mappings"} <= json.loads(content).keys() <= _MAP:
                return b""
    return content


def _is_source(content: bytes, unwanted: Needless) -> bool:
    """Whether a file has nearly all that a compiler takes out of a source, whatever stands around it and however it is indented."""
    text = without_blanks(_without_quotations(content).decode("utf-8", "replace"))
    return any(lines and sum(line in text for line in lines) >= _SAME * len(lines) for lines in unwanted.sources.values())
