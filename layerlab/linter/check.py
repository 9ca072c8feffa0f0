"""A Dockerfile, gone through without building anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from layerlab.context.ignore import IgnoreRules
from layerlab.dockerfile.lines import decode
from layerlab.errors import CheckViolationError, LayerlabError
from layerlab.linter.findings import Findings
from layerlab.linter.options import CheckOptions
from layerlab.linter.stages import Stages, check_defaults
from layerlab.linter.text import read
from layerlab.model import CheckRecord, Failure
from layerlab.solver.graph import NEWEST, Like, Resolve, build_graph


def check(
    text: bytes,
    file: str,
    resolve: Resolve,
    is_reference: Callable[[str], bool],
    *,
    ignore: IgnoreRules | None = None,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    every_stage: bool = False,
    like: Like = NEWEST,
) -> CheckRecord:
    """Apply BuildKit's rules to the stages that ``target`` (default: the last stage) needs, or to every stage.

    ``file``          the name of the Dockerfile for people. ``ignore``: rules of the build context.
    ``resolve``       a base image for a reference, as for ``build_graph``.
    ``is_reference``  whether a text can name an image. ``like``: see ``BuildOptions``.

    An error that a build would end with is the record's ``failure``, beside what had been found before. Raises what ``resolve`` raises,
    if that is no ``LayerlabError``.
    """
    arguments = dict(build_args or {})
    findings = Findings(CheckOptions())
    failure: Failure | None = None
    try:
        dockerfile = read(text, file, arguments, findings)
        check_defaults(dockerfile, findings, is_reference)
        observer = Stages(dockerfile, ignore or IgnoreRules(), arguments, findings)
        build_graph(
            dockerfile,
            resolve,
            build_args=arguments,
            target=target,
            network="host",
            emulates=True,
            observer=observer,
            every_stage=every_stage,
            like=like,
        )
        if findings.options.error and findings.warnings:
            rules = ", ".join(sorted({warning.rule for warning in findings.warnings}))
            remedy = "layerlab build --check shows where. Mend them, or take error=true away."
            raise CheckViolationError(f"lint violation found for rules: {rules}", file=file, remedy=remedy)
    except LayerlabError as error:
        failure = Failure.of(error)
    warnings = tuple(sorted(findings.warnings, key=lambda warning: warning.line))
    try:
        source = decode(text, file)
    except LayerlabError:
        source = ""
    return CheckRecord(dockerfile=file, source=source, warnings=warnings, failure=failure)
