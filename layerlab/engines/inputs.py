"""What every engine reads before it decides anything: the Dockerfile, and paths as a person names them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from layerlab.context.build_context import BuildContext, load_context
from layerlab.dockerfile import parse
from layerlab.dockerfile.ast import Dockerfile
from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.mounts import FALSE, TRUE
from layerlab.engines.api import BuildOptions
from layerlab.engines.build_history import BuildHistory
from layerlab.errors import BaseImageError, UnsupportedError, UsageError
from layerlab.fsutil import leads_out
from layerlab.model import CheckWarning
from layerlab.solver.graph import EPOCH, Graph, Remote, Resolve, build_graph, opaque

# Seconds since 1970 up to which there are dates, to both sides.
_LATEST: Final = 60_000_000_000


class Inputs(msgspec.Struct, frozen=True):
    """What a build reads before it decides anything. ``file`` is the Dockerfile's absolute path, ``shown`` the one for people.

    ``checks``: what build checks object to, where they were made.
    """

    context: BuildContext
    graph: Graph
    memory: BuildHistory
    file: str
    shown: str
    warnings: tuple[str, ...] = ()
    stand_in: tuple[str, ...] = ()
    checks: tuple[CheckWarning, ...] = ()


def dockerfile_of(options: BuildOptions) -> tuple[str, str]:
    """Absolute paths of the build context and of the Dockerfile. Raises ``UsageError`` when the context is no directory."""
    path = os.path.abspath(options.context)
    if not os.path.isdir(path):
        raise _no_context(options.context)
    file = os.path.abspath(options.file) if options.file is not None else os.path.join(path, "Dockerfile")
    folder, name = os.path.split(file)
    if name == "Dockerfile" and not os.path.lexists(file) and os.path.lexists(os.path.join(folder, "dockerfile")):
        # As Docker's clients do.
        file = os.path.join(folder, "dockerfile")
    return path, file


def _no_context(path: str) -> UsageError:
    what = "is not a directory" if os.path.exists(path) else "does not exist"
    return UsageError(
        f"the build context {path} {what}", remedy="Give the directory that holds the files to copy, for example: layerlab build ."
    )


def _read_dockerfile(file: str, shown: str, context: str) -> bytes:
    if leads_out(file, context):
        # What is wrong with its lines would be printed, and they are none of a stranger's repository.
        raise UsageError(
            f"failed to read dockerfile: {shown} is a link that leads out of the build context",
            remedy=f"Name the file itself: -f {os.path.realpath(file)}.",
        )
    try:
        if os.path.exists(file) and not os.path.isfile(file):
            raise UsageError(f"failed to read dockerfile: {shown} is not a regular file", remedy="Name a file with -f FILE.")
        with open(file, "rb") as stream:
            return stream.read(4 << 20)
    except FileNotFoundError:
        raise UsageError(
            f"failed to read dockerfile: open {os.path.basename(file)}: no such file or directory",
            remedy=f"There is no {shown}: name the file with -f FILE, or put one called Dockerfile into the build context.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"failed to read dockerfile: {shown}: {error.strerror}", remedy="Give the path of a readable file with -f."
        ) from error


def dockerfile_text(options: BuildOptions, file: str, shown: str) -> bytes:
    """The text of the Dockerfile of a build: what is being typed, else the file's. Raises ``UsageError``."""
    if options.dockerfile_text is None:
        return _read_dockerfile(file, shown, options.context)
    return options.dockerfile_text.encode()


def dockerfile_for(options: BuildOptions, file: str, shown: str) -> Dockerfile:
    """The Dockerfile of a build. Raises ``UsageError``, ``DockerfileError``."""
    return parse(dockerfile_text(options, file, shown), shown)


def not_here(name: str) -> BaseImageError:
    return BaseImageError(f"{name} is not here yet, so nothing can be said of the steps on it", remedy="A build fetches it.")


def refuse_typed_text(options: BuildOptions) -> None:
    """Raises ``UsageError`` for a build of a text that no file has: nobody could build it again."""
    if options.dockerfile_text is not None:
        raise UsageError("dockerfile_text is for plans; a build reads the Dockerfile from its file", remedy="Save the text first.")


def build_arguments(options: BuildOptions) -> dict[str, str]:
    """The arguments of a build: those that it was given, and ``SOURCE_DATE_EPOCH`` of the environment, as buildx hands it on.

    Raises ``UsageError`` for one of the builder's own that it cannot read (BuildKit ``dockerui/config.go``).
    """
    found = dict(options.build_args)
    for kind, given in (("build argument", found), ("label", options.labels)):
        for name, value in given.items():
            try:
                f"{name}{value}".encode()
            except UnicodeEncodeError:
                raise UsageError(f"the {kind} {name!r} is not UTF-8", remedy="An image's configuration is JSON, which is text.") from None
    if os.environ.get(EPOCH):
        found.setdefault(EPOCH, os.environ[EPOCH])
    epoch = found.get(EPOCH, "")
    if epoch:
        number = re.fullmatch(r"[-+]?[0-9]{1,20}", epoch)
        if number is None or abs(int(epoch)) > _LATEST:
            why = "value out of range" if number is not None else "invalid syntax"
            raise UsageError(
                f"invalid source-date-epoch: strconv.ParseInt: parsing {quoted(epoch)}: {why}",
                remedy="Give SOURCE_DATE_EPOCH seconds since 1970, or unset it.",
            )
    platforms = found.get("BUILDKIT_MULTI_PLATFORM", "")
    if platforms and platforms not in TRUE | FALSE:
        raise UsageError(f"invalid boolean value for multi-platform: {platforms}", remedy="Leave it out: there is one platform here.")
    if found.get("BUILDKIT_DOCKERFILE_CHECK"):
        # Seldom given, and the rules cost time to load.
        from layerlab.linter.options import CHECKS, parse_options

        try:
            parse_options(found[CHECKS])
        except ValueError as error:
            raise UsageError(f"failed to parse build-arg:{CHECKS}: {error}", remedy="For example skip=RULE;error=true.") from error
    return found


def check_frontend(dockerfile: Dockerfile, shown: str, build_args: Mapping[str, str]) -> None:
    """That a Dockerfile is for the frontend that is built in. Raises ``UnsupportedError``."""
    syntax = build_args.get("BUILDKIT_SYNTAX", "").strip().partition(" ")[0] or dockerfile.syntax
    # Upstream's own builds, and both behind a mirror, are the same language.
    if syntax is None or re.fullmatch(r"(?:[^@]+/)?docker/dockerfile(?:-upstream)?(?::[^/@]*)?(?:@.*)?", syntax):
        return
    raise UnsupportedError(
        f"the external frontend {syntax} is not supported: layerlab reads Dockerfiles itself and never fetches a frontend",
        file=shown,
        line=1,
        remedy="Remove the # syntax line (or BUILDKIT_SYNTAX), or build with Docker.",
    )


def edit_path(context: str, edit: str) -> str:
    """An edit as a path within the context: relative to it, or relative to the current directory when only that exists."""
    inside = edit.removeprefix("./").rstrip("/")
    if not os.path.isabs(edit) and os.path.lexists(os.path.join(context, inside)):
        return os.path.normpath(inside)
    absolute = os.path.abspath(edit)
    relative = os.path.relpath(absolute, context)
    if relative.startswith(".."):
        if os.path.isabs(edit) or inside.startswith(".."):
            raise UsageError(f"{edit} is not in the build context {context}", remedy="Name a file of the build context.")
        return os.path.normpath(inside)
    if os.path.lexists(absolute) or os.path.isabs(edit):
        return relative
    return os.path.normpath(inside)


def shown_path(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("../..") else relative


def read_inputs(
    options: BuildOptions,
    keeps: Callable[[str], str],
    resolve: Resolve,
    *,
    remote: Remote = opaque,
    emulates: bool = False,
    frontends: bool = False,
) -> Inputs:
    """Read what a build starts from.

    ``keeps`` gives, for the path of a build context, the directory for what is kept of it; ``resolve`` and ``remote`` are as in
    ``build_graph``. ``emulates``: whether stages may be for other platforms; ``frontends``: whether other languages than our own are
    somebody else's to read.

    Raises ``UsageError``, ``DockerfileError``, ``UnsupportedError``, and what the three raise.
    """
    path, file = dockerfile_of(options)
    shown = shown_path(file)
    kept = keeps(path)
    dockerfile = dockerfile_for(options, file, shown)
    arguments = build_arguments(options)
    if not frontends:
        check_frontend(dockerfile, shown, arguments)
    contexts: list[BuildContext] = []

    def open_context(*, ignoring: bool = True) -> None:
        contexts.append(load_context(path, dockerfile=file, cache_file=os.path.join(kept, "checksums"), ignoring=ignoring))

    graph = build_graph(
        dockerfile,
        resolve,
        build_args=arguments,
        target=options.target,
        no_cache=options.no_cache,
        no_cache_filter=options.no_cache_filter,
        labels=options.labels,
        network=options.network,
        emulates=emulates,
        like=options.like,
        remote=remote,
        # Since BuildKit 0.15 the ignore file is wanted to check the instructions; before, it was read last, when the context was asked for.
        before_steps=open_context if options.like != "26" else lambda: None,
    )
    if not contexts:
        open_context(ignoring=graph.uses_context)
    (context,) = contexts
    stand_in = tuple(sorted({image.stand_in for image in graph.images.values() if image.stand_in}))
    return Inputs(context, graph, BuildHistory(kept, file, options.target), file, shown, graph.warnings, stand_in)
