"""The npm cache as graded commands see it: its packages are links to a directory in which the kernel tells what is opened.

What an overlay opens below itself nobody is told, so the files themselves must lie beside it, in a read-only mount. Everywhere else the
cache is as writable as any (``stacks.npm``): what a command removes, or adds, is gone with it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from layerlab.engines.embedded.executors.base import BindMount, Mount, OverlayMount
from layerlab.engines.embedded.stacks.npm import CONTENT, INDEX, NPM_CACHE, OFFLINE, PACKAGES, LentCache, make_lendable
from layerlab.fsutil import remove_written

_GZIP: Final = b"\x1f\x8b"


class OnShelf(NamedTuple):
    """What one command gets, and the directory that its packages are opened in."""

    lent: LentCache
    packages: str


class Shelf:
    """A cache for the commands of one submission. ``cache``: the filled one; ``directory``: where all is made, on a disk that is watched.

    Raises ``OSError``.
    """

    def __init__(self, cache: str, directory: str) -> None:
        self._directory = directory
        self._index = os.path.join(cache, "_cacache", INDEX)
        self._content = os.path.join(cache, "_cacache", CONTENT)
        self._names = {path.replace("/", "-"): path for path in sorted(_files(self._content))}
        self._place = tempfile.mkdtemp(prefix="shelf-", dir=directory)
        inner = os.path.join(self._place, "_cacache")
        shutil.copytree(self._index, os.path.join(inner, INDEX))
        for name in ("tmp", CONTENT):
            os.mkdir(os.path.join(inner, name))
        for name, path in self._names.items():
            link = os.path.join(inner, CONTENT, path)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(f"{PACKAGES}/{name}", link)
        make_lendable(self._place)

    def close(self) -> None:
        """Remove what was made for all commands."""
        remove_written(self._place)

    def lend(self, *, overlay: bool) -> OnShelf:
        """For one command; see ``stacks.npm.lend``. Raises ``OSError``."""
        place = tempfile.mkdtemp(prefix="npm-", dir=self._directory)
        try:
            packages, upper, work = (os.path.join(place, name) for name in ("packages", "upper", "work"))
            os.mkdir(packages)
            for name, path in self._names.items():
                _link(os.path.join(self._content, path), os.path.join(packages, name))
            mount: Mount
            if overlay:
                os.mkdir(upper)
                os.mkdir(work)
                mount = OverlayMount(source=self._place, target=NPM_CACHE, upper=upper, work=work)
            else:
                # With the modes that make_lendable gave.
                shutil.copytree(self._place, upper, symlinks=True)
                mount = BindMount(source=upper, target=NPM_CACHE, readonly=False)
            for path in (packages, upper):
                os.chmod(path, 0o777)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        mounts = (mount, BindMount(source=packages, target=PACKAGES, readonly=True, checked=True))
        return OnShelf(LentCache(place, {"npm_config_cache": NPM_CACHE, **OFFLINE}, mounts), packages)

    def packages(self, opened: Iterable[str]) -> set[str]:
        """The packages among opened files, by the names of their archives. What npm knows about packages is none."""
        found = {name for name in opened if name in self._names and _is_package(os.path.join(self._content, self._names[name]))}
        known = self._titles() if found else {}
        return {known.get(name, name) for name in found}

    def _titles(self) -> dict[str, str]:
        """Names of archives, by the names of files."""
        titles = {}
        for path in _files(self._index):
            with open(os.path.join(self._index, path), encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    with contextlib.suppress(ValueError, KeyError, AttributeError):
                        row: dict[str, Any] = json.loads(line.partition("\t")[2])
                        algorithm, _, digest = row["integrity"].partition("-")
                        name = base64.b64decode(digest).hex()
                        titles[f"{algorithm}-{name[:2]}-{name[2:4]}-{name[4:]}"] = posixpath.basename(row["key"])
        return titles


def _files(directory: str) -> Iterator[str]:
    """Paths of files, from the directory on."""
    for folder, _, names in os.walk(directory):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), directory)


def _link(source: str, target: str) -> None:
    """The same file under another name; on another disk, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        os.chmod(target, 0o666)


def _is_package(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(_GZIP)) == _GZIP
