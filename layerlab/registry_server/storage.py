"""What a registry keeps: blobs by digest, and for each repository which of them it has, its manifests and its tags.

    blobs/sha256/HEX         blobs and manifests of all repositories, each once
    repositories/NAME/blobs/HEX       an empty file: the repository has this blob
    repositories/NAME/manifests/HEX   media type of a manifest
    repositories/NAME/tags/TAG        digest of a manifest
    uploads/NAME/ID          an upload that is not finished

A file appears under its name when it is whole. NAME is quoted, so that it is one component; every name and digest is matched against
the alphabet of the specification before it becomes part of a path.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import time
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from typing import IO, Any, Final

from layerlab.fsutil import write_atomically

_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
# Quoting makes three characters of a slash, and a file name has at most 255.
_NAME_LIMIT: Final = 128
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}\Z")
_UPLOAD_SECONDS: Final = 24 * 3600
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]{1,120}/[\w.+-]{1,120}\Z", re.ASCII)
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
MANIFEST_LIMIT: Final = 4 << 20
BLOB_LIMIT: Final = 16 << 30


class RefusedError(Exception):
    """A request that is refused: the status, and code and message as the specification has them."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def check_name(name: str) -> str:
    """The name of a repository. Raises ``RefusedError``."""
    if len(name) > _NAME_LIMIT or _NAME.match(name) is None:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "NAME_INVALID", "invalid repository name")
    return name


def check_digest(digest: str) -> str:
    """The 64 hexadecimal digits of a digest. Raises ``RefusedError``."""
    if _DIGEST.match(digest) is None:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "the digest is not sha256:HEX with 64 digits")
    return digest.removeprefix("sha256:")


class Storage:
    """The files of a registry. Raises ``OSError`` for a directory that cannot be used."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        for name in ("blobs/sha256", "repositories", "uploads"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
        # Nobody goes on with an upload that broke off so long ago.
        for directory, _, files in os.walk(os.path.join(self.directory, "uploads")):
            for path in (os.path.join(directory, file) for file in files):
                with contextlib.suppress(FileNotFoundError):
                    if os.path.getmtime(path) < time.time() - _UPLOAD_SECONDS:
                        os.unlink(path)

    def _repository(self, name: str, *parts: str) -> str:
        return os.path.join(self.directory, "repositories", urllib.parse.quote(check_name(name), safe=""), *parts)

    def _blob(self, hexadecimal: str) -> str:
        return os.path.join(self.directory, "blobs", "sha256", hexadecimal)

    # --- blobs ------------------------------------------------------------------------------------------------------

    def has_blob(self, name: str, digest: str) -> bool:
        """Whether a repository has a blob. Raises ``RefusedError``."""
        hexadecimal = check_digest(digest)
        return os.path.exists(self._repository(name, "blobs", hexadecimal)) and os.path.exists(self._blob(hexadecimal))

    def open_blob(self, name: str, digest: str) -> IO[bytes]:
        """A blob of a repository. Raises ``RefusedError``."""
        if not self.has_blob(name, digest):
            raise RefusedError(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "the repository does not have this blob")
        return open(self._blob(check_digest(digest)), "rb")

    def mount(self, name: str, origin: str, digest: str) -> bool:
        """Give a repository a blob of another one; returns whether that has it. Raises ``RefusedError``."""
        if not self.has_blob(origin, digest):
            return False
        self._link(name, check_digest(digest))
        return True

    def _link(self, name: str, hexadecimal: str) -> None:
        directory = self._repository(name, "blobs")
        os.makedirs(directory, exist_ok=True)
        write_atomically(os.path.join(directory, hexadecimal), b"")

    # --- uploads ----------------------------------------------------------------------------------------------------

    def begin(self, name: str) -> str:
        """Start an upload; returns its ID. Raises ``RefusedError``."""
        upload = secrets.token_hex(16)
        path = self._upload(name, upload)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb"):
            return upload

    def _upload(self, name: str, upload: str) -> str:
        if _UPLOAD.match(upload) is None:
            raise _unknown_upload()
        return os.path.join(self.directory, "uploads", urllib.parse.quote(check_name(name), safe=""), upload)

    def received(self, name: str, upload: str) -> int:
        """Bytes that an upload has so far. Raises ``RefusedError``."""
        try:
            return os.path.getsize(self._upload(name, upload))
        except FileNotFoundError:
            raise _unknown_upload() from None

    @contextlib.contextmanager
    def _opened(self, name: str, upload: str) -> Iterator[io.BufferedRandom]:
        try:
            stream = open(self._upload(name, upload), "r+b")  # noqa: SIM115
        except FileNotFoundError:
            raise _unknown_upload() from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(HTTPStatus.CONFLICT, "BLOB_UPLOAD_INVALID", "another request is at this upload") from None
            # It may have become a blob between the opening and the lock, and a blob does not change.
            if not _is_at(stream, self._upload(name, upload)):
                raise _unknown_upload()
            yield stream

    def append(self, name: str, upload: str, blocks: Iterator[bytes], start: int | None = None) -> int:
        """Add bytes to an upload; returns how many it has. ``start`` is where they must belong. Raises ``RefusedError``."""
        with self._opened(name, upload) as stream:
            size = stream.seek(0, os.SEEK_END)
            if start is not None and start != size:
                raise RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", f"the upload has {size} bytes")
            for block in blocks:
                size += len(block)
                if size > BLOB_LIMIT:
                    raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", f"a blob has at most {BLOB_LIMIT} bytes")
                stream.write(block)
            return size

    def finish(self, name: str, upload: str, digest: str) -> None:
        """Make an upload a blob of its repository. Raises ``RefusedError`` where its bytes have another digest; it is then gone."""
        hexadecimal = check_digest(digest)
        path = self._upload(name, upload)
        with self._opened(name, upload) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != hexadecimal:
                os.unlink(path)
                raise RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"the bytes that came have the digest sha256:{found}")
            os.fsync(stream.fileno())
            os.chmod(path, 0o644)
            os.rename(path, self._blob(hexadecimal))
        self._link(name, hexadecimal)

    def cancel(self, name: str, upload: str) -> None:
        """Forget an upload. Raises ``RefusedError``."""
        try:
            os.unlink(self._upload(name, upload))
        except FileNotFoundError:
            raise _unknown_upload() from None

    # --- manifests --------------------------------------------------------------------------------------------------

    def put_manifest(self, name: str, reference: str, data: bytes, media_type: str) -> str:
        """Keep a manifest under a tag or its digest; returns the digest. Raises ``RefusedError``."""
        hexadecimal = hashlib.sha256(data).hexdigest()
        if _TAG.match(reference) is None and check_digest(reference) != hexadecimal:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"the manifest that came has the digest sha256:{hexadecimal}")
        document = _parsed(data)
        self._check_complete(name, document)
        if not os.path.exists(self._blob(hexadecimal)):
            write_atomically(self._blob(hexadecimal), data)
        for kind in ("manifests", "tags"):
            os.makedirs(self._repository(name, kind), exist_ok=True)
        # It becomes a header of answers.
        kinds = (kind for kind in (media_type, document.get("mediaType")) if isinstance(kind, str) and _MEDIA_TYPE.match(kind))
        write_atomically(self._repository(name, "manifests", hexadecimal), next(kinds, _MANIFEST).encode("ascii"))
        if _TAG.match(reference):
            write_atomically(self._repository(name, "tags", reference), f"sha256:{hexadecimal}".encode())
        return f"sha256:{hexadecimal}"

    def _check_complete(self, name: str, document: dict[str, Any]) -> None:
        """Everything that a manifest names must be there, or an image could be pulled that cannot be had."""
        try:
            blobs = [document["config"], *document.get("layers", [])] if "config" in document else document.get("layers", [])
            wanted = [entry["digest"] for entry in blobs if not entry.get("urls")]
            inner = [entry["digest"] for entry in document.get("manifests", [])]
            for digest in wanted:
                if not self.has_blob(name, digest):
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"the repository does not have {digest}")
            for digest in inner:
                if not os.path.exists(self._repository(name, "manifests", check_digest(digest))):
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"the repository does not have {digest}")
        except (KeyError, TypeError, AttributeError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "a manifest or index is expected") from error

    def manifest(self, name: str, reference: str) -> tuple[bytes, str, str]:
        """(bytes, digest, media type) of the manifest under a tag or digest. Raises ``RefusedError``."""
        try:
            if _TAG.match(reference):
                with open(self._repository(name, "tags", reference), encoding="ascii") as tag:
                    reference = tag.read()
            hexadecimal = check_digest(reference)
            with (
                open(self._repository(name, "manifests", hexadecimal), encoding="ascii") as kind,
                open(self._blob(hexadecimal), "rb") as blob,
            ):
                return blob.read(), f"sha256:{hexadecimal}", kind.read()
        except FileNotFoundError:
            raise RefusedError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "the repository has no such manifest") from None

    def tags(self, name: str) -> list[str]:
        """The tags of a repository, sorted. Raises ``RefusedError``."""
        try:
            return sorted(tag for tag in os.listdir(self._repository(name, "tags")) if _TAG.match(tag))
        except FileNotFoundError:
            raise RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "no image was pushed under this name") from None

    def repositories(self) -> list[str]:
        """The repositories that have a manifest, sorted."""
        place = os.path.join(self.directory, "repositories")
        return sorted(urllib.parse.unquote(name) for name in os.listdir(place) if os.path.isdir(os.path.join(place, name, "manifests")))


def _is_at(stream: io.BufferedRandom, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _unknown_upload() -> RefusedError:
    return RefusedError(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "a manifest or index is expected")
    return document
