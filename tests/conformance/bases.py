"""The base images of the cases: a small root filesystem as one uncompressed layer, made with the standard library.

``write_layout`` gives an OCI image layout, ``load_into_docker`` gives the same images to a Docker Engine. The tools are a
static BusyBox where the machine has one; elsewhere they are the machine's own tools with their shared libraries, so that
the tests also run on a minimal system (sizes of the base's own layer are therefore never compared).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import platform
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.stacks import node_alpine

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MTIME = 1_600_000_000
CREATED = "2020-09-13T12:26:40Z"
BUSYBOX = Path("/bin/busybox")
COMMENT = "Imported from -"

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n",
    "etc/group": "root:x:0:\nnode:x:1000:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/resolv.conf": "",
    "etc/hostname": "base\n",
}
DIRECTORIES = ("bin", "dev", "etc", "lib", "proc", "root", "sys", "usr", "usr/bin", "usr/local", "usr/local/bin", "var")

NPM = """\
#!/bin/sh
set -e
case "$1" in
install|ci|i)
  mkdir -p node_modules/.stub
  cat package*.json > node_modules/.stub/lock 2>/dev/null || true ;;
run)
  mkdir -p dist
  cat src/*.ts > dist/index.js 2>/dev/null || true ;;
esac
"""
NPX = """\
#!/bin/sh
set -e
mkdir -p node_modules/.prisma
cat schema.prisma prisma/schema.prisma > node_modules/.prisma/client 2>/dev/null || true
"""
NODE = '#!/bin/sh\necho "$@"\n'

HOST_TOOLS = (
    *("[", "base64", "basename", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "dirname", "echo", "env", "expr"),
    *("false", "find", "grep", "gzip", "head", "id", "ln", "ls", "md5sum", "mkdir", "mkfifo", "mknod", "mktemp", "mv", "od"),
    *("printenv", "printf", "pwd", "readlink", "realpath", "rm", "rmdir", "sed", "seq", "sha256sum", "sleep", "sort", "stat"),
    *("tail", "tar", "tee", "test", "touch", "tr", "true", "uname", "uniq", "wc", "whoami", "xargs"),
)


class Member(NamedTuple):
    """One member of a layer: a directory (``data`` is None), a file or a symlink (``target``)."""

    mode: int
    data: bytes | None = None
    target: str | None = None


class Base(NamedTuple):
    """A base image: its name, its layer as tar bytes and the ``config`` of its image configuration."""

    name: str
    layer: bytes
    config: dict[str, Any]

    @property
    def diff_id(self) -> str:
        """Digest of the uncompressed layer."""
        return "sha256:" + hashlib.sha256(self.layer).hexdigest()


@functools.cache
def bases() -> tuple[Base, ...]:
    """The images that the cases name. The first two have the very same layer."""
    tree = {**_tools(), **_system()}
    first = _tar(tree)
    second = _tar({**tree, "etc/base-release": Member(0o644, b"2\n")})
    return (
        Base("node:alpine", first, {"Env": [PATH, "NODE_VERSION=22.0.0"], "Cmd": ["node"]}),
        Base("base:1", first, {"Env": [PATH], "Cmd": ["/bin/sh"]}),
        Base("base:2", second, {"Env": [PATH, "BASE=2"], "Cmd": ["/bin/sh"]}),
    )


def diff_ids() -> frozenset[str]:
    """The layers of all base images."""
    return frozenset(base.diff_id for base in bases())


def _system() -> dict[str, Member]:
    tree = {path: Member(0o755) for path in DIRECTORIES}
    tree["tmp"] = Member(0o1777)
    tree.update({path: Member(0o644, text.encode()) for path, text in FILES.items()})
    for name, script in (("npm", NPM), ("npx", NPX), ("node", NODE)):
        tree[f"usr/local/bin/{name}"] = Member(0o755, script.encode())
    return tree


def has_busybox() -> bool:
    """Whether the base images hold BusyBox, as those of the recording did, and not this machine's tools."""
    return _is_static(BUSYBOX)


def _tools() -> dict[str, Member]:
    return _busybox() if has_busybox() else _host_tools()


def _is_static(program: Path) -> bool:
    return program.is_file() and node_alpine._elf_interpreter(program) is None


def _busybox() -> dict[str, Member]:
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    tree = {f"bin/{name}": Member(0o777, target="busybox") for name in applets}
    tree["bin/busybox"] = Member(0o755, BUSYBOX.read_bytes())
    return tree


def _host_tools() -> dict[str, Member]:
    # The stand-in for node:alpine already knows how to find a tool and the libraries that it needs.
    libraries = node_alpine._Libraries()
    shell = node_alpine._find("dash") or node_alpine._find("sh")
    if shell is None:
        raise RuntimeError("this machine has neither a static BusyBox nor a shell: install the package busybox-static")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        libraries.need(shell)
        node_alpine._copy(shell, root / "bin/sh", 0o755)
        for name in HOST_TOOLS:
            node_alpine._install(root, "bin", name, libraries)
        libraries.write(root)
        return _read_tree(root)


def _read_tree(root: Path) -> dict[str, Member]:
    tree: dict[str, Member] = {}
    for here, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(here, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(root).as_posix()
            if stat.S_ISLNK(mode):
                tree[relative] = Member(0o777, target=os.readlink(path))
            elif stat.S_ISDIR(mode):
                tree[relative] = Member(0o755)
            else:
                tree[relative] = Member(stat.S_IMODE(mode), path.read_bytes())
    return tree


def _tar(tree: Mapping[str, Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, member in sorted(tree.items()):
            info = tarfile.TarInfo(path)
            info.mode, info.mtime = member.mode, MTIME
            if member.target is not None:
                info.type, info.linkname = tarfile.SYMTYPE, member.target
                archive.addfile(info)
            elif member.data is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(member.data)
                archive.addfile(info, io.BytesIO(member.data))
    return buffer.getvalue()


def architecture() -> str:
    """This machine's name in image configurations."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def write_layout(base: Base, directory: Path) -> None:
    """Write an image as an OCI image layout (image-spec ``image-layout.md``) into a new directory."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    config = {
        "created": CREATED,
        "architecture": architecture(),
        "os": "linux",
        "config": base.config,
        "rootfs": {"type": "layers", "diff_ids": [base.diff_id]},
        "history": [{"created": CREATED, "comment": COMMENT}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, _json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [_blob(blobs, base.layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    entry = _blob(blobs, _json(manifest), "application/vnd.oci.image.manifest.v1+json")
    # The annotation is a tag (image-spec annotations.md), so without the repository.
    entry["annotations"] = {"org.opencontainers.image.ref.name": base.name.partition(":")[2]}
    entry["platform"] = {"architecture": architecture(), "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    (directory / "index.json").write_bytes(_json(index))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _blob(blobs: Path, data: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def load_into_docker(docker: str = "docker") -> None:
    """Give the images to the Docker Engine that ``DOCKER_HOST`` names. Raises ``subprocess.CalledProcessError``."""
    for base in bases():
        changes = [f"ENV {item}" for item in base.config["Env"]] + [f"CMD {json.dumps(base.config['Cmd'])}"]
        flags = [word for change in changes for word in ("--change", change)]
        subprocess.run([docker, "import", *flags, "-", base.name], input=base.layer, capture_output=True, check=True)


def make_store(place: Path) -> Path:
    """A store with all base images, in ``place``. Skips the test where nothing here can run a build step."""
    with EmbeddedEngine(str(place / "store")) as engine:
        if not engine.host.executor:
            pytest.skip("nothing on this machine can run a build step: " + "; ".join(engine.host.notes))
        for base in bases():
            layout = place / base.name.replace(":", "-")
            write_layout(base, layout)
            engine.import_layout(str(layout), base.name)
    return place / "store"
