"""A registry client: pulling and pushing by the OCI distribution specification.

It moves blobs and manifests between a registry and a directory in OCI layout form, or a caller's reader; what they mean is known
elsewhere. Every byte that comes in is checked against the digest that asked for it; a download that broke off goes on where it
stopped. Credentials come from Docker's configuration file, are for the registry that was named, and are never logged: only that registry's
own challenges are answered, over HTTPS or on this machine.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import msgspec

from layerlab.oci.credentials import credentials
from layerlab.oci.manifests import DOCUMENT_LIMIT, DocumentError, parse_as, parse_configuration, parse_document
from layerlab.oci.references import DOCKER_HUB, Reference
from layerlab.oci.registry_http import NOT_A_REGISTRY, Answer, Http, RegistryError, Upload, joined, origin, plain
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM
from layerlab.reports import Report, Transferred
from layerlab.version import __version__

__all__ = ["MANIFEST_TYPES", "RegistryClient", "RegistryError"]

MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_INDEX_TYPES: Final = frozenset(MANIFEST_TYPES[2:])
_CHUNK: Final = 1 << 20
_MANIFEST_LIMIT: Final = 4 << 20
_TOKEN_LIMIT: Final = 1 << 20
_OTHER_TAG: Final = "Take another tag of the image, or have it pushed again by a present-day client."


class _Platform(msgspec.Struct):
    os: str | None = None
    architecture: str | None = None


class _Descriptor(msgspec.Struct):
    digest: str
    size: int = 0
    platform: _Platform | None = None


class _Document(msgspec.Struct):
    """What a manifest or an index says, as far as it is of use here."""

    schemaVersion: int = 2  # noqa: N815
    mediaType: str = ""  # noqa: N815
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None


class _RootFilesystem(msgspec.Struct):
    diff_ids: list[str] = []


class _Config(msgspec.Struct):
    rootfs: _RootFilesystem | None = None


class RegistryClient:
    """Talks to the registry of one repository.

    Loopback registries are spoken to in plain HTTP, as Docker has it; all others, but for a mirror that says otherwise, over HTTPS.
    """

    def __init__(self, reference: Reference, *, write: bool = False) -> None:
        self.reference = reference
        self._scope = f"repository:{reference.repository}:pull{',push' if write else ''}"
        self._authorization = ""
        mirror = os.environ.get("LAYERLAB_REGISTRY_MIRROR", "")
        # Who is named in messages, and whose credentials are used: a mirror must never get those of the registry that it stands for.
        self._host = reference.host
        self._login = reference.registry
        self._user = ("", "")
        if mirror and reference.registry == DOCKER_HUB and not write:
            self._base = self._mirror(mirror)
        else:
            scheme = "http" if origin(f"https://{reference.host}").is_loopback else "https"
            self._base = f"{scheme}://{reference.host}"
        self._origin = origin(self._base)
        bundle = os.environ.get("SSL_CERT_FILE", "")
        self._http = Http(self._host, f"layerlab/{__version__}", bundle if os.path.isfile(bundle) else "")

    def _mirror(self, mirror: str) -> str:
        try:
            parts = urllib.parse.urlsplit(mirror if "://" in mirror else f"https://{mirror}")
        except ValueError as error:
            raise RegistryError(f"LAYERLAB_REGISTRY_MIRROR is not an address: {error}", remedy="Write HOST, HOST:PORT or a URL.") from error
        self._host = self._login = parts.netloc.rpartition("@")[2]
        self._user = (urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or ""))
        return f"{parts.scheme}://{self._host}{parts.path.rstrip('/')}"

    # --- requests ---------------------------------------------------------------------------------------------------

    def _url(self, path: str) -> str:
        return f"{self._base}/v2/{self.reference.repository}/{path}"

    @contextlib.contextmanager
    def _opened(self, method: str, url: str, **more: Any) -> Iterator[Answer]:
        """An answer whose body has not been read; a challenge of the registry's own is answered first. Raises ``RegistryError``."""
        for attempt in (1, 2):
            ours = self._authorization if origin(url) == self._origin else ""
            with self._http.open(method, url, authorization=ours, **more) as answer:
                if answer.status != 401 or attempt == 2:
                    yield answer
                    return
                if not answer.at_home or origin(url) != self._origin:
                    raise RegistryError(
                        f"{self._host} sends on to {answer.host}, which wants a login: only {self._host} itself is given one",
                        remedy="Name the registry that has the image.",
                    )
                challenge = answer.headers.get("WWW-Authenticate", "")
                answer.error_body()
            self._authorization = self._answer_challenge(challenge)
            if isinstance(data := more.get("data"), Upload):
                data.rewind()

    def _ask(self, method: str, url: str, **more: Any) -> tuple[Answer, bytes]:
        """An answer and its body, which says at most what was wrong."""
        with self._opened(method, url, **more) as answer:
            return answer, answer.error_body()

    def _answer_challenge(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        if not self._origin.is_private:
            raise RegistryError(
                f"{self._host} wants a login over plain HTTP, where others can read it",
                remedy="Write the address of the registry or mirror with https://.",
            )
        user, secret = self._user if self._user[0] else credentials(self._login)
        basic = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode() if user else ""
        if scheme.lower() == "basic":
            if not user:
                raise RegistryError(f"{self._host} wants a login", remedy=f"Run: docker login {self._login}")
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise RegistryError(f"{self._host} wants a kind of login that is not supported: {plain(scheme) or 'none named'}")
        realm = origin(fields["realm"])
        # Docker Hub's is on another host. On this machine, only a registry of this machine has one.
        if not realm.is_private or (realm.is_loopback and not self._origin.is_loopback):
            raise RegistryError(f"{self._host} wants a login at {plain(fields['realm'])}, which is not safe to log in at: it must be HTTPS")
        # A mount needs access to a second repository, which only the challenge names.
        scopes = list(dict.fromkeys([self._scope, *fields.get("scope", "").split()]))
        query: dict[str, Any] = {"scope": scopes, **({"service": fields["service"]} if "service" in fields else {})}
        try:
            with self._http.open("GET", fields["realm"], params=query, authorization=basic) as answer:
                if answer.status != 200:
                    raise self._refusal(answer, answer.error_body(), "logging in")
                data = answer.body(_TOKEN_LIMIT, "a token")
        except RegistryError as error:
            if error.unreachable:
                raise RegistryError(f"logging in to {self._host}: {error.message}", unreachable=True, remedy=error.remedy) from error
            raise
        try:
            body = parse_document(data)
            token = body.get("token") or body.get("access_token")
        except (DocumentError, AttributeError):
            token = None
        if not isinstance(token, str) or re.fullmatch(r"[!-~]+", token) is None:
            raise RegistryError(f"the login server of {self._host} sent no token", unreachable=True, remedy=NOT_A_REGISTRY)
        return f"Bearer {token}"

    def _refusal(self, answer: Answer, body: bytes, doing: str) -> RegistryError:
        host = self._host
        try:
            errors = parse_document(body).get("errors") or [{}]
            detail = errors[0].get("message") or errors[0].get("code") or answer.reason
        except (DocumentError, AttributeError, LookupError, TypeError):
            detail = answer.reason
        detail = plain(str(detail))
        if answer.status == 429:
            return RegistryError(
                f"{host} has had too many requests from here (rate limit): {detail}",
                unreachable=True,
                remedy="Log in (docker login), wait, or set LAYERLAB_REGISTRY_MIRROR to a mirror.",
            )
        if answer.status in (401, 403):
            return RegistryError(
                f"{host} denies access to {self.reference.repository}: {detail}",
                remedy=f"Check the name, or run: docker login {self._login}",
            )
        if answer.status == 404:
            return RegistryError(f"{self.reference.full}: not found on {host}", remedy="Check the name and the tag.")
        return RegistryError(f"{host} answered {answer.status} while {doing}: {detail}", unreachable=answer.status >= 500)

    # --- pull -------------------------------------------------------------------------------------------------------

    def manifest(self, wanted: str) -> tuple[bytes, str, str]:
        """(bytes, digest, media type) of a manifest or index. Raises ``RegistryError``."""
        with self._opened("GET", self._url(f"manifests/{wanted}"), headers={"Accept": ", ".join(MANIFEST_TYPES)}) as answer:
            if answer.status != 200:
                raise self._refusal(answer, answer.error_body(), "giving the manifest")
            data = answer.body(_MANIFEST_LIMIT, f"the manifest of {self.reference.full}")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if wanted.startswith("sha256:") and digest != wanted:
            raise RegistryError(f"{self._host} sent a manifest with digest {digest} for {wanted}")
        kind: str = answer.headers.get("Content-Type", "").split(";")[0].strip() or self._document(data).mediaType
        return data, digest, kind

    def _document(self, data: bytes) -> _Document:
        try:
            parse_document(data)
        except DocumentError as error:
            # Whatever answered, the registry itself was not reached.
            raise RegistryError(
                f"{self._host} answered with something else than a manifest of {self.reference.full}",
                unreachable=True,
                remedy=NOT_A_REGISTRY,
            ) from error
        try:
            document: _Document = parse_as(data, _Document)
        except DocumentError as error:
            raise RegistryError(f"the manifest of {self.reference.full} is not valid: {plain(str(error))}", remedy=_OTHER_TAG) from error
        return document

    def resolve(self) -> tuple[bytes, str]:
        """(bytes, digest) of the manifest for this machine's platform, an index resolved. Raises ``RegistryError``."""
        wanted = self.reference.wanted
        for _ in range(4):
            data, digest, kind = self.manifest(wanted)
            document = self._document(data)
            if kind not in _INDEX_TYPES and document.manifests is None:
                return data, digest
            ours = _Platform(OPERATING_SYSTEM, ARCHITECTURE)
            fitting = [entry for entry in document.manifests or [] if entry.platform == ours]
            if not fitting:
                raise RegistryError(f"{self.reference.full} has no image for {OPERATING_SYSTEM}/{ARCHITECTURE}")
            wanted = fitting[0].digest
        raise RegistryError(f"{self.reference.full}: indexes nested too deep")

    def fetch_blob(self, digest: str, target: str, size: int, report: Report) -> None:
        """Download a blob to ``target``; a part left from an earlier try is continued. Raises ``RegistryError``."""
        _hex(digest)
        part = target + ".part"
        have = os.path.getsize(part) if os.path.exists(part) else 0
        headers = {"Range": f"bytes={have}-"} if 0 < have < size else {}
        sha = hashlib.sha256()
        with self._opened("GET", self._url(f"blobs/{digest}"), headers=headers) as answer:
            if answer.status not in ((200, 206) if headers else (200,)):
                raise self._refusal(answer, answer.error_body(), "giving a layer")
            resumed = answer.status == 206
            if resumed:
                with open(part, "rb") as stream:
                    while block := stream.read(_CHUNK):
                        sha.update(block)
            done = have if resumed else 0
            with open(part, "ab" if resumed else "wb") as sink:
                # Never unpacked, whatever the server says of its coding: the digest is of what is sent.
                for block in answer.blocks():
                    done += len(block)
                    if done > size:
                        raise RegistryError(f"{self._host} sent more than the {size} bytes of {digest}")
                    sink.write(block)
                    sha.update(block)
                    report(Transferred(digest[7:19], done, size))
        if f"sha256:{sha.hexdigest()}" != digest:
            os.unlink(part)
            raise RegistryError(f"{self._host} sent other bytes than the digest {digest} asks for", remedy="Try again.")
        os.rename(part, target)

    def pull(self, directory: str, report: Report, *, have: Callable[[str], bool] = lambda _diff_id: False) -> dict[str, Any]:
        """Download an image into ``directory`` as an OCI layout; returns its manifest. Raises ``RegistryError``.

        ``have`` says whether a layer (by diff ID) is here already; it is then not downloaded.
        """
        data, digest = self.resolve()
        config, layers = self._image(data)
        manifest: dict[str, Any] = parse_document(data)
        blobs = os.path.join(directory, "blobs", "sha256")
        os.makedirs(blobs, exist_ok=True)
        self._check_sizes(config, layers, blobs)
        config_path = os.path.join(blobs, _hex(config.digest))
        if not os.path.exists(config_path):
            self.fetch_blob(config.digest, config_path, config.size, report)
        with open(config_path, "rb") as stream:
            raw = stream.read()
        try:
            rootfs = parse_as(raw, _Config).rootfs or _RootFilesystem()
        except DocumentError as error:
            raise RegistryError(
                f"the configuration of {self.reference.full} is not valid: {plain(str(error))}", remedy=_OTHER_TAG
            ) from error
        for layer, diff_id in zip(layers, rootfs.diff_ids, strict=False):
            path = os.path.join(blobs, _hex(layer.digest))
            if not have(diff_id) and not os.path.exists(path):
                self.fetch_blob(layer.digest, path, layer.size, report)
        _write(os.path.join(blobs, _hex(digest)), data)
        _write(os.path.join(directory, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
        entry = {"mediaType": manifest.get("mediaType", MANIFEST_TYPES[0]), "digest": digest, "size": len(data)}
        _write(os.path.join(directory, "index.json"), json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        return manifest

    def configuration(self) -> dict[str, Any]:
        """The configuration of an image, and nothing else of it. Raises ``RegistryError``."""
        data, _ = self.resolve()
        config, _ = self._image(data)
        with tempfile.TemporaryDirectory() as directory:
            self._check_sizes(config, [], directory)
            path = os.path.join(directory, "config")
            self.fetch_blob(config.digest, path, config.size, lambda _text: None)
            with open(path, "rb") as stream:
                raw = stream.read()
        try:
            return parse_configuration(raw)
        except DocumentError as error:
            raise RegistryError(
                f"the configuration of {self.reference.full} is not valid: {plain(str(error))}", remedy=_OTHER_TAG
            ) from error

    def _image(self, manifest: bytes) -> tuple[_Descriptor, list[_Descriptor]]:
        """The configuration and the layers that a manifest names. Raises ``RegistryError``."""
        document = self._document(manifest)
        if document.config is None or document.layers is None:
            what = "a manifest of schema 1, which is no longer read" if document.schemaVersion == 1 else "not an image"
            raise RegistryError(f"{self.reference.full} is {what}", remedy=_OTHER_TAG)
        return document.config, document.layers

    def _check_sizes(self, config: _Descriptor, layers: list[_Descriptor], directory: str) -> None:
        """Before anything is fetched: no more will be written than these say."""
        if min(config.size, *(layer.size for layer in layers), 0) < 0 or config.size > DOCUMENT_LIMIT:
            raise RegistryError(f"the manifest of {self.reference.full} names sizes that cannot be", remedy=_OTHER_TAG)
        room = os.statvfs(directory)
        wanted = sum({layer.digest: layer.size for layer in layers}.values())
        if wanted > room.f_bavail * room.f_frsize:
            raise RegistryError(
                f"{self.reference.full} weighs {wanted / 1e6:.0f} MB, and the disk of the store has no room for it",
                remedy="Free some space, or run: layerlab prune",
            )

    # --- push -------------------------------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob. Raises ``RegistryError``."""
        answer, body = self._ask("HEAD", self._url(f"blobs/{digest}"))
        if answer.status not in (200, 404):
            raise self._refusal(answer, body, "looking for a layer")
        return answer.status == 200

    def mount_blob(self, digest: str, repository: str) -> bool:
        """Take over a blob from another repository of the same registry. ``False`` where the registry does not do it.

        Distribution spec 1.1, "Mounting a blob from another repository": 201, or 202 with an upload that need not be used.
        Raises ``RegistryError``.
        """
        answer, _ = self._ask("POST", self._url("blobs/uploads/"), params={"mount": digest, "from": repository})
        if answer.status == 202 and "Location" in answer.headers:
            self._ask("DELETE", self._upload_to(answer))
        return answer.status == 201

    def push_blob(self, digest: str, source: IO[bytes], size: int, report: Report) -> None:
        """Upload a blob in one piece. ``source`` can be read anew. Raises ``RegistryError``."""
        answer, body = self._ask("POST", self._url("blobs/uploads/"))
        if answer.status != 202:
            raise self._refusal(answer, body, "starting an upload")
        if "Location" not in answer.headers:
            raise RegistryError(f"{self._host} does not say where to upload to", remedy=NOT_A_REGISTRY)
        location = self._upload_to(answer)
        location += ("&" if "?" in location else "?") + f"digest={digest}"
        upload = Upload(source, size, lambda done: report(Transferred(digest[7:19], done, size)))
        answer, body = self._ask("PUT", location, data=upload, headers={"Content-Type": "application/octet-stream"})
        if answer.status != 201:
            raise self._refusal(answer, body, "taking a layer")

    def _upload_to(self, answer: Answer) -> str:
        """Where an upload goes: on another server it gets none of our authorization, and it never leaves HTTPS."""
        location = joined(self._url("blobs/uploads/"), answer.headers.get("Location", ""))
        self._http.check_step(self._origin, origin(location))
        return location

    def push_manifest(self, data: bytes, media_type: str) -> str:
        """Upload a manifest under the reference's tag; returns its digest. Raises ``RegistryError``."""
        url = self._url(f"manifests/{self.reference.wanted}")
        answer, body = self._ask("PUT", url, data=data, headers={"Content-Type": media_type})
        if answer.status not in (200, 201):
            raise self._refusal(answer, body, "taking the manifest")
        return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hex(digest: str) -> str:
    if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
        raise RegistryError(f"the registry named a digest that is not supported: {plain(digest)}")
    return digest[7:]


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)
