"""What a parsed Dockerfile is: stages of instructions, each with its place in the text.

Nothing here is expanded or resolved: variables stand as written, because their values depend on build arguments and
on the base image's configuration. Field meanings follow BuildKit's ``frontend/dockerfile/instructions``.
"""

from __future__ import annotations

from typing import Literal

from layerlab.records import Record

Form = Literal["shell", "exec"]


class Flag(Record, frozen=True):
    """``--name=value`` before the arguments. A boolean flag written without a value has ``value == "true"``.

    ``line`` and ``column`` are the place of the flag in the file: an instruction may go over several lines.
    """

    name: str
    value: str
    column: int
    line: int = 0


class Heredoc(Record, frozen=True):
    """A here-document of RUN, COPY or ADD.

    ``expand`` is false for a quoted marker; ``chomp`` is true for ``<<-`` (leading tabs are already removed from
    ``content``). ``content`` ends with a newline unless empty. ``raw`` is the body as written, tabs included: a RUN
    whose command is more than the marker alone hands that text to the shell.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int = 0
    raw: str = ""


class Instruction(Record, frozen=True):
    """One instruction as written.

    ``keyword``   upper case (``"RUN"``).
    ``original``  the logical line: continuations joined, comment lines inside them removed, outer blanks removed,
                  keyword as written, flags included, heredoc bodies not included (BuildKit's ``Node.Original``).
    ``form``      ``"exec"`` when the arguments are a JSON array, else ``"shell"``.
    ``args``      RUN, CMD, ENTRYPOINT in shell form: one element, the whole command text; in exec form: the array.
                  SHELL: the array. HEALTHCHECK: ``("NONE",)``, or ``("CMD", …)`` with the command in the same two forms.
                  COPY, ADD: sources and last the destination, (heredoc words as written, ``<<EOF``).
                  FROM: ``(image,)``; ONBUILD: ``(trigger text,)``; EXPOSE, VOLUME: the words;
                  USER, WORKDIR, STOPSIGNAL, MAINTAINER: one element. ENV, LABEL, ARG: empty, see ``pairs``.
    ``pairs``     ENV, LABEL: (key, value) unexpanded, quotes still there; ARG: (key, value or None).
    ``heredocs``  RUN, ONBUILD: all bodies in order. COPY, ADD: one for each source in ``args`` that is a marker, in order.
    ``line``, ``end_line``  first and last line in the file, counted from 1, heredoc bodies included.
    ``comments``  the comment lines before it, without their ``#``, from the last empty one on (BuildKit's ``Node.PrevComment``).
    ``legacy``    ENV, LABEL: written as ``NAME value``, without ``=``.
    """

    keyword: str
    original: str
    line: int
    end_line: int
    column: int = 1
    form: Form = "shell"
    flags: tuple[Flag, ...] = ()
    args: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str | None], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()
    legacy: bool = False

    def flag(self, name: str) -> str | None:
        """Value of the last flag of that name, or ``None``."""
        for flag in reversed(self.flags):
            if flag.name == name:
                return flag.value
        return None

    def flag_values(self, name: str) -> tuple[str, ...]:
        """All values of a flag that may be repeated (``--mount``, ``--exclude``), in order."""
        return tuple(flag.value for flag in self.flags if flag.name == name)


class Stage(Record, frozen=True):
    """``FROM base [AS name]`` and the instructions up to the next FROM.

    ``base`` is as written, unexpanded. ``name`` is lower case, as BuildKit compares it. ``platform`` is the value of
    ``--platform`` as written.
    """

    index: int
    base: str
    name: str | None
    platform: str | None
    from_instruction: Instruction
    instructions: tuple[Instruction, ...]


class Dockerfile(Record, frozen=True):
    """A whole file: the ARGs before the first FROM, the stages, and the parser directives."""

    file: str
    meta_args: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str = "\\"
    syntax: str | None = None
