"""Build checks on what an engine would build, with its base images."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import msgspec

from layerlab.context.build_context import load_context
from layerlab.dockerfile import parse
from layerlab.engines.api import BuildOptions
from layerlab.engines.inputs import Inputs, build_arguments, check_frontend, dockerfile_of, dockerfile_text, not_here, shown_path
from layerlab.errors import CheckOptionsError, CheckViolationError, DockerfileError, InvalidReferenceError
from layerlab.linter import check
from layerlab.linter.options import CHECKS
from layerlab.model import CheckRecord
from layerlab.oci.references import parse_reference
from layerlab.solver.graph import Resolve
from layerlab.solver.ops import BaseImage

_ASKS: Final = re.compile(rb"(?im)^#[ \t]*check[ \t]*=")


def check_build(options: BuildOptions, resolve: Resolve) -> CheckRecord:
    """See ``Engine.check``. ``resolve`` gives a base image for a reference."""
    path, file = dockerfile_of(options)
    shown = shown_path(file)
    text = dockerfile_text(options, file, shown)
    with contextlib.suppress(DockerfileError):
        check_frontend(parse(text, shown), shown, options.build_args)
    ignore = load_context(path, dockerfile=file).rules
    return check(
        text,
        shown,
        resolve,
        is_reference,
        ignore=ignore,
        build_args=build_arguments(options),
        target=options.target,
        every_stage=not options.target,
        like=options.like,
    )


def checked(options: BuildOptions, inputs: Inputs) -> Inputs:
    """What a build starts from, with what its Dockerfile is warned of.

    Rule: BuildKit ``toDispatchState``: of the stages that the target needs, once there is no other error.
    Raises ``DockerfileError`` where ``# check=error=true`` makes warnings an error, or that line cannot be read.
    """

    def here(name: str) -> BaseImage:
        # The file is read again, and may be another by now.
        if name not in inputs.graph.images:
            raise not_here(name)
        return inputs.graph.images[name]

    record = check(
        dockerfile_text(options, inputs.file, inputs.shown),
        inputs.shown,
        here,
        is_reference,
        ignore=inputs.context.rules,
        build_args=build_arguments(options),
        target=options.target,
        like=options.like,
    )
    failure = record.failure
    # Of anything else the graph, which is made by the rules that were asked for, has spoken.
    if failure is not None and failure.code in (CheckViolationError.code, CheckOptionsError.code):
        raise DockerfileError(failure.message, file=failure.file, line=failure.line, column=failure.column, remedy=failure.remedy)
    return msgspec.structs.replace(inputs, checks=record.warnings)


def obeyed(options: BuildOptions, inputs: Inputs) -> Inputs:
    """As ``checked``, for a plan, which tells of no warnings: only a ``# check=`` can stop a build."""
    asks = build_arguments(options).get(CHECKS) or _ASKS.search(dockerfile_text(options, inputs.file, inputs.shown))
    return checked(options, inputs) if asks else inputs


def is_reference(text: str) -> bool:
    """Whether a text can name an image."""
    try:
        parse_reference(text)
    except InvalidReferenceError:
        return False
    return True
