"""Flags of ``docker build`` in people's scripts: handed on to Docker, without effect, or refused in a sentence. Never dropped.

From the reference of ``docker buildx build``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from layerlab.errors import UnsupportedError

if TYPE_CHECKING:
    from layerlab.engines.api import Engine


class _Flag(NamedTuple):
    """``value``: what stands behind it, empty for nothing. ``instead``: what to do where it is refused."""

    value: str
    instead: str


_DOCKER: Final = "Build with Docker: --engine docker."
# Docker has what these mean, and what it answers is read in the same way.
_HANDED: Final = {
    ("--add-host",): _Flag("HOST:IP", _DOCKER),
    ("--allow",): _Flag("ENTITLEMENT", _DOCKER),
    ("--annotation",): _Flag("NAME=VALUE", f"{_DOCKER} Labels are written by either engine: --label."),
    ("--attest",): _Flag("TYPE", _DOCKER),
    ("--cache-from",): _Flag("SOURCE", f"{_DOCKER} The embedded engine keeps its cache in its store."),
    ("--cache-to",): _Flag("TARGET", f"{_DOCKER} The embedded engine keeps its cache in its store."),
    ("--cgroup-parent",): _Flag("GROUP", _DOCKER),
    ("--metadata-file",): _Flag("FILE", "Read the record of --json, or the image ID of --iidfile."),
    ("--provenance",): _Flag("VALUE", _DOCKER),
    ("--sbom",): _Flag("VALUE", _DOCKER),
    ("--shm-size",): _Flag("BYTES", f"{_DOCKER} A RUN of the embedded engine has 64 MiB."),
    ("--ssh",): _Flag("ID", f"{_DOCKER} What a step must not keep can be a --secret."),
    ("--ulimit",): _Flag("LIMIT", _DOCKER),
}
_REFUSED: Final = {
    ("--build-context",): _Flag("NAME=PATH", "Build that folder to an image first, and name the image in COPY --from or FROM."),
    ("--builder",): _Flag("NAME", "layerlab builds with the daemon's own builder, or with --engine embedded."),
    ("--call",): _Flag("METHOD", "For the checks: --check. layerlab plan says what a build would do."),
    ("-o", "--output"): _Flag("TARGET", "Build with -t, then: layerlab save."),
    ("--push",): _Flag("", "Build with -t, then: layerlab push."),
    ("--squash",): _Flag("", "Use several stages, and COPY what the image needs into the last one."),
}
# BuildKit takes them and does nothing: an image is always loaded, containers of a build always go, and nothing is packed on the way.
_IDLE: Final = ("--load", "--rm", "--force-rm", "--compress")


class _Kept(argparse.Action):
    """Notes a flag with its value, under its longest name."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, _option: str | None = None) -> None:
        name = max(self.option_strings, key=len)
        namespace.docker_flags = [*namespace.docker_flags, (name, values if isinstance(values, str) else None)]


def add(parser: argparse.ArgumentParser) -> None:
    """Declare them all, in a group of their own."""
    group = parser.add_argument_group("flags of docker build", "handed on to Docker; the embedded engine refuses them")
    other = parser.add_argument_group("other flags of docker build", "refused, with what to do instead, or without effect as in Docker")
    for place, flags in ((group, _HANDED), (other, _REFUSED)):
        for names, flag in flags.items():
            more: dict[str, Any] = {"metavar": flag.value} if flag.value else {"nargs": 0}
            place.add_argument(*names, action=_Kept, dest="docker_flags", default=[], **more)
    for name in _IDLE:
        other.add_argument(name, action="store_true", help="no effect")


def checked(flags: Sequence[tuple[str, str | None]], engine: Engine) -> tuple[str, ...]:
    """The words to hand on to Docker. Raises ``UnsupportedError`` for a flag that this engine does not have."""
    for name, _ in flags:
        for names, flag in _REFUSED.items():
            if name in names:
                raise UnsupportedError(f"{name} is not supported", remedy=flag.instead)
        for names, flag in _HANDED.items():
            if name in names and not engine.client_flags:
                raise UnsupportedError(f"{name} is not supported by the embedded engine", remedy=flag.instead)
    return tuple(name if value is None else f"{name}={value}" for name, value in flags)
