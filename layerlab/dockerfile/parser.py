"""Whole files: stages, arguments before the first FROM, and single instructions for ONBUILD.

Rule: BuildKit ``frontend/dockerfile/instructions/parse.go`` (``Parse``) and ``dockerfile2llb/convert.go``.
"""

from __future__ import annotations

from layerlab.dockerfile.ast import Dockerfile, Instruction, Stage
from layerlab.dockerfile.directives import detect
from layerlab.dockerfile.instructions import build_instruction, stage_name
from layerlab.dockerfile.lines import LineReader, decode
from layerlab.dockerfile.nodes import Node, read_nodes
from layerlab.errors import DockerfileError


def parse(text: bytes | str, file: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile.

    Args:
        text: the file's contents; bytes must be UTF-8. A byte order mark and CRLF line ends are accepted.
        file: the name to put into errors.

    Returns:
        The stages with nothing expanded. ``syntax`` is the image of a ``# syntax=`` line; what to do with it is up to the caller.

    Raises:
        DockerfileError: with file, line and column set, for everything that BuildKit refuses at this point.
    """
    decoded = decode(text, file)
    reader = LineReader(decoded, file)
    nodes = read_nodes(reader)
    if not nodes:
        raise DockerfileError(
            "file with no instructions",
            file=file,
            line=max(1, len(reader.physical)),
            column=1,
            remedy="Begin with a FROM instruction, for example `FROM scratch`.",
        )
    meta_args: list[Instruction] = []
    starts: list[tuple[Node, Instruction]] = []
    bodies: list[list[Instruction]] = []
    for node in nodes:
        instruction = build_instruction(node)
        if instruction.keyword == "FROM":
            starts.append((node, instruction))
            bodies.append([])
        elif bodies:
            bodies[-1].append(instruction)
        elif instruction.keyword == "ARG":
            meta_args.append(instruction)
        else:
            node.fail("no build stage in current context", remedy="Put a FROM instruction first; only ARG may stand before it.")
    if not starts:
        nodes[-1].fail("dockerfile contains no stages to build", remedy="Add a FROM instruction.")
    stages = tuple(
        Stage(
            index=index,
            base=instruction.args[0],
            name=stage_name(node),
            platform=instruction.flag("platform"),
            from_instruction=instruction,
            instructions=tuple(bodies[index]),
        )
        for index, (node, instruction) in enumerate(starts)
    )
    return Dockerfile(
        file=file,
        meta_args=tuple(meta_args),
        stages=stages,
        escape=reader.directives.escape,
        syntax=detect("syntax", reader.physical),
    )


def parse_instruction(text: str, file: str = "Dockerfile", line: int = 1) -> Instruction:
    """Parse one instruction that is not part of a file: the trigger of an ONBUILD.

    Args:
        text: the instruction, here-document bodies included.
        file, line: the place that the result and any error get: that of the FROM whose base image has the trigger.

    Raises:
        DockerfileError: as ``parse``; or when the text is not exactly one instruction, or a FROM.
    """
    try:
        nodes = read_nodes(LineReader(decode(text, file), file))
        if len(nodes) != 1:
            raise DockerfileError("onbuild trigger should be a single expression", remedy="Write one instruction.")
        node = nodes[0]
        if node.keyword == "FROM":
            raise DockerfileError("FROM isn't allowed as an ONBUILD trigger", remedy="Use another instruction.")
        node.line.start = node.line.end = line
        node.line.places = [(line, 1)] * len(node.line.places)
        return build_instruction(node)
    except DockerfileError as error:
        raise DockerfileError(error.message, file=file, line=line, column=1, remedy=error.remedy) from None
