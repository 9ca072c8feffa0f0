"""The Docker engine: verdicts are Docker's, reasons are ours."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Unpack

import msgspec

from layerlab import model
from layerlab.engines.api import BuildOptions, ContainerOptions, Event, Output, Progress
from layerlab.engines.build_checks import check_build, checked, obeyed
from layerlab.engines.build_history import BuildHistory
from layerlab.engines.data_directory import default_store
from layerlab.engines.docker import containers
from layerlab.engines.docker.build import DockerBuild, ImageFacts
from layerlab.engines.docker.client import DockerError, connect_api, find_builder, find_client, said, translated
from layerlab.engines.docker.known_builds import DaemonRecords
from layerlab.engines.forecast import file_groups, make_forecast, make_matrix, make_plan
from layerlab.engines.inputs import Inputs, dockerfile_of, edit_path, not_here, read_inputs, refuse_typed_text
from layerlab.errors import BaseImageError, StoreError, UsageError
from layerlab.interrupt import Stop
from layerlab.oci.references import parse_reference
from layerlab.reports import Report
from layerlab.solver.ops import BaseImage

_STAND_IN_LABEL: Final = "layerlab.stand-in"
_MAKES_LAYER: Final = re.compile(r"(?:RUN|COPY|ADD|WORKDIR)\b")
_CLASSIC_EMPTY: Final = re.compile(r"/bin/sh -c #\(nop\) +(?!ADD|COPY)")
_REGISTRY_REMEDY: Final = "Check the name and the network; docker login gives the daemon your credentials."
_NO_ID: Final = "unknown"
_OWN_BUILDS: Final = "only builds by layerlab are known here; what another docker build has left in the daemon's cache will be cached, too"


class DockerEngine:
    """Builds with the Docker daemon that the docker command line would use.

    ``state_dir`` holds what layerlab remembers of its builds (default: the store of the embedded engine). Raises ``DockerError`` where
    no daemon can be had.
    """

    name = "docker"
    is_shared = True
    client_flags = True

    def __init__(self, state_dir: str | None = None) -> None:
        self.store_path = os.path.abspath(state_dir) if state_dir is not None else default_store()
        self.api = connect_api()
        with translated():
            self.info: dict[str, Any] = self.api.info()
        identity = self.info.get("ID") or hashlib.sha256(str(self.api.base_url).encode()).hexdigest()
        self.state = os.path.join(self.store_path, "docker-" + re.sub(r"[^0-9A-Za-z-]", "", str(identity))[:36])
        try:
            os.makedirs(self.state, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the directory {self.state} cannot be made: {error.strerror}",
                remedy="Set LAYERLAB_STORE to a directory that you can write to.",
            ) from error

    def __enter__(self) -> DockerEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.api.close()

    def about(self) -> model.EngineSummary:
        """See ``Engine.about``."""
        return model.EngineSummary(name=self.name, title="Docker engine", executor=self.executor, snapshotter=self.snapshotter)

    def clone(self) -> DockerEngine:
        """See ``Engine.clone``: it has a connection of its own."""
        return DockerEngine(self.store_path)

    @property
    def executor(self) -> str:
        """Name and version of what runs the steps."""
        return f"docker {self.info.get('ServerVersion', _NO_ID)}"

    @property
    def snapshotter(self) -> str:
        """The daemon's storage driver."""
        return str(self.info.get("Driver", _NO_ID))

    # --- building ---------------------------------------------------------------------------------------------------

    def _inputs(self, options: BuildOptions, report: Report) -> Inputs:
        # Docker has emulators, and fetches the frontend that a Dockerfile asks for.
        return read_inputs(options, self._context_directory, lambda name: self._base(name, options, report), emulates=True, frontends=True)

    def _context_directory(self, path: str) -> str:
        directory = os.path.join(self.state, "contexts", hashlib.sha256(os.fsencode(path)).hexdigest()[:24])
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{directory} cannot be made: {error.strerror}", remedy="Free some space in the store.") from error
        return directory

    def _base(self, name: str, options: BuildOptions, report: Report) -> BaseImage:
        found = self._inspect(name)
        if found is None and not options.fetch:
            raise not_here(name)
        if found is None or (options.pull and not options.offline):
            if options.offline:
                raise BaseImageError(
                    f"{name}: the Docker daemon does not have it, and --offline was given", remedy=f"Run docker pull {name} first."
                )
            try:
                self.pull(name, report)
            except DockerError as error:
                if type(error) is not DockerError:
                    raise
                raise BaseImageError(
                    f"{name}: failed to resolve source metadata for {parse_reference(name).full}: {error.message}",
                    remedy="Check the name and the network; docker load or docker import bring an image without a registry.",
                ) from error
            found = self._inspect(name)
        if found is None:
            raise BaseImageError(f"{name}: Docker pulled it and does not have it")
        settings = found.get("Config") or {}
        config = {
            "config": {key: value for key, value in settings.items() if value not in (None, {}, [], "")},
            "architecture": found.get("Architecture"),
            "os": found.get("Os"),
        }
        label = (settings.get("Labels") or {}).get(_STAND_IN_LABEL)
        return BaseImage(name, tuple(found["RootFS"].get("Layers") or ()), config, f"{name}: {label}" if label else "")

    def _inspect(self, name: str) -> dict[str, Any] | None:
        import docker.errors

        with translated():
            try:
                found: dict[str, Any] = self.api.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
        return found

    def build(self, options: BuildOptions, progress: Progress | None = None, stop: Stop | None = None) -> model.BuildRecord:
        """Build an image; see ``Engine.build``. Raises ``DockerError`` where Docker could not even try."""
        refuse_typed_text(options)
        watch = progress or _silent
        started = time.monotonic()
        inputs = checked(options, self._inputs(options, lambda text: watch(Event(kind="note", text=text))))
        build = DockerBuild(options, inputs, DaemonRecords(self.state), find_builder(), watch, stop or Stop())
        reader = build.run()
        image = None
        if build.image_id:
            image = self._facts(build.image_names, options.tag)
        return build.finish(reader, self.executor, self.snapshotter, image, started)

    def _facts(self, built: tuple[str, ...], tag: str | None) -> ImageFacts:
        for name in (*built, *([tag] if tag else [])):
            found = self._inspect(name)
            if found is not None:
                layers = (found.get("RootFS") or {}).get("Layers") or ()
                return ImageFacts(id=name if name in built else found["Id"], diff_ids=tuple(layers), rows=self.history(name))
        raise DockerError(
            f"Docker built the image {built[0]} and does not have it",
            remedy="It may have been pruned meanwhile: build again. Or the daemon keeps images in a store that layerlab does not know: "
            "use --engine embedded.",
        )

    def plan(self, options: BuildOptions, edits: tuple[str, ...] = ()) -> model.PlanRecord:
        """What layerlab's solver expects of the next build, by the builds that it has seen; see ``Engine.plan``."""
        inputs = obeyed(options, self._inputs(options, _quiet))
        paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
        return _with_doubt(make_plan("docker", options, inputs, DaemonRecords(self.state), paths))

    def check(self, options: BuildOptions) -> model.CheckRecord:
        """See ``Engine.check``."""
        return check_build(options, lambda name: self._base(name, options, lambda _text: None))

    def matrix(self, options: BuildOptions, edits: tuple[str, ...]) -> tuple[tuple[str, model.PlanRecord], ...]:
        """A plan for each edit alone; see ``Engine.matrix``."""
        inputs = obeyed(options, self._inputs(options, _quiet))
        paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
        plans = make_matrix("docker", options, inputs, DaemonRecords(self.state), paths)
        return tuple((edit, _with_doubt(plan)) for edit, plan in zip(edits, plans, strict=True))

    def forecast(self, options: BuildOptions, edits: tuple[str, ...]) -> model.Forecast:
        """See ``Engine.forecast``."""
        inputs = obeyed(options, self._inputs(options, _quiet))
        paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
        plan, plans = make_forecast(self.name, options, inputs, DaemonRecords(self.state), paths)
        return model.Forecast(plan=_with_doubt(plan), matrix=tuple(zip(edits, map(_with_doubt, plans), strict=True)))

    def explain(self, options: BuildOptions) -> model.BuildRecord | None:
        """The last build's record; where nothing ran in it, the last one in which something did."""
        path, file = dockerfile_of(options)
        memory = BuildHistory(self._context_directory(path), file, options.target)
        return memory.record(with_misses=True) or memory.record()

    def file_groups(self, options: BuildOptions) -> tuple[tuple[str, ...], ...]:
        """The files of a build context, together where their edits do the same; see ``forecast.file_groups``."""
        return file_groups(self._inputs(options, _quiet))

    # --- images -----------------------------------------------------------------------------------------------------

    def _found(self, image: str) -> dict[str, Any]:
        found = self._inspect(image)
        if found is None:
            raise UsageError(f"No such image: {image}", remedy="`layerlab images --engine docker` lists those that are here.")
        return found

    def image_row(self, image: str) -> model.ImageRow:
        """The image under a name or an ID. Raises ``UsageError``."""
        found = self._found(image)
        tags = found.get("RepoTags") or []
        label = ((found.get("Config") or {}).get("Labels") or {}).get(_STAND_IN_LABEL, "")
        return model.ImageRow(name=tags[0] if tags else image, config=found["Id"], manifest="", source="docker", stand_in=label)

    def image_config(self, image: str) -> dict[str, Any]:
        """The configuration of an image, as far as Docker tells it. Raises ``UsageError``."""
        found = self._found(image)
        return {
            "architecture": found.get("Architecture"),
            "os": found.get("Os"),
            "created": found.get("Created"),
            "config": {key: value for key, value in (found.get("Config") or {}).items() if value not in (None, {}, [], "")},
            "rootfs": {"type": "layers", "diff_ids": found["RootFS"].get("Layers") or []},
        }

    def images(self, *, unnamed: bool = False) -> tuple[model.ImageSummary, ...]:
        """All images, newest first."""
        with translated():
            listed = self.api.images(all=False)
        rows = []
        for item in listed:
            names = [name for name in item.get("RepoTags") or [] if name != "<none>:<none>"] or (["<none>"] if unnamed else [])
            if not names:
                continue
            layers = len((self._inspect(item["Id"]) or {}).get("RootFS", {}).get("Layers") or [])
            label = (item.get("Labels") or {}).get(_STAND_IN_LABEL, "")
            rows += [
                model.ImageSummary(
                    name=name, id=item["Id"], created=_moment(item["Created"]), size=item["Size"], layers=layers, stand_in=label
                )
                for name in names
            ]
        return tuple(sorted(rows, key=lambda row: (row.created, row.name), reverse=True))

    def inspect(self, image: str) -> dict[str, Any]:
        """What ``docker image inspect`` shows. Raises ``UsageError``."""
        return self._found(image)

    def tag(self, image: str, name: str) -> str:
        """Give an image another name; returns it in full. Raises ``UsageError``."""
        reference = parse_reference(name)
        self._found(image)
        repository, _, tag = reference.short.rpartition(":")
        with translated():
            self.api.tag(image, repository, tag)
        return reference.short

    def untag(self, image: str, *, force: bool = False) -> tuple[str, bool]:
        """Take a name away, as ``docker rmi``; returns it, and whether the image has none left. Raises ``UsageError``."""
        self._found(image)
        with translated():
            answer = self.api.remove_image(image, force=force)
        gone = [item["Untagged"] for item in answer if "Untagged" in item]
        return ", ".join(gone) or image, any("Deleted" in item for item in answer)

    def history(self, image: str) -> tuple[model.HistoryEntry, ...]:
        """Rows of an image's history, newest first. Raises ``UsageError``."""
        layers = list(self._found(image)["RootFS"].get("Layers") or [])
        with translated():
            rows = self.api.history(image)
        empty = [_is_empty(row) for row in rows]
        if empty.count(False) != len(layers):
            # An image of another builder, whose rows we cannot read: what has bytes is a layer.
            empty = [not row.get("Size") for row in rows]
        aligned = empty.count(False) == len(layers)
        found = []
        for row, is_empty in zip(rows, empty, strict=True):
            found.append(
                model.HistoryEntry(
                    created_by=row.get("CreatedBy") or "",
                    size=row.get("Size") or 0,
                    empty_layer=is_empty,
                    created=_moment(row["Created"]) if row.get("Created", 0) > 0 else None,
                    comment=row.get("Comment") or "",
                    diff_id=layers.pop() if aligned and not is_empty else None,
                )
            )
        return tuple(found)

    def view(self, image: str, report: Report | None = None) -> model.ImageView:
        """An image seen as its layers. Docker writes the whole image out for that, which can take a while, so ``report`` is told.

        Raises ``UsageError``, ``DockerError``.
        """
        from layerlab.engines.docker.archives import view_archive

        found = self._found(image)
        tell = report or _quiet
        tell(f"docker writes out {image} ({found.get('Size', 0) / 1e6:.1f} MB), to see what is in its layers")
        with translated():
            return view_archive(found["Id"], self.api.get_image(image), tell)

    # --- moving images ----------------------------------------------------------------------------------------------

    def pull(self, name: str, report: Report) -> model.ImageRow:
        """Let the daemon fetch an image from its registry. Raises ``DockerError``."""
        reference = parse_reference(name)
        report(f"docker pulls {reference.full}")
        with translated():
            for item in self.api.pull(name if reference.digest else reference.short, stream=True, decode=True):
                if "error" in item:
                    raise said(item["error"], remedy=_REGISTRY_REMEDY)
                if item.get("status") in ("Pull complete", "Already exists"):
                    report(f"{item.get('id', '')}: {item['status']}")
        return self.image_row(name)

    def push(self, name: str, report: Report) -> model.Push:
        """Let the daemon send an image to the registry that its name says. Raises ``DockerError``, ``UsageError``."""
        reference = parse_reference(name)
        diff_ids: list[str] = list(self._found(name)["RootFS"].get("Layers") or [])
        digest = ""
        sent: dict[str, bool] = {}
        sizes: dict[str, int] = {}
        with translated():
            for item in self.api.push(reference.short.rpartition(":")[0], tag=reference.tag, stream=True, decode=True):
                if "error" in item:
                    raise said(item["error"], remedy=_REGISTRY_REMEDY)
                digest = (item.get("aux") or {}).get("Digest", digest)
                layer, status = item.get("id", ""), item.get("status", "")
                detail = item.get("progressDetail") or {}
                sizes[layer] = max(sizes.get(layer, 0), detail.get("current", 0))
                if status.startswith(("Pushed", "Layer already exists", "Mounted from")):
                    sent[layer] = status == "Pushed"
                    report(f"{layer}: {status.lower()}")
        layers = tuple(
            model.SentLayer(diff_id=diff_id, digest="", size=sizes.get(diff_id[7:19], 0), sent=sent.get(diff_id[7:19], False))
            for diff_id in diff_ids
        )
        return model.Push(reference=reference.full, digest=digest, layers=layers, sent=sum(layer.size for layer in layers if layer.sent))

    def save(self, names: tuple[str, ...], path: str | None) -> None:
        """Write images to an archive, or to standard output, as ``docker save``. Raises ``UsageError``, ``DockerError``."""
        for name in names:
            self._found(name)
        command = [find_client(), "save", *(("--output", path) if path is not None else ()), *names]
        done = subprocess.run(
            command, stdout=sys.stdout.buffer if path is None else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            raise said(done.stderr.strip())

    def load(self, path: str) -> list[str]:
        """Read images from an archive, as ``docker load``, or from an OCI layout; returns their names.

        Raises ``UsageError``, ``BaseImageError``, ``DockerError``.
        """
        if os.path.isdir(path):
            from layerlab.engines.docker.archives import pack_layout

            with tempfile.NamedTemporaryFile(dir=self.state, prefix="load-") as packed:
                pack_layout(path, packed)
                packed.flush()
                return self.load(packed.name)
        if not os.path.exists(path):
            raise UsageError(f"{path} does not exist", remedy="Give the archive with -i FILE.")
        done = subprocess.run([find_client(), "load", "--input", path], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise said(done.stderr.strip())
        return re.findall(r"^Loaded image(?: ID)?: (\S+)$", done.stdout, re.MULTILINE)

    # --- containers -------------------------------------------------------------------------------------------------

    def _wanted(self, image: str, options: ContainerOptions) -> containers.Wanted:
        settings = self._found(image).get("Config") or {}
        return containers.Wanted(image, settings, options, desktop="desktop" in str(self.info.get("OperatingSystem", "")).lower())

    @contextlib.contextmanager
    def container(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> Iterator[containers.DockerContainer]:
        """See ``Containers.container``."""
        with containers.attached(self.api, self._wanted(image, options), remove=options.get("remove", True)) as running:
            yield running

    def run_detached(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> str:
        """See ``Containers.run_detached``."""
        return containers.detached(self.api, self._wanted(image, options), remove=options.get("remove", False))

    def containers(self, *, stopped: bool = False) -> tuple[model.ContainerSummary, ...]:
        """The running containers, with ``stopped`` all, newest first."""
        return containers.listed(self.api, stopped=stopped)

    def container_diff(self, container: str) -> tuple[model.PathChange, ...]:
        """What a container changed in its image, sorted by path. Raises ``UsageError``."""
        return containers.changes(self.api, container)

    def container_logs(self, container: str, output: Output, *, follow: bool = False) -> None:
        """Pass on what a container wrote, with ``follow`` until it ends. Raises ``UsageError``."""
        containers.logs(self.api, container, output, follow=follow)

    def stop_container(self, container: str, seconds: float = 10) -> None:
        """Ask a container to end, and make it end when it has not done so in time; harmless for one that has. Raises ``UsageError``."""
        containers.stop(self.api, container, seconds)

    def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove a container, with ``force`` even one that runs. Raises ``UsageError``."""
        containers.remove(self.api, container, force=force)


def _with_doubt(plan: model.PlanRecord) -> model.PlanRecord:
    """A plan that says what it cannot know: BuildKit tells nobody the keys of its cache, and a guess by descriptions would be wrong."""
    if all(step.status not in ("executed", "undecided") for step in plan.steps):
        return plan
    return msgspec.structs.replace(plan, warnings=(*plan.warnings, _OWN_BUILDS))


def _is_empty(row: Mapping[str, Any]) -> bool:
    made = row.get("CreatedBy") or ""
    if row.get("Size"):
        return False
    if "buildkit" in (row.get("Comment") or ""):
        return _MAKES_LAYER.match(made) is None
    return bool(_CLASSIC_EMPTY.match(made))


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def _quiet(_text: str) -> None:
    """Progress that nobody watches."""


def _silent(_event: Event) -> None:
    """Progress that nobody watches."""
