"""What ADD takes from a web server: asked for, checked and kept.

Rule: BuildKit ``source/http/source.go``. A file that came with an ETag is asked for by it; one whose ``--checksum`` is known is not asked
for at all. What counts for the cache is the file: its name, its bytes and its mode, 0600.

    remote/ID/SHA256-TIME/NAME    a file, ID from its URL and its name
    remote/ID/known               what is known of it, the newest version last
"""

from __future__ import annotations

import calendar
import contextlib
import datetime
import email.utils
import hashlib
import os
import re
import time
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from layerlab.context import Selected, Selection, select
from layerlab.context.select import Picked
from layerlab.context.tree import DiskDirectory, Row
from layerlab.engines.embedded.rootfs.compression import expansion_limit
from layerlab.engines.embedded.store import Store
from layerlab.errors import RemoteFileError
from layerlab.fsutil import locked, remove_written, write_atomically
from layerlab.oci.registry_http import NOT_A_REGISTRY, Answer, Http, RegistryError, origin
from layerlab.reports import Report, Transferred
from layerlab.solver.ops import RemoteFile
from layerlab.version import __version__

_MODE: Final = 0o600
_GZIP: Final = 31
# At once, packed and unpacked.
_PACKED: Final = 1 << 14
_PIECE: Final = 1 << 20
_KNOWN: Final = 8
_ANSI_C: Final = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4}")
_SECOND: Final = 1_000_000_000
_REPORT_SECONDS: Final = 2.0
_NOT_MODIFIED: Final = 304


class _Version(msgspec.Struct):
    """One version of a file. ``etag`` is empty where the server gave none; ``modified``: seconds since 1970, or 0."""

    etag: str
    sha256: str
    modified: int
    digest: str
    picked: list[Picked]
    rows: list[Row]


_decoder = msgspec.json.Decoder(list[_Version])


class RemoteFiles:
    """The files of a store that came from web servers."""

    def __init__(self, store: Store, report: Report, *, offline: bool) -> None:
        self._store = store
        self._report = report
        self._offline = offline

    def here(self, url: str, name: str, checksum: str) -> RemoteFile | None:
        """A file that is here and known to be what the server has, without fetching it."""
        place = self._place(url, name)
        known = self._known(place)
        found = next((version for version in known if checksum == f"sha256:{version.sha256}"), None)
        if found is None and not checksum and not self._offline:
            try:
                found = self._unchanged(url, known)
            except RegistryError:
                return None
        return self._file(place, name, found) if found is not None else None

    def fetch(self, url: str, name: str, checksum: str) -> RemoteFile:
        """A file as the server has it now. Raises ``RemoteFileError``, ``StoreError``."""
        try:
            origin(url)
        except RegistryError:
            raise RemoteFileError(
                f"{_hidden(url)} cannot be fetched: it has a name or password, or letters that belong in no address",
                remedy="Write what is not ASCII as %XX; for a file behind a password use a secret and a RUN.",
            ) from None
        place = self._place(url, name)
        with self._store.guarded():
            os.makedirs(place, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with self._store.guarded():
                stack.enter_context(locked(os.path.join(place, "lock")))
            found = self.here(url, name, checksum)
            if found is not None:
                return found
            if self._offline:
                raise RemoteFileError(
                    f"{url} is not fetched: this build is offline",
                    remedy="Download the file into the build context and COPY it, or build without --offline.",
                )
            try:
                version = self._download(url, name, place, checksum)
            except RegistryError as error:
                remedy = None if error.remedy == NOT_A_REGISTRY else error.remedy
                raise RemoteFileError(
                    f"{url}: {error.message}", remedy=remedy or "Check the address, the network and the proxy."
                ) from error
        return self._file(place, name, version)

    def _place(self, url: str, name: str) -> str:
        key = hashlib.sha256(f"{url}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return os.path.join(self._store.path, "remote", key)

    def _known(self, place: str) -> list[_Version]:
        try:
            with open(os.path.join(place, "known"), "rb") as stream:
                found = _decoder.decode(stream.read())
        except (OSError, msgspec.MsgspecError):
            return []
        return [version for version in found if os.path.isdir(self._directory(place, version))]

    @staticmethod
    def _directory(place: str, version: _Version) -> str:
        return os.path.join(place, f"{version.sha256}-{version.modified}")

    def _file(self, place: str, name: str, version: _Version) -> RemoteFile:
        return RemoteFile(
            name=name, directory=self._directory(place, version), selected=Selected(version.digest, tuple(version.picked), version.rows)
        )

    # --- asking -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _http(url: str) -> Http:
        bundle = os.environ.get("SSL_CERT_FILE", "")
        return Http(origin(url).host, f"layerlab/{__version__}", bundle if os.path.isfile(bundle) else "")

    def _unchanged(self, url: str, known: list[_Version]) -> _Version | None:
        """The version that the server says is still the one. Raises ``RegistryError``."""
        tags = {version.etag: version for version in known if version.etag}
        if not tags:
            return None
        headers = {"If-None-Match": ", ".join(tags), "Accept-Encoding": "gzip"}
        with self._http(url).open("HEAD", url, headers=headers) as answer:
            etag = _etag(answer)
            if answer.status == _NOT_MODIFIED and not etag and len(tags) == 1:
                return next(iter(tags.values()))
            return tags.get(etag) if answer.status in (200, _NOT_MODIFIED) else None

    def _download(self, url: str, name: str, place: str, checksum: str) -> _Version:
        scratch = os.path.join(self._store.path, self._store.scratch_directory())
        try:
            return self._downloaded(url, name, place, checksum, scratch)
        finally:
            remove_written(scratch)

    def _downloaded(self, url: str, name: str, place: str, checksum: str, scratch: str) -> _Version:
        path = os.path.join(scratch, name)
        sha = hashlib.sha256()
        with self._http(url).open("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
            if not 200 <= answer.status < 400 or answer.status == _NOT_MODIFIED:
                raise RemoteFileError(f"{url}: invalid response status {answer.status}", remedy="Check the address in a browser.")
            with self._store.guarded(), open(path, "xb", opener=_private) as stream:
                for block in self._watched(url, _unpacked(answer, url)):
                    sha.update(block)
                    stream.write(block)
            etag, modified = _etag(answer), _modified(answer)
        digest = sha.hexdigest()
        if checksum not in ("", f"sha256:{digest}"):
            raise RemoteFileError(
                f"{url}: digest mismatch sha256:{digest}: {checksum}",
                remedy="The file is another one than the Dockerfile was written for: look at it before you change --checksum.",
            )
        with self._store.guarded():
            os.utime(path, ns=(modified * _SECOND, modified * _SECOND))
            selected = select(DiskDirectory(scratch, owners={}), Selection(f"/{name}"), where=url)
            version = _Version(etag, digest, modified, selected.digest, list(selected.picked), selected.rows())
            target = self._directory(place, version)
            if not os.path.isdir(target):
                os.rename(scratch, target)
            known = [other for other in self._known(place) if other.etag != etag]
            write_atomically(os.path.join(place, "known"), msgspec.json.encode([*known, version][-_KNOWN:]))
        return version

    def _watched(self, url: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
        told, came = time.monotonic(), 0
        for block in blocks:
            came += len(block)
            if time.monotonic() - told > _REPORT_SECONDS:
                told = time.monotonic()
                self._report(Transferred(f"fetching {url}", came))
            yield block


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, _MODE)


def _unpacked(answer: Answer, url: str) -> Iterator[bytes]:
    """The body, without what the server packed it in on the way."""
    if answer.headers.get("Content-Encoding", "").strip().lower() != "gzip":
        yield from answer.blocks()
        return
    unpack = zlib.decompressobj(_GZIP)
    came = made = 0
    try:
        for received in answer.blocks():
            for start in range(0, len(received), _PACKED):
                block = received[start : start + _PACKED]
                came += len(block)
                whole = False
                while not whole:
                    if unpack.eof:
                        # Of several members, the next one.
                        unpack = zlib.decompressobj(_GZIP)
                    piece = unpack.decompress(block, _PIECE)
                    made += len(piece)
                    limit = expansion_limit(came)
                    if made > limit:
                        raise RemoteFileError(
                            f"{_hidden(url)}: what the server sent unpacks to more than {limit / 1e6:.0f} MB, the limit for its size",
                            remedy="Is it meant to? Then have the server send it as it is, without Content-Encoding.",
                        )
                    yield piece
                    block = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
                    # What filled a piece may have more behind it.
                    whole = not block and (unpack.eof or len(piece) < _PIECE)
    except zlib.error as error:
        raise RemoteFileError(f"{_hidden(url)}: what the server sent is damaged: {error}", remedy="Build again.") from error
    if not unpack.eof:
        raise RemoteFileError(f"{_hidden(url)}: what the server sent is damaged: it ends too soon", remedy="Build again.")


def _hidden(url: str) -> str:
    """The address for a message, without name and password."""
    return re.sub(r"//[^/]*@", "//***@", url)


def _etag(answer: Answer) -> str:
    return answer.headers.get("ETag", "").removeprefix("W/")


def _modified(answer: Answer) -> int:
    """Go's ``http.ParseTime``: three forms, all of them UTC."""
    text = answer.headers.get("Last-Modified", "").strip()
    try:
        parsed = email.utils.parsedate(text) if text.endswith(" GMT") or _ANSI_C.fullmatch(text) else None
        # Which has no day, hour or minute that does not exist, as Go has none; timegm would count on.
        return calendar.timegm(datetime.datetime(*parsed[:6], tzinfo=datetime.UTC).timetuple()) if parsed is not None else 0
    except (ValueError, OverflowError):
        return 0
