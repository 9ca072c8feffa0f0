"""What an image holds above its base: bytes, the largest folders, its user, and what only the build needed.

All of it is told by the files in the layers and by the image's configuration, never by the text of a Dockerfile.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry

_PACKAGE: Final = re.compile(r"(?:^|/)node_modules/((?:@[^/]+/)?[^/]+)/package\.json\Z")
_FOLDER: Final = re.compile(r"(.*?node_modules/[^/]+|[^/]+/[^/]+|[^/]+)(?:/.*)?\Z")
_LARGEST: Final = 5


class Needless(msgspec.Struct, frozen=True, kw_only=True):
    """What a build needs and its image does not.

    ``packages``   names of packages that ``package-lock.json`` has for development alone.
    ``compilers``  names of development dependencies that npm keeps without ``devDependencies``, as somebody's optional peer.
    ``sources``    names of the files that are compiled.
    ``files``      by size in bytes and digest, the package that a file is the largest of, or the name of a source: so it is known
                   wherever it stands and whatever it is called there.
    """

    packages: frozenset[str]
    compilers: frozenset[str]
    sources: frozenset[str]
    files: Mapping[int, Mapping[str, str]] = {}


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What an image holds above its base.

    ``own``      bytes of the files in all layers above the base, those that a later layer hides included.
    ``largest``  the largest folders (a folder in ``node_modules`` counts as one) with their bytes.
    ``user``     as in the configuration, empty for root; ``uid``: the number that it has in the image, -1 where it has none there.
    The others are what was found of a ``Needless``.
    """

    own: int = 0
    largest: tuple[tuple[str, int], ...] = ()
    user: str = ""
    uid: int = -1
    packages: tuple[str, ...] = ()
    compilers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def needless(
    manifest: Mapping[str, Any], lock: Mapping[str, Any], sources: Mapping[str, bytes], largest: Iterable[tuple[str, int, str]] = ()
) -> Needless:
    """What the image does not need, from decoded ``package.json`` and ``package-lock.json``. ``sources``: compiled files by path;
    ``largest``: of each package the name, and size and digest (SHA-256, hexadecimal) of its largest file."""
    flags: dict[str, set[str]] = {}
    for path, row in lock["packages"].items():
        if path:
            name = path.rpartition("node_modules/")[2]
            flags.setdefault(name, set()).add("dev" if row.get("dev") else "peer" if row.get("devOptional") else "needed")
    packages = frozenset(name for name, found in flags.items() if found == {"dev"})
    compilers = frozenset(name for name in manifest.get("devDependencies", {}) if flags.get(name) == {"peer"})
    files: dict[int, dict[str, str]] = {}
    for package, size, digest in largest:
        if package in packages | compilers:
            files.setdefault(size, {})[digest] = package
    for path, content in sources.items():
        files.setdefault(len(content), {})[hashlib.sha256(content).hexdigest()] = posixpath.basename(path)
    return Needless(packages=packages, compilers=compilers, sources=frozenset(map(posixpath.basename, sources)), files=files)


def contents_of(
    layers: Sequence[Sequence[LayerEntry]],
    origin: Mapping[str, int],
    below: int,
    unwanted: Needless,
    digest: Callable[[int, str, int], str],
    *,
    user: str = "",
    uid: int = -1,
) -> Contents:
    """See an image. ``layers``: members of every layer, lowest first; ``origin``: the layer, from 1, that each visible path comes from;
    ``below``: how many layers are the base's; ``digest``: of the file of a layer at a path, with a size."""
    sizes: Counter[str] = Counter()
    packages: set[str] = set()
    sources: set[str] = set()
    own = 0
    for number, members in enumerate(layers[below:], start=below + 1):
        for entry in members:
            own += entry.size
            if entry.size and (match := _FOLDER.fullmatch(entry.path)):
                sizes[match[1]] += entry.size
            if origin.get(entry.path) != number:
                continue
            known = unwanted.files.get(entry.size, {}) if entry.size else {}
            if known and (name := known.get(digest(number, entry.path, entry.size), "")):
                (sources if name in unwanted.sources else packages).add(entry.path if name in unwanted.sources else name)
            if match := _PACKAGE.search(entry.path):
                packages.add(match[1])
            elif posixpath.basename(entry.path) in unwanted.sources and "node_modules/" not in entry.path:
                sources.add(entry.path)
    return Contents(
        own=own,
        largest=tuple(sizes.most_common(_LARGEST)),
        user=user,
        uid=uid,
        packages=tuple(sorted(packages & unwanted.packages)),
        compilers=tuple(sorted(packages & unwanted.compilers)),
        sources=tuple(sorted(sources)),
    )
