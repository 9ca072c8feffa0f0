"""Docker as an engine under test, and as the source of what the cases record.

Needs ``docker`` with buildx 0.13 or later (``--progress=rawjson``) and the daemon that ``DOCKER_HOST`` names. That daemon's
build cache is emptied before every case, so it is one of the tests' own, or the option that says so was given.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.docker.private import borrowed, check_private, empty_cache

from . import bases, raw_progress
from .cases import Image, Row, Settings
from .layers import file_bytes, members, rest_of
from .outcome import Outcome, in_order
from .raw_progress import Written

# What the client, or the builder, says before each error.
_SAID_FIRST = re.compile(r"(?:failed to build: )?(?:failed to solve: |failed to run Build function: )*")
_ONBUILD = "ONBUILD "
_NAME = "layerlab-conformance:newest"
_VOLATILE = (
    (re.compile(r"checksum of ref \S+: "), "checksum of <...>: "),
    (re.compile(r"metadata for docker\.io/library/"), "metadata for <...>"),
    (re.compile(r"failed to do request: .*"), "failed to do request: <...>"),
    (re.compile(r"/\S+/(?:buildkit-mount|cachemounts/buildkit)\d+/"), "<...>/"),
    (re.compile(r"/\S+/overlay2/\w+/merged/"), "<...>/"),
    (re.compile(r"/\S+/snapshots/\d+/fs/"), "<...>/"),
    (re.compile(r"/\S+/overlay2/\w+/diff"), "<...>"),
    (re.compile(r"rpc error: code = Unknown desc = invalid (?:in|ex)cludepatterns: .*\]: "), "<...>"),
    (re.compile(r"unsupported modifier \([^ -~]+\)"), "unsupported modifier <...>"),
)


class NotSavedError(RuntimeError):
    """An image that the daemon does not hand out; the message is its own. The classic store does so with one that has no layer."""


class DockerRunner:
    """Builds with buildx and reads its verdicts from the raw progress stream."""

    name = "docker"
    like = "28"

    @property
    def lacks(self) -> dict[str, str]:
        """Nothing: it is what others are compared with."""
        return {}

    def __init__(self, *, told: bool = False, live: bool = False) -> None:
        """``told``: the daemon may be anybody's. Raises ``SharedDaemonError`` where it is not one of the tests' own.

        ``live``: tell more than is recorded, for another engine that does so, too (``cases.Image``, ``layers.members``); of a build that
        fails all rows, some of which are a race.
        """
        check_private(told=told)
        self._live = live
        self._told = told
        self.engine = engine_name()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(borrowed("docker", [base.name for base in bases.bases()]))
        self._stack.callback(self._forget)
        bases.load_into_docker()
        self._made: set[str] = set()

    def close(self) -> None:
        """Leave nothing of ours on the daemon."""
        self._stack.close()

    def start(self) -> None:
        """An empty build cache, and none of the images that earlier cases made."""
        self._forget()
        empty_cache("docker")

    def _forget(self) -> None:
        if self._made:
            subprocess.run(["docker", "rmi", "-f", *sorted(self._made)], capture_output=True, check=False)
            self._made.clear()
        if not self._told:
            # What a run that was killed has left; the classic store keeps the cache of it.
            subprocess.run(["docker", "image", "prune", "-f"], capture_output=True, check=False)

    def build(self, directory: Path, settings: Settings, *, want_image: bool) -> Outcome:
        """Build a context without network. Raises ``RuntimeError`` where the client says nothing that can be understood."""
        with tempfile.TemporaryDirectory() as folder:
            # By a name: the containerd store does not always find an image that has none.
            arguments = [*_arguments(directory, settings, Path(folder)), f"--tag={_NAME}", str(directory)]
            done = subprocess.run(["docker", "buildx", "build", *arguments], capture_output=True, text=True, check=False)
            interrupted = self._live and done.returncode != 0
            rows = _rows(done.stderr, directory / settings.file, settings.target, interrupted=interrupted)
            if done.returncode != 0:
                if not self._live:
                    # Shown only where the test fails: the daemon's own words, should it have failed and not the build.
                    print(done.stderr[-6000:])
                return Outcome(rows=rows if self._live else _only_failed_copy(rows), error=_error(done.stderr))
        self._made.update([_NAME] if settings.tag is None else [_NAME, settings.tag])
        return Outcome(rows=rows, image=read_image(_NAME, self.engine, live=self._live) if want_image else None)


def engine_name() -> str:
    """The daemon's version, and its image store where it is not the classic one, as in ``cases.ENGINES``."""
    asked = subprocess.run(["docker", "version", "--format={{.Server.Version}}"], capture_output=True, text=True, check=True)
    version = re.match(r"[\d.]*\d", asked.stdout)
    store = subprocess.run(["docker", "info", "--format={{json .DriverStatus}}"], capture_output=True, text=True, check=True)
    return (version[0] if version else "?") + ("-containerd" if "io.containerd.snapshotter" in store.stdout else "")


def _arguments(directory: Path, settings: Settings, folder: Path) -> Iterator[str]:
    yield from ("--progress=rawjson", "--network=none", f"--file={directory / settings.file}")
    for key, value in settings.args.items():
        yield f"--build-arg={key}={value}"
    for key, value in settings.labels.items():
        yield f"--label={key}={value}"
    for number, (key, value) in enumerate(settings.secrets.items()):
        path = folder / f"secret{number}"
        path.write_text(value, encoding="utf-8")
        yield f"--secret=id={key},src={path}"
    if settings.target:
        yield f"--target={settings.target}"
    if settings.tag:
        yield f"--tag={settings.tag}"
    if settings.no_cache:
        yield "--no-cache"
    for name in settings.no_cache_filter:
        yield f"--no-cache-filter={name}"


def _error(text: str) -> str:
    found = re.search(r"^ERROR: (.*)\Z", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError(f"docker buildx build failed without an error message: {text[-2000:]}")
    return found.group(1).strip()


def stable_error(message: str) -> tuple[str, str]:
    """An error message with its volatile parts as ``<...>``, and the longest stable piece of it."""
    for pattern, replacement in _VOLATILE:
        message = pattern.sub(replacement, message)
    pieces = [piece.strip(" :") for piece in _SAID_FIRST.sub("", message, count=1).split("<...>")]
    if "failed to calculate checksum of" in pieces[0]:
        pieces = pieces[1:]
    return message, max(pieces, key=len)


def _rows(text: str, dockerfile: Path, target: str | None, *, interrupted: bool) -> list[Row]:
    rows = raw_progress.rows(text, interrupted=interrupted)
    # What has no rows may be no Dockerfile.
    if not rows:
        return rows
    try:
        stages = raw_progress.stages(dockerfile.read_text(encoding="utf-8-sig"))
    except OSError:
        return rows
    if len(stages) < 2:
        return in_order(rows, [])
    labels = [stage.name or f"stage-{index}" for index, stage in enumerate(stages)]
    return _with_shared(in_order(rows, labels), stages, labels, target)


def _only_failed_copy(rows: list[Row]) -> list[Row]:
    failed = [row for row in rows if row.error]
    return failed if failed and failed[0].instruction.startswith(("COPY", "ADD")) else rows


def _with_shared(rows: list[Row], stages: list[Written], labels: list[str], target: str | None) -> list[Row]:
    """Find the steps that the engine printed under another stage because both have the same definition.

    A needed stage has a row for each of its file-making instructions. Where one lacks, the same text in an earlier stage
    has it.
    """
    shared: dict[int, list[str]] = {}
    for index, (stage, label) in enumerate(zip(stages, labels, strict=True)):
        if index not in _needed(stages, target):
            continue
        triggered = _triggers(stage, stages[:index])
        own = [one for one in (*triggered, *stage.instructions) if raw_progress.makes_files(one)]
        present = [row for row in rows if row.stage == label and not row.instruction.startswith("LINK ")]
        if len(own) <= len(present) or any(row.error for row in rows):
            continue
        have = [_blanks(row.instruction) for row in rows if row.stage == label]
        for instruction in own:
            printed = _printed(instruction)
            mine = next((text for text in have if printed.fullmatch(text)), None)
            if mine is not None:
                have.remove(mine)
                continue
            for position, row in enumerate(rows):
                if row.stage != label and printed.fullmatch(_blanks(row.instruction)) and label not in shared.get(position, []):
                    shared.setdefault(position, [row.stage]).append(label)
                    break
    return [msgspec.structs.replace(row, shared=tuple(shared.get(position, ()))) for position, row in enumerate(rows)]


def _triggers(stage: Written, above: Sequence[Written]) -> list[str]:
    """The triggers that a stage gets from a stage."""
    parent = next((other for other in reversed(above) if other.name and other.name == stage.base.lower()), None)
    return [] if parent is None else [one[len(_ONBUILD) :] for one in parent.instructions if one.upper().startswith(_ONBUILD)]


def _printed(instruction: str) -> re.Pattern[str]:
    """How an instruction may be printed: with the values of its variables, and a heredoc of RUN with a piece of it."""
    text = _blanks(instruction)
    # Newer engines say of a trigger that it is one.
    pattern = "(?:onbuild )?" + ".*".join(re.escape(piece) for piece in re.split(r"\$\{[^}]*\}|\$\w+", text))
    return re.compile(pattern + (r"(?: \(.*\))?" if text.startswith("run ") and "<<" in text else ""), re.DOTALL)


def _blanks(text: str) -> str:
    return " ".join(text.split()).lower()


def _needed(stages: list[Written], target: str | None) -> set[int]:
    names = {stage.name: index for index, stage in enumerate(stages) if stage.name}
    needed: set[int] = set()
    pending = [names.get(target.lower(), len(stages) - 1) if target else len(stages) - 1]
    while pending:
        index = pending.pop()
        if index in needed:
            continue
        needed.add(index)
        words = [stages[index].base.lower()]
        for instruction in stages[index].instructions:
            words += re.findall(r"\bfrom=([^\s,]+)", instruction.lower())
        pending += [names[word] for word in words if word in names and names[word] != index]
        pending += [int(word) for word in words[1:] if word.isdigit() and int(word) < len(stages)]
    return needed


def read_image(image: str, engine: str, *, live: bool = False) -> Image:
    """History, config and layer contents of an image of the daemon. Raises ``NotSavedError``, ``subprocess.CalledProcessError``."""
    saved = subprocess.run(["docker", "save", image], capture_output=True, check=False)
    if saved.returncode != 0:
        raise NotSavedError(f"docker save {image}: {saved.stderr.decode('utf-8', 'replace')}")
    with tarfile.open(fileobj=io.BytesIO(saved.stdout)) as archive:
        (manifest,) = json.load(_member(archive, "manifest.json"))
        config = json.load(_member(archive, manifest["Config"]))
        known = bases.diff_ids()
        tars = [_member(archive, name).read() for name in manifest["Layers"] or ()]
    every = [members(tar, whole=live) for tar in tars]
    layers = [layer for layer, diff_id in zip(every, config["rootfs"].get("diff_ids") or (), strict=True) if diff_id not in known]
    history = [
        {
            "created_by": row.get("created_by", ""),
            "comment": row.get("comment", ""),
            "empty_layer": bool(row.get("empty_layer")),
            "size": size,
        }
        for row, size in zip(config.get("history") or (), _sizes(image, engine, config, tars), strict=True)
    ]
    settings = {key: value for key, value in config["config"].items() if value}
    top = rest_of(config) if live else None
    return Image(history=history, config=settings, layers=layers, os=config["os"], architecture=config["architecture"], top=top)


def _sizes(image: str, engine: str, config: dict[str, Any], layers: list[bytes]) -> list[int]:
    """The size of each row of the history: of the files in its layer, in bytes.

    The classic store says so itself; containerd's says how many blocks of a disk a layer takes, which is another thing on each disk.
    """
    if engine.endswith("-containerd"):
        sizes = iter([file_bytes(layer) for layer in layers])
        return [0 if row.get("empty_layer") else next(sizes) for row in config.get("history") or ()]
    listed = subprocess.run(
        ["docker", "history", "--human=false", "--no-trunc", "--format={{json .}}", image], capture_output=True, text=True, check=True
    )
    return [int(json.loads(line)["Size"]) for line in reversed(listed.stdout.splitlines())]


def _member(archive: tarfile.TarFile, name: str) -> io.BytesIO:
    stream = archive.extractfile(name)
    assert stream is not None
    return io.BytesIO(stream.read())
