"""Rules on the text alone: letters, names, comments. They also speak of a file that has an error further down.

Rule: BuildKit ``frontend/dockerfile/instructions/parse.go`` and ``dockerfile2llb/validations.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from layerlab.dockerfile import parse
from layerlab.dockerfile.ast import Dockerfile, Instruction
from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.directives import detect
from layerlab.dockerfile.instructions import build_instruction, stage_name
from layerlab.dockerfile.lines import LineReader, decode
from layerlab.dockerfile.nodes import Node, read_nodes
from layerlab.errors import CheckOptionsError
from layerlab.linter.findings import Findings
from layerlab.linter.options import CHECKS, parse_options

_RESERVED: Final = ("context", "scratch")
_NAMED: Final = 3


def read(text: bytes, file: str, arguments: Mapping[str, str], findings: Findings) -> Dockerfile:
    """Parse a file and apply the rules of this module, in BuildKit's order. Raises ``DockerfileError``."""
    reader = LineReader(decode(text, file), file)
    try:
        findings.options = parse_options(arguments.get(CHECKS) or detect("check", reader.physical) or "")
    except ValueError as error:
        raise CheckOptionsError(f"failed to parse check options: {error}", file=file, line=1, remedy="Write # check=skip=RULE.") from error
    nodes = read_nodes(reader)
    for line in reader.gaps:
        findings.add_lines("NoEmptyContinuation", line, line, "Empty continuation line")
    staged = False
    for node in nodes:
        keyword = _instruction(node, findings)
        staged = staged or keyword == "FROM"
        if not staged and keyword != "ARG":
            # An error, and so nothing is said of what follows.
            break
    dockerfile = parse(text, file)
    _stage_names(dockerfile, findings)
    _casing(dockerfile, findings)
    return dockerfile


def _instruction(node: Node, findings: Findings) -> str:
    """The rules of one, and its keyword. Raises ``DockerfileError`` for one that is none."""
    instruction = build_instruction(node)
    if instruction.keyword == "FROM":
        _from(instruction, stage_name(node), findings)
    elif instruction.keyword == "ARG":
        _definition(instruction, [key for key, _ in instruction.pairs], findings)
    elif instruction.keyword == "MAINTAINER":
        detail = "Maintainer instruction is deprecated in favor of using label"
        findings.add("MaintainerDeprecated", instruction, detail)
    return instruction.keyword


def written(instruction: Instruction) -> str:
    """The keyword as it is written."""
    return instruction.original[: len(instruction.keyword)]


def _from(instruction: Instruction, name: str | None, findings: Findings) -> None:
    words = [word for word in instruction.original.split()[1:] if not word.startswith("--")]
    if len(words) != _NAMED:
        return
    keyword, middle, stage = written(instruction), words[1], words[2]
    if stage != stage.lower():
        findings.add("StageNameCasing", instruction, f"Stage name '{stage}' should be lowercase")
    wanted = keyword if keyword in (keyword.lower(), keyword.upper()) else ""
    if wanted and middle != (middle.lower() if keyword == keyword.lower() else middle.upper()):
        detail = f"'{middle}' and '{keyword}' keywords' casing do not match"
        findings.add("FromAsCasing", instruction, detail)
    if name:
        _definition(instruction, [name], findings)


def _definition(instruction: Instruction, names: Sequence[str], findings: Findings) -> None:
    """The comment right before a stage or an argument describes it, and so begins with its name."""
    if not instruction.comments or instruction.comments[-1].split(" ", 1)[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    detail = f"Comment for {instruction.keyword} should follow the format: `# {example} <description>`"
    findings.add("InvalidDefinitionDescription", instruction, detail)


def _stage_names(dockerfile: Dockerfile, findings: Findings) -> None:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name:
            if stage.name in _RESERVED:
                detail = f"Stage name should not use the same name as reserved stage {quoted(stage.name)}"
                findings.add("ReservedStageName", stage.from_instruction, detail)
            if stage.name in seen:
                detail = f"Duplicate stage name {quoted(stage.name)}, stage names should be unique"
                findings.add("DuplicateStageName", stage.from_instruction, detail)
            seen.add(stage.name)


def _casing(dockerfile: Dockerfile, findings: Findings) -> None:
    instructions = [at for stage in dockerfile.stages for at in (stage.from_instruction, *stage.instructions)]
    words = [written(at) for at in instructions]
    lower = sum(word == word.lower() for word in words) > sum(word == word.upper() for word in words)
    for at, word in zip(instructions, words, strict=True):
        if word != (word.lower() if lower else word.upper()):
            majority = "lowercase" if lower else "uppercase"
            findings.add("ConsistentInstructionCasing", at, f"Command '{word}' should match the case of the command majority ({majority})")
