"""The second pass: from words to ``Instruction``, with the rules of each keyword.

Rule: BuildKit ``frontend/dockerfile/instructions/parse.go``. Its messages get the prefix "dockerfile parse error on line N".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from layerlab.dockerfile.ast import Flag, Heredoc, Instruction
from layerlab.dockerfile.chars import SPACES, quoted
from layerlab.dockerfile.durations import parse_duration
from layerlab.dockerfile.flags import IGNORING_FLAGS, FlagError, read_flags
from layerlab.dockerfile.heredoc import parse_heredoc, without_leading_tabs
from layerlab.dockerfile.mounts import check_mount
from layerlab.dockerfile.nodes import Node
from layerlab.dockerfile.suggest import closest
from layerlab.errors import DockerfileError
from layerlab.records import replace

NETWORKS = ("default", "none", "host")
SECURITIES = ("sandbox", "insecure")
SHORTEST_INTERVAL = 1_000_000  # nanoseconds

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)


def build_instruction(node: Node) -> Instruction:
    """The instruction that a node's words make.

    Raises:
        DockerfileError: for an unknown keyword or flag, a wrong number of arguments, or a value that the keyword does not accept.
    """
    build = BUILDERS.get(node.keyword)
    if build is None:
        _unknown_keyword(node)
    return build(node)


def stage_name(node: Node) -> str | None:
    """The lower-case name after AS in a FROM.

    Raises:
        DockerfileError: for a wrong number of words or a name that is not allowed.
    """
    words = node.words
    if len(words) == 1:
        return None
    if len(words) != 3 or words[1].lower() != "as":
        _fail(node, "FROM requires either one or three arguments", "Write FROM IMAGE or FROM IMAGE AS NAME.")
    name = words[2].lower()
    if not _STAGE_NAME.match(name):
        _fail(
            node,
            f"invalid name for build stage: {quoted(words[2])}, name can't start with a number or contain symbols",
            "Begin with a letter; then letters, digits, '-', '_' and '.' are allowed.",
        )
    return name


def _fail(node: Node, message: str, remedy: str | None = None, offset: int | None = None) -> NoReturn:
    node.fail(f"dockerfile parse error on line {node.line.start}: {message}", remedy=remedy, offset=offset)


def _unknown_keyword(node: Node) -> NoReturn:
    written = node.command.keyword
    match = closest(written.upper(), BUILDERS)
    message = f"unknown instruction: {written}"
    remedy = f"The instructions are {', '.join(BUILDERS)}."
    if match is not None:
        match = match if written == written.upper() else match.lower()
        message += f" (did you mean {match}?)"
        remedy = f"Write {match}, or continue the line before with a backslash at its end."
    _fail(node, message, remedy)


def _instruction(
    node: Node,
    args: tuple[str, ...] = (),
    *,
    flags: tuple[Flag, ...] = (),
    pairs: tuple[tuple[str, str | None], ...] = (),
    heredocs: tuple[Heredoc, ...] | None = None,
) -> Instruction:
    line = node.line
    return Instruction(
        keyword=node.keyword,
        original=line.text.strip(SPACES),
        line=line.start,
        end_line=line.end,
        column=line.place(node.command.keyword_offset)[1],
        form="exec" if node.json else "shell",
        flags=flags,
        args=args,
        pairs=pairs,
        heredocs=tuple(node.heredocs) if heredocs is None else heredocs,
        comments=line.comments,
        legacy=node.legacy,
    )


def _flags(node: Node) -> tuple[Flag, ...]:
    if not node.command.flags or node.keyword in IGNORING_FLAGS:
        return ()
    try:
        found = read_flags(node.keyword, node.command.flags)
    except FlagError as error:
        _fail(node, str(error), error.remedy, error.offset)
    flags = []
    for name, value, offset in found:
        row, column = node.line.place(offset)
        flags.append(Flag(name=name, value=value, column=column, line=row))
    return tuple(flags)


def _no_argument(node: Node, remedy: str) -> NoReturn:
    _fail(node, f"{node.keyword} requires at least one argument", remedy)


def _from(node: Node) -> Instruction:
    stage_name(node)
    return _instruction(node, (node.words[0],), flags=_flags(node))


def _command(node: Node) -> Instruction:
    """CMD and ENTRYPOINT."""
    flags = _flags(node)
    return _instruction(node, _command_words(node.words, node.json), flags=flags)


def _command_words(words: list[str], is_json: bool) -> tuple[str, ...]:
    return tuple(words) if is_json else (" ".join(words),)


def _run(node: Node) -> Instruction:
    flags = _flags(node)
    for flag in flags:
        if flag.name == "mount":
            try:
                check_mount(flag.value)
            except DockerfileError as error:
                _bad_flag(node, flag, error.message, error.remedy)
        elif flag.name == "network" and flag.value not in NETWORKS:
            _bad_flag(node, flag, f"invalid network mode {quoted(flag.value)}", f"Write one of {', '.join(NETWORKS)}.")
        elif flag.name == "security" and flag.value not in SECURITIES:
            _bad_flag(node, flag, f"security {quoted(flag.value)} is not valid", f"Write one of {', '.join(SECURITIES)}.")
    return _instruction(node, _command_words(node.words, node.json), flags=flags)


def _bad_flag(node: Node, flag: Flag, message: str, remedy: str | None) -> NoReturn:
    raise DockerfileError(
        f"dockerfile parse error on line {node.line.start}: {message}",
        file=node.file,
        line=flag.line,
        column=flag.column,
        remedy=remedy,
    )


def _copy(node: Node) -> Instruction:
    """COPY and ADD."""
    if len(node.words) < 2:
        example = node.words[0] if node.words else "a.txt"
        _fail(
            node,
            f"{node.keyword} requires at least two arguments, but only one was provided. Destination could not be determined",
            f"Say where to put it: {node.keyword} {example} ./",
        )
    flags = _flags(node)
    if _heredoc_word(node.words[-1]) is not None:
        _fail(node, f"{node.keyword} cannot accept a heredoc as a destination", "Put the destination last.")
    bodies = {heredoc.name: heredoc for heredoc in node.heredocs}
    heredocs: list[Heredoc] = []
    for word in node.words[:-1]:
        announced = _heredoc_word(word)
        if announced is not None:
            raw = bodies[announced.name].raw if announced.name in bodies else ""
            content = without_leading_tabs(raw) if announced.chomp else raw
            heredocs.append(replace(announced, raw=raw, content=content))
    return _instruction(node, tuple(node.words), flags=flags, heredocs=tuple(heredocs))


def _heredoc_word(word: str) -> Heredoc | None:
    if "<<" not in word:
        return None
    try:
        return parse_heredoc(word)
    except DockerfileError:
        return None


def _pairs(node: Node) -> Instruction:
    """ENV and LABEL."""
    flags = _flags(node)
    if not node.pairs:
        _no_argument(node, f"Write {node.keyword} NAME=value.")
    if any(not name for name, _ in node.pairs):
        _fail(node, f"{node.keyword} names can not be blank", f"Write {node.keyword} NAME=value, without a blank before the =.")
    return _instruction(node, flags=flags, pairs=tuple(node.pairs))


def _arg(node: Node) -> Instruction:
    if not node.words:
        _no_argument(node, "Write ARG NAME or ARG NAME=default.")
    pairs: list[tuple[str, str | None]] = []
    for word in node.words:
        name, equals, value = word.partition("=")
        if equals and not name:
            _fail(node, "ARG names can not be blank", "Write ARG NAME or ARG NAME=default.")
        pairs.append((name, value if equals else None))
    return _instruction(node, pairs=tuple(pairs))


def _one_argument(node: Node) -> Instruction:
    """USER, WORKDIR, STOPSIGNAL and MAINTAINER."""
    if len(node.words) != 1:
        _fail(node, f"{node.keyword} requires exactly one argument", f"Write {node.keyword} VALUE.")
    return _instruction(node, (node.words[0],), flags=_flags(node))


def _expose(node: Node) -> Instruction:
    if not node.words:
        _no_argument(node, "Write EXPOSE PORT or EXPOSE PORT/udp.")
    return _instruction(node, tuple(node.words), flags=_flags(node))


def _volume(node: Node) -> Instruction:
    if not node.words:
        _no_argument(node, "Write VOLUME /path.")
    flags = _flags(node)
    words = tuple(word.strip(SPACES) for word in node.words)
    if not all(words):
        _fail(node, "VOLUME specified can not be an empty string", "Remove the empty element.")
    return _instruction(node, words, flags=flags)


def _shell(node: Node) -> Instruction:
    flags = _flags(node)
    if not node.words:
        _no_argument(node, 'Write SHELL ["/bin/bash", "-c"].')
    if not node.json:
        _fail(node, "SHELL requires the arguments to be in JSON form", 'Write SHELL ["/bin/bash", "-c"], with double quotes.')
    return _instruction(node, tuple(node.words), flags=flags)


_HEALTHCHECK_FLAGS: Final = ("interval", "timeout", "start-period", "start-interval", "retries")


def _healthcheck(node: Node) -> Instruction:
    remedy = "Write HEALTHCHECK [flags] CMD command, or HEALTHCHECK NONE."
    if not node.words:
        _no_argument(node, remedy)
    kind = node.words[0].upper()
    arguments = node.words[1:]
    if kind == "NONE":
        if arguments:
            _fail(node, "HEALTHCHECK NONE takes no arguments", remedy)
        return _instruction(node, ("NONE",))
    flags = _flags(node)
    if kind != "CMD":
        _fail(node, f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)", remedy)
    if not arguments:
        _fail(node, "Missing command after HEALTHCHECK CMD", remedy)
    # In the order in which BuildKit asks for them.
    for flag in sorted(flags, key=lambda flag: _HEALTHCHECK_FLAGS.index(flag.name)):
        problem = _bad_retries(flag.value) if flag.name == "retries" else _bad_interval(flag)
        if problem is not None:
            example = "3." if flag.name == "retries" else "30s, or another duration of at least 1ms."
            _bad_flag(node, flag, problem, f"Write --{flag.name}={example}")
    return _instruction(node, ("CMD", *_command_words(arguments, node.json)), flags=flags)


def _bad_retries(value: str) -> str | None:
    if not value:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", value):
        return f"strconv.ParseInt: parsing {quoted(value)}: invalid syntax"
    if len(value) > 11 or not -(2**31) <= int(value) < 2**31:
        return f"strconv.ParseInt: parsing {quoted(value)}: value out of range"
    if int(value) < 0:
        return f"--retries cannot be negative ({int(value)})"
    return None


def _bad_interval(flag: Flag) -> str | None:
    if not flag.value:
        return None
    try:
        duration = parse_duration(flag.value)
    except ValueError as error:
        return str(error)
    return f"Interval {quoted(flag.name)} cannot be less than 1ms" if duration and duration < SHORTEST_INTERVAL else None


def _onbuild(node: Node) -> Instruction:
    if node.child is None:
        _no_argument(node, "Write ONBUILD and an instruction, for example ONBUILD RUN make.")
    flags = _flags(node)
    trigger = node.child.keyword
    if trigger == "ONBUILD":
        _fail(node, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "Write one ONBUILD.")
    if trigger in ("MAINTAINER", "FROM"):
        _fail(node, f"{trigger} isn't allowed as an ONBUILD trigger", "Use another instruction.")
    text = _ONBUILD.sub("", node.line.text, count=1)
    text += "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in node.heredocs)
    return _instruction(node, (text,), flags=flags)


BUILDERS: Mapping[str, Callable[[Node], Instruction]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _command,
    "COPY": _copy,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _pairs,
    "MAINTAINER": _one_argument,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _one_argument,
    "USER": _one_argument,
    "VOLUME": _volume,
    "WORKDIR": _one_argument,
}
"""Every instruction there is."""
