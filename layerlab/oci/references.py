"""Image references: from what a person writes to a registry, a repository and a tag or digest.

Rule: distribution/reference ``normalize.go``. A first component with a dot, a colon, a capital letter or the name ``localhost`` is a
registry; everything else is on Docker Hub, below ``library/`` when it has no slash.
"""

from __future__ import annotations

import re
from typing import Final

from layerlab.errors import InvalidReferenceError
from layerlab.records import Record

DOCKER_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
# ``domain`` of distribution/reference: names joined by dots, or an IPv6 address in brackets, and perhaps a port.
INVALID_REFERENCE: Final = "invalid reference format"
_NAME: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST: Final = re.compile(rf"(?:{_NAME}(?:\.{_NAME})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_DIGEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")
# An image ID; a name must not look like one.
_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST: Final = 255


class Reference(Record, frozen=True):
    """A parsed reference. Exactly one of ``tag`` and ``digest`` decides what is asked for; a digest wins."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def host(self) -> str:
        """The host that serves the registry."""
        return _HUB_HOST if self.registry == DOCKER_HUB else self.registry

    @property
    def wanted(self) -> str:
        """Tag or digest, as the registry API wants it."""
        return self.digest or self.tag

    @property
    def full(self) -> str:
        """``docker.io/library/node:alpine``."""
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def short(self) -> str:
        """``node:alpine``: the form in which the store names images."""
        path = self.repository
        if self.registry == DOCKER_HUB:
            path = path.removeprefix("library/")
        else:
            path = f"{self.registry}/{path}"
        return path + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse_reference(text: str) -> Reference:
    """Parse a reference. Raises ``InvalidReferenceError`` with docker's words (``invalid reference format``)."""
    if _ID.match(text) is not None:
        reason = f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        raise InvalidReferenceError(text, reason, "Give the image a name, and use that.")
    rest, at, digest = text.partition("@")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first != first.lower() or first == "localhost"):
        registry, path = first, remainder
    else:
        registry, path = DOCKER_HUB, rest
    if registry in ("index.docker.io", _HUB_HOST):
        registry = DOCKER_HUB
    head, colon, last = path.rpartition(":")
    path, tag = (head, last) if colon and "/" not in last else (path, "latest")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    # What is no host may still be the beginning of a path.
    host = _HOST.match(registry) is not None or _PATH.match(registry) is not None
    if not host or _PATH.match(path) is None or _TAG.match(tag) is None or (at and _DIGEST.match(digest) is None):
        # What is before the first colon, whatever else is wrong (``ParseNormalizedNamed``).
        name = (path if colon else f"{path}{at}{digest}").partition(":")[0]
        if name != name.lower():
            raise InvalidReferenceError(text, f"{INVALID_REFERENCE}: repository name ({name}) must be lowercase", "Names are lower case.")
        raise InvalidReferenceError(text, INVALID_REFERENCE, "Write NAME, NAME:TAG or HOST/NAME:TAG.")
    if len(path) > _LONGEST:
        raise InvalidReferenceError(text, f"repository name must not be more than {_LONGEST} characters", "Use a shorter name.")
    if at:
        _check_digest(text, *digest.split(":"))
    return Reference(registry, path, tag, digest)


def _check_digest(text: str, algorithm: str, encoded: str) -> None:
    """Rule: opencontainers/go-digest ``Validate``; but of its algorithms only the one that is in use."""
    if algorithm != "sha256":
        raise InvalidReferenceError(text, "unsupported digest algorithm", "Write NAME@sha256:DIGEST.")
    if len(encoded) != 64:
        raise InvalidReferenceError(text, "invalid checksum digest length", "A SHA-256 digest has 64 characters.")
    if encoded != encoded.lower():
        raise InvalidReferenceError(text, "invalid checksum digest format", "Write the digest in lower case.")


def canonical_name(name: str) -> str:
    """The form in which the store names an image: ``docker.io/library/node`` → ``node:latest``. Raises ``UsageError``."""
    return parse_reference(name).short
