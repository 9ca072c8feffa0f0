"""Build checks on what an engine would build, with its base images."""

from __future__ import annotations

import contextlib

from layerlab.context import load_context
from layerlab.dockerfile import parse
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.references import parse_reference
from layerlab.engines.inputs import dockerfile_text, shown_path, syntax_warnings
from layerlab.engines.planning import dockerfile_of
from layerlab.errors import DockerfileError, InvalidReferenceError
from layerlab.graph import Resolve
from layerlab.linter import check
from layerlab.model import CheckRecord


def check_build(options: BuildOptions, resolve: Resolve) -> CheckRecord:
    """See ``Engine.check``. ``resolve`` gives a base image for a reference."""
    path, file = dockerfile_of(options)
    shown = shown_path(file)
    text = dockerfile_text(options, file, shown)
    with contextlib.suppress(DockerfileError):
        syntax_warnings(parse(text, shown), shown)
    ignore = load_context(path, dockerfile=file).rules
    return check(text, shown, resolve, is_reference, ignore=ignore, build_args=options.build_args, target=options.target)


def is_reference(text: str) -> bool:
    """Whether a text can name an image."""
    try:
        parse_reference(text)
    except InvalidReferenceError:
        return False
    return True
