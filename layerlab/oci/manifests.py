"""JSON of strangers: manifests, indexes and image configurations, read under limits and checked for what is relied on."""

from __future__ import annotations

from typing import Any, Final

import msgspec

# containerd reads no manifest of more than 8 MiB, Docker's registry takes none of more than 4 MiB.
DOCUMENT_LIMIT: Final = 8 << 20
# ``limits.h``
_PATH_MAX: Final = 4096


class DocumentError(Exception):
    """A document that is too long, no JSON, or lacks what it must have; the message says which."""


class _RootFilesystem(msgspec.Struct):
    diff_ids: list[str]


class _History(msgspec.Struct):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class _Healthcheck(msgspec.Struct):
    Test: list[str] | None = None
    Interval: int | None = None
    Timeout: int | None = None
    StartPeriod: int | None = None
    StartInterval: int | None = None
    Retries: int | None = None


class _Settings(msgspec.Struct):
    User: str | None = None
    ExposedPorts: dict[str, Any] | None = None
    Env: list[str] | None = None
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Shell: list[str] | None = None
    Volumes: dict[str, Any] | None = None
    WorkingDir: str | None = None
    Labels: dict[str, str] | None = None
    StopSignal: str | None = None
    OnBuild: list[str] | None = None
    Healthcheck: _Healthcheck | None = None


class _Configuration(msgspec.Struct):
    """Image-spec ``config.md``, as far as it is relied on; ``null`` stands for what is absent, as Docker writes it."""

    rootfs: _RootFilesystem
    architecture: str | None = None
    os: str | None = None
    config: _Settings | None = None
    history: list[_History] | None = None


def read_document(path: str) -> Any:
    """The JSON in a file. Raises ``DocumentError``, ``OSError``."""
    with open(path, "rb") as stream:
        return parse_document(stream.read(DOCUMENT_LIMIT + 1))


def parse_document(data: bytes) -> Any:
    """JSON as Python's own values. Raises ``DocumentError``."""
    if len(data) > DOCUMENT_LIMIT:
        raise DocumentError(f"it is longer than {DOCUMENT_LIMIT} bytes")
    return parse_as(data, Any)


def parse_as(data: bytes, kind: Any) -> Any:
    """JSON as a type of msgspec. Raises ``DocumentError``: for text that is not UTF-8 and for what is nested too deep, too."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DocumentError(str(error)) from error
    except RecursionError as error:
        raise DocumentError("it is nested too deep") from error


def parse_configuration(data: bytes) -> dict[str, Any]:
    """An image configuration. Raises ``DocumentError`` where a part that is relied on is not what the specification says."""
    document: dict[str, Any] = parse_document(data)
    try:
        msgspec.convert(document, _Configuration)
    except msgspec.ValidationError as error:
        raise DocumentError(str(error)) from error
    directory = (document.get("config") or {}).get("WorkingDir") or ""
    if "\0" in directory or len(directory) >= _PATH_MAX:
        raise DocumentError("its working directory is no path")
    return document
