"""What Docker says of a Dockerfile: its build checks, from the client's JSON, without a line of layerlab.

Missing base images are stand-ins that the daemon loads under their names. A name with a digest cannot be given to anything, and no frontend
can be fetched: ``neutral`` takes both out of the text that both sides are asked about; no line moves.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import docker
import requests
from docker.errors import DockerException

from . import standins
from .contexts import bases

_NAME: Final = "wild-stand-in:1"
_DIRECTIVE: Final = re.compile(rb"#[ \t]*(?:syntax|escape|check)[ \t]*=", re.IGNORECASE)
_SYNTAX: Final = re.compile(rb"#[ \t]*syntax[ \t]*=[ \t]*(?:docker\.io/)?docker/dockerfile(?:[:@\s]|\Z)", re.IGNORECASE)
_DIGEST: Final = re.compile(rb"@sha256:[0-9a-f]{64}")
_CHECK: Final = re.compile(rb"^[ \t]*#[ \t]*check[ \t]*=", re.IGNORECASE | re.MULTILINE)
_WANTED: Final = re.compile(r"\[internal\] load metadata for (\S+)")
_UNRESOLVED: Final = "failed to resolve source metadata"
_ROUNDS: Final = 12


def neutral(text: bytes) -> bytes:
    """A Dockerfile without what only a network could answer."""
    lines = _DIGEST.sub(b"", text).split(b"\n")
    directives = 0
    while directives < len(lines) and _DIRECTIVE.match(lines[directives]):
        directives += 1
    for number in range(directives):
        if _SYNTAX.match(lines[number]):
            # An unknown directive is a comment and ends the others, so it goes behind them.
            lines.insert(directives - 1, lines.pop(number).replace(b"=", b":", 1))
            break
    return b"\n".join(lines)


def options(text: bytes) -> dict[str, str]:
    """Build arguments that ask for all rules, where the file does not say itself which ones."""
    return {} if _CHECK.search(text) else {"BUILDKIT_DOCKERFILE_CHECK": "experimental=all"}


class Docker:
    """The daemon of ``DOCKER_HOST``, which must be one of the tests' own: it is given images under everybody's names."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._named: set[str] = set()
        self._client = docker.from_env()
        self._client.images.load(_archive())
        # The plugin itself, where it is: thousands of times one process less.
        plugins = os.path.join(os.environ.get("DOCKER_CONFIG", os.path.expanduser("~/.docker")), "cli-plugins")
        plugin = shutil.which("docker-buildx", path=plugins)
        self._buildx = [plugin] if plugin else ["docker", "buildx"]

    def close(self) -> None:
        """Remove the images."""
        for name in (*sorted(self._named), _NAME):
            # A daemon that has thousands of images to put in order may be long in answering.
            with contextlib.suppress(DockerException, requests.RequestException):
                self._client.api.remove_image(name, force=True)
        self._client.close()

    def check(self, text: bytes, ignore: bytes | None, build_args: dict[str, str]) -> dict[str, Any]:
        """``warnings``, ``error`` and the error's ``line``, in the form of ours; or ``unasked`` with the reason."""
        # Most names can be guessed; the others come out one by one.
        self._name(bases(text.decode("utf-8", "replace")))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "Dockerfile").write_bytes(text)
            if ignore is not None:
                Path(folder, ".dockerignore").write_bytes(ignore)
            given = [f"--build-arg={name}={value}" for name, value in build_args.items()]
            command = [*self._buildx, "build", "--call=lint,format=json", *given, folder]
            for _ in range(_ROUNDS):
                try:
                    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=self._limit)
                except subprocess.TimeoutExpired:
                    return {"unasked": "Docker gave no answer in time"}
                answer = _answer(done.stdout, done.stderr)
                if _UNRESOLVED not in answer.get("error", "") or not self._name(_WANTED.findall(done.stderr)):
                    break
        if _UNRESOLVED in answer.get("error", ""):
            return {"unasked": "a base image that cannot be given to Docker"}
        return answer

    def _name(self, names: list[str]) -> bool:
        """Give the stand-in these names; whether one was new."""
        new = sorted(set(names) - self._named)
        for name in new:
            head, slash, last = name.rpartition("/")
            last, _, tag = last.partition(":")
            with contextlib.suppress(DockerException):
                self._client.api.tag(_NAME, head + slash + last, tag or "latest", force=True)
                self._named.add(name)
        return bool(new)


def _answer(output: str, errors: str) -> dict[str, Any]:
    try:
        found = json.loads(output)
    except ValueError:
        said = re.findall(r"^ERROR: (.*)", errors, re.MULTILINE)
        return {"warnings": [], "error": said[-1] if said else errors[-500:], "line": None}
    warnings = []
    for warning in found["warnings"] or []:
        lines = _lines(warning["location"])
        warnings.append([warning["ruleName"], min(lines), max(lines), warning["detail"]])
    error = found.get("buildError") or {}
    lines = _lines(error.get("location") or {})
    return {"warnings": sorted(warnings), "error": error.get("message", ""), "line": min(lines) if lines else None}


def _lines(location: dict[str, Any]) -> list[int]:
    return [place[end]["line"] for place in location.get("ranges") or [] for end in ("start", "end")]


def _archive() -> bytes:
    """The stand-in as ``docker save`` would write it."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Path(folder, "image")
        standins.write_layout(layout)
        index = json.loads((layout / "index.json").read_bytes())
        index["manifests"][0]["annotations"] = {
            "io.containerd.image.name": f"docker.io/library/{_NAME}",
            "org.opencontainers.image.ref.name": _NAME.partition(":")[2],
        }
        (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(layout, arcname=".")
        return buffer.getvalue()
