"""Stand-ins for base images that cannot be had: a shell, the usual users, and what Dockerfiles copy out of them.

One small layer under every name, as an OCI image layout; written with the standard library.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_USERS: Final = (
    *("daemon", "bin", "sys", "mail", "www-data", "nobody", "node", "nginx", "postgres", "mysql", "redis", "app", "appuser", "vscode"),
    *("jovyan", "airflow", "spark", "flink", "gitpod", "codespace", "ubuntu", "oracle", "jenkins", "elasticsearch", "nonroot", "apache"),
    *("rails", "deno", "bun", "gradle", "solr", "default", "linuxbrew", "seluser", "rabbitmq", "mongodb", "memcache", "grafana", "loki"),
)
_DIRECTORIES: Final = (
    "bin",
    "dev",
    "etc",
    "home",
    "lib",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/local",
    "var",
)
_TIME: Final = 1_600_000_000


def write_layout(directory: Path, extra: Iterable[str] = ()) -> None:
    """Write the image into a new directory. ``extra``: further paths that it has."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = _layer(extra)
    config = {
        "created": "2020-09-13T12:26:40Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "2020-09-13T12:26:40Z", "created_by": "stand-in"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, _json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [_blob(blobs, layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    entry = _blob(blobs, _json(manifest), "application/vnd.oci.image.manifest.v1+json")
    entry["platform"] = {"architecture": architecture(), "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    (directory / "index.json").write_bytes(_json(index))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def layer() -> bytes:
    """The layer without further paths, as a tar archive."""
    return _layer(())


def architecture() -> str:
    """This machine's name in image configurations."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _layer(extra: Iterable[str]) -> bytes:
    paths = sorted({path.strip("/") for path in extra} - {""})
    directories = dict.fromkeys(_DIRECTORIES)
    files = {
        "bin/sh": b"#!/bin/false\n",
        "etc/passwd": "".join(f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n" for name, number in _numbers()).encode(),
        "etc/group": "".join(f"{name}:x:{number}:\n" for name, number in _numbers()).encode(),
    }
    for path in paths:
        parts = path.split("/")
        directories.update(dict.fromkeys("/".join(parts[:length]) for length in range(1, len(parts))))
    for path in paths:
        if path not in directories:
            files[path] = b"stand-in\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*directories, *files}):
            info = tarfile.TarInfo(path)
            info.mode, info.mtime = 0o755, _TIME
            if path in directories:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(files[path])
                archive.addfile(info, io.BytesIO(files[path]))
    return buffer.getvalue()


def _numbers() -> list[tuple[str, int]]:
    return [("root", 0), *((name, number) for number, name in enumerate(_USERS, 1))]


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _blob(blobs: Path, data: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
