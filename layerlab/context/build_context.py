"""The build context on disk, as a tree whose unchanged files are not read again.

A directory is listed when something asks for it and a file is hashed when a key needs it, so a step that copies
``package.json`` never touches the rest. What was hashed is kept in a checksum cache keyed by name, mode, size, mtime,
ctime and inode, as git's index does; an entry that was changed so recently that a second change could hide behind the
same time stamp ("racily clean") is not trusted and is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.select import resolve
from layerlab.context.tree import Directory, DiskDirectory, Entry, context_directory_digest, directory_attributes, file_digest
from layerlab.errors import ContextError, DockerfileError, UsageError
from layerlab.fsutil import write_atomically

_DIGEST: Final = 32
_UNKNOWN: Final = bytes(_DIGEST)
_FINE_WINDOW: Final = 50_000_000  # ns; a few ticks of the kernel's coarse clock
_COARSE_WINDOW: Final = 2_000_000_000  # ns; file systems that store whole seconds
_CACHE_VERSION: Final = 2

# What an ignore file decides about an entry: hidden (0), or one of these.
_FILE: Final = 1
_DIRECTORY: Final = 2
_WALK: Final = 3  # an ignored directory in which an exclusion may keep something

_Row = tuple[str, int, int, int, int, int]  # name, st_mode, size, mtime_ns, ctime_ns, inode


class _CachedDirectory(msgspec.Struct, array_like=True):
    listing: msgspec.Raw  # list[_Row]; compared as bytes, and decoded only when it differs
    state: bytes
    kept: bytes
    digests: bytes
    below: bytes
    digest: bytes


class _CacheFile(msgspec.Struct, array_like=True):
    version: int
    directories: dict[str, _CachedDirectory]


_decoder = msgspec.msgpack.Decoder(_CacheFile)
_rows_decoder = msgspec.msgpack.Decoder(list[_Row])
_encode = msgspec.msgpack.Encoder().encode


class ChecksumCache:
    """Checksums of one build context, kept in one file.

    A damaged or outdated file is taken as empty: it only costs hashing again.
    """

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.dirty = False
        self.directories: dict[str, _CachedDirectory] = {}
        if file is not None:
            try:
                with open(file, "rb") as stream:
                    loaded = _decoder.decode(stream.read())
            except (OSError, msgspec.MsgspecError):
                return
            if loaded.version == _CACHE_VERSION:
                self.directories = loaded.directories

    def save(self) -> None:
        """Write the cache back if anything changed. A store that cannot be written to is no error here."""
        if self.file is None or not self.dirty:
            return
        try:
            write_atomically(self.file, msgspec.msgpack.encode(_CacheFile(_CACHE_VERSION, self.directories)), durable=False)
        except OSError:
            return
        self.dirty = False


class _ContextDirectory:
    """One directory of the context, listed when first asked."""

    __slots__ = (
        "_below",
        "_cached",
        "_digest",
        "_entries",
        "_kept",
        "_listing",
        "_owner",
        "_racy_after",
        "_state",
        "_subdirectories",
        "_sums",
        "ignored",
        "relative",
    )

    def __init__(self, owner: BuildContext, relative: str, state: bytes, *, ignored: bool) -> None:
        self._owner = owner
        self.relative = relative
        self.ignored = ignored
        self._state = state
        self._listing: list[_Row] | None = None
        self._entries: dict[str, Entry] | None = None
        self._digest: bytes | None = None
        self._below = b""

    def _load(self) -> list[_Row]:
        if self._listing is not None:
            return self._listing
        owner = self._owner
        path = os.path.join(owner.path, self.relative) if self.relative else owner.path
        started = time.time_ns()
        try:
            with os.scandir(path) as scan:
                listing = [
                    (item.name, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
                    for item in scan
                    for s in (item.stat(follow_symlinks=False),)
                ]
        except OSError as error:
            raise _unreadable(self.relative or ".", error) from error
        self._racy_after = started
        cached = owner.cache.directories.get(self.relative)
        state = owner.signature + self._state
        if cached is not None and cached.state == state and bytes(cached.listing) == _encoded(listing):
            self._cached: _CachedDirectory | None = cached
            self._kept = cached.kept
            self._sums = bytearray(cached.digests)
        else:
            self._cached = None
            self._judge(listing)
            self._sums = self._reuse(listing, cached)
        self._listing = listing
        self._subdirectories: dict[str, _ContextDirectory] = {}
        for row, keep in zip(listing, self._kept, strict=True) if max(self._kept, default=0) > _FILE else ():
            if keep > _FILE:
                name = row[0]
                below = f"{self.relative}/{name}" if self.relative else name
                child_state = owner.rules.match(below, self._state)[1] if owner.rules else b""
                self._subdirectories[name] = _ContextDirectory(owner, below, child_state, ignored=keep == _WALK)
        return listing

    def _judge(self, listing: list[_Row]) -> None:
        rules = self._owner.rules
        kept = bytearray(len(listing))
        for number, row in enumerate(listing):
            name, mode = row[0], row[1]
            if stat.S_ISSOCK(mode):
                continue
            below = f"{self.relative}/{name}" if self.relative else name
            ignored = rules.match(below, self._state)[0] if rules else False
            if stat.S_ISDIR(mode):
                if not ignored:
                    kept[number] = _DIRECTORY
                elif rules.may_keep_below(below):
                    kept[number] = _WALK
            elif not ignored:
                kept[number] = _FILE
            if kept[number] and not name.isascii():
                _require_utf8(below)
        self._kept = bytes(kept)

    def _reuse(self, listing: list[_Row], cached: _CachedDirectory | None) -> bytearray:
        sums = bytearray(_DIGEST * len(listing))
        if cached is not None:
            known = {row[0]: (row, position) for position, row in enumerate(_rows_decoder.decode(cached.listing))}
            for number, row in enumerate(listing):
                old = known.get(row[0])
                if old is not None and old[0] == row:
                    start = old[1] * _DIGEST
                    sums[number * _DIGEST : (number + 1) * _DIGEST] = cached.digests[start : start + _DIGEST]
        return sums

    def attributes(self) -> bytes:
        """Of the directory itself."""
        return directory_attributes(os.path.join(self._owner.path, self.relative))

    def is_empty(self) -> bool:
        """Whether nothing below is kept; decides if an ignored directory shows at all."""
        self._load()
        return all(
            keep == 0 or (keep == _WALK and self._subdirectories[row[0]].is_empty())
            for row, keep in zip(self._listing or [], self._kept, strict=True)
        )

    def entries(self) -> Mapping[str, Entry]:
        """Kept entries by name. Raises ``ContextError``."""
        if self._entries is None:
            found: dict[str, Entry] = {}
            for number, (row, keep) in enumerate(zip(self._load(), self._kept, strict=True)):
                if keep == 0:
                    continue
                name, mode, size = row[0], row[1], row[2]
                if keep == _FILE:
                    target = self._read_link(name) if stat.S_ISLNK(mode) else None
                    found[name] = Entry(mode, size=size, target=target, digest=lambda number=number: self._sum(number))  # type: ignore[misc]
                else:
                    below = self._subdirectories[name]
                    if keep == _DIRECTORY or not below.is_empty():
                        found[name] = Entry(mode, directory=below, attributes=below.attributes)
            self._entries = found
        return self._entries

    def _read_link(self, name: str) -> str:
        try:
            return os.readlink(os.path.join(self._owner.path, self.relative, name))
        except OSError as error:
            raise _unreadable(os.path.join(self.relative, name), error) from error

    def _sum(self, number: int) -> bytes:
        start = number * _DIGEST
        known = bytes(self._sums[start : start + _DIGEST])
        if known != _UNKNOWN:
            return known
        row = self._load()[number]
        path = os.path.join(self._owner.path, self.relative, row[0])
        try:
            rdev = 0 if stat.S_ISREG(row[1]) or stat.S_ISLNK(row[1]) else os.lstat(path).st_rdev
            known = file_digest(path, row[1], rdev=rdev)
        except OSError as error:
            raise _unreadable(os.path.join(self.relative, row[0]), error) from error
        self._sums[start : start + _DIGEST] = known
        self._owner.hashed += 1
        self._owner.touched[self.relative] = self
        return known

    def digest(self) -> bytes:
        """Recursive digest of what is kept below. Raises ``ContextError``."""
        if self._digest is not None:
            return self._digest
        listing = self._load()
        shown: list[tuple[str, int, bytes]] = []
        below = bytearray()
        for row, keep in zip(listing, self._kept, strict=True) if self._subdirectories else ():
            if keep > 1:
                child = self._subdirectories[row[0]]
                if keep == _DIRECTORY or not child.is_empty():
                    sub = child.digest()
                    shown.append((row[0], row[1], sub))
                    below += sub
        cached = self._cached
        if cached is not None and cached.digest and cached.below == bytes(below):
            # A change of attributes has changed a time in the listing.
            self._digest = cached.digest
            return cached.digest
        shown = [(name, mode, self._subdirectories[name].attributes() + sub) for name, mode, sub in shown]
        for number, (row, keep) in enumerate(zip(listing, self._kept, strict=True)):
            if keep == _FILE:
                shown.append((row[0], row[1], self._sum(number)))
        self._digest = context_directory_digest(shown)
        self._owner.touched[self.relative] = self
        self._below = bytes(below)
        return self._digest

    def remember(self) -> None:
        """Put what is now known into the checksum cache, leaving out what is racily clean."""
        listing = self._load()
        sums = bytearray(self._sums)
        racy = False
        if not all(row[0].isascii() or _is_utf8(row[0]) for row in listing):
            return
        for number, row in enumerate(listing):
            newest = row[3] if row[3] > row[4] else row[4]
            window = _FINE_WINDOW if row[4] % 1_000_000_000 else _COARSE_WINDOW
            if newest > self._racy_after - window:
                # Of a directory the attributes may change once more.
                sums[number * _DIGEST : (number + 1) * _DIGEST] = _UNKNOWN
                racy = True
        digest = self._digest if self._digest is not None and not racy else b""
        self._owner.cache.directories[self.relative] = _CachedDirectory(
            msgspec.Raw(_encode(listing)), self._owner.signature + self._state, self._kept, bytes(sums), self._below, digest
        )
        self._owner.cache.dirty = True


class BuildContext:
    """What a build may read from a directory.

    ``path`` is absolute. ``hashed`` counts the files that had to be read. ``root`` is the tree that selections use.
    """

    def __init__(self, path: str, rules: IgnoreRules, cache: ChecksumCache) -> None:
        self.path = path
        self.rules = rules
        self.cache = cache
        self.signature = hashlib.sha256(rules.signature.encode("utf-8", "surrogateescape")).digest()[:8] if rules else b""
        self.hashed = 0
        self.touched: dict[str, _ContextDirectory] = {}
        self.root: Directory = _ContextDirectory(self, "", b"", ignored=False)

    def save(self) -> None:
        """Keep the checksums for the next build."""
        for directory in self.touched.values():
            directory.remember()
        self.touched.clear()
        self.cache.save()


def load_context(path: str, *, dockerfile: str | None = None, cache_file: str | None = None, ignoring: bool = True) -> BuildContext:
    """Open a build context.

    ``dockerfile`` is the absolute path of the Dockerfile: ``NAME.dockerignore`` beside it replaces ``.dockerignore``. ``ignoring``: whether
    there is an ignore file to read.
    Raises ``UsageError`` when the context is not a directory, or a path is not UTF-8: no record of a build could name it;
    ``DockerfileError`` on a bad ignore file.
    """
    absolute = os.path.abspath(path)
    if not os.path.isdir(absolute):
        what = "is not a directory" if os.path.exists(absolute) else "does not exist"
        raise UsageError(
            f"the build context {path} {what}", remedy="Give the directory that holds the files to copy, for example: layerlab build ."
        )
    for named in (absolute, dockerfile or ""):
        shown = os.fsencode(named).decode("utf-8", "replace")
        if shown != named:
            raise UsageError(f"the path {shown} is not UTF-8", remedy="Rename the directory or file, or build from a copy elsewhere.")
    return BuildContext(absolute, _ignore_rules(absolute, dockerfile) if ignoring else IgnoreRules(), ChecksumCache(cache_file))


def _ignore_rules(context: str, dockerfile: str | None) -> IgnoreRules:
    candidates = [f"{dockerfile}.dockerignore"] if dockerfile is not None else []
    candidates.append(os.path.join(context, ".dockerignore"))
    for named in candidates:
        candidate = _followed(named)
        if os.path.isdir(candidate):
            # As for Docker, a directory of that name is no ignore file.
            continue
        if os.path.exists(candidate) and not os.path.isfile(candidate):
            raise DockerfileError("the ignore file is not a regular file", file=named, remedy="Remove it, or put a file in its place.")
        try:
            with open(candidate, "rb") as stream:
                text = stream.read(1 << 20)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DockerfileError(f"the ignore file cannot be read: {error.strerror}", file=named) from error
        shown = os.path.relpath(named, context)
        return IgnoreRules(parse_ignore_file(text), file=named if shown.startswith("..") else shown)
    return IgnoreRules()


def _followed(file: str) -> str:
    """Where an ignore file is. A client sends nothing from above its folder, in which links lead as if it were ``/``; what is not there
    is no ignore file."""
    if not os.path.islink(file):
        return file
    folder, name = os.path.split(file)
    found = None
    with contextlib.suppress(OSError, DockerfileError):
        found = resolve(DiskDirectory(folder), name)
    return os.path.join(folder, found.real if found is not None else "")


def _encoded(listing: list[_Row]) -> bytes:
    try:
        return _encode(listing)
    except UnicodeEncodeError:
        return b""  # a name that is not UTF-8: such a directory is never in the cache


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _require_utf8(path: str) -> None:
    if not _is_utf8(path):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ContextError(
            f"the name of a file in the build context is not UTF-8: {shown}",
            remedy="Rename the file, or keep it out with a line in .dockerignore. Docker refuses such names too.",
        )


def _unreadable(path: str, error: OSError) -> ContextError:
    return ContextError(
        f"cannot read {path} in the build context: {error.strerror or error}",
        remedy="Make it readable, or keep it out of the build context with a line in .dockerignore.",
    )
