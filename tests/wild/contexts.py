"""The real build context of a Dockerfile: where what it copies is.

Its own directory, where that has all sources; else the nearest directory above, up to the repository's root, that has them; else the one
that has most of them, the nearest first. It reads Dockerfiles roughly, and with nothing of layerlab, which is to be judged by it.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
import shlex
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Rule = Literal["own directory", "directory above", "most sources"]

_FROM_STAGE: Final = re.compile(r"--from=")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::?[-+?#%/][^}]*)?\}|\$(\w+)")
_ELSEWHERE: Final = re.compile(r"[a-z]+://|git@|.*\.git(?:#|\Z)")
_HEREDOC: Final = re.compile(r"<<-?\s*[\"']?(\w+)")


class Context(msgspec.Struct, frozen=True):
    """``path``: of the directory. ``lacking``: the sources that are not in it."""

    path: str
    rule: Rule
    lacking: tuple[str, ...]


def choose(root: str, dockerfile: str) -> Context:
    """The context of a Dockerfile, given as a path below the repository's root."""
    with open(os.path.join(root, dockerfile), encoding="utf-8", errors="replace") as stream:
        wanted = sources(stream.read())
    here = os.path.dirname(os.path.join(root, dockerfile))
    best: tuple[str, list[str]] | None = None
    own = True
    while True:
        lacking = [source for source in wanted if not there(here, source)]
        if not lacking:
            return Context(here, "own directory" if own else "directory above", ())
        if best is None or len(lacking) < len(best[1]):
            best = (here, lacking)
        if os.path.samefile(here, root):
            return Context(best[0], "most sources", tuple(best[1]))
        here, own = os.path.dirname(here), False


def sources(text: str) -> list[str]:
    """The sources of COPY, ADD and bind mounts that are in a build context, with what variables hide as wildcards."""
    return list(dict.fromkeys(_expand(source, known) for source, known in _written(text)))


def unset(text: str) -> list[str]:
    """The variables in sources that the file gives no value."""
    return [
        name for source, known in _written(text) for names in _VARIABLE.findall(source) for name in names if name and not known.get(name)
    ]


def _written(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The sources as they are written, and the variables that have a value there."""
    known: dict[str, str] = {}
    for line in _instructions(text):
        keyword, rest = _keyword(line)
        if keyword.upper() in ("ARG", "ENV"):
            for name, value in re.findall(r"(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", rest):
                known[name] = _expand(value.strip("\"'"), known)
        elif keyword.upper() in ("COPY", "ADD"):
            yield from ((source, known) for source in _copied(rest.strip()))
        elif keyword.upper() == "RUN":
            for mount in re.findall(r"--mount=(\S+)", rest):
                fields = dict(field.partition("=")[::2] for field in mount.split(","))
                source = fields.get("source", fields.get("src"))
                if fields.get("type", "bind") == "bind" and "from" not in fields:
                    yield source or ".", known


def bases(text: str) -> list[str]:
    """The images that FROM and ``--from=`` may name, as far as a glance tells."""
    known: dict[str, str] = {}
    found = []
    for line in _instructions(text):
        keyword, rest = _keyword(line)
        if keyword.upper() == "ARG":
            known.update((name, _expand(value.strip("\"'"), known)) for name, value in re.findall(r"(\w+)=(\S*)", rest))
        elif keyword.upper() == "FROM":
            found += [_expand(word, known) for word in rest.split() if not word.startswith("--")][:1]
        else:
            found += re.findall(r"(?:--|,)from=([\w./:-]+)", rest)
    return [name for name in dict.fromkeys(found) if re.fullmatch(r"[a-z0-9][\w./:-]*", name)]


def blank(text: str) -> list[str]:
    """The arguments before the first FROM that have no value of their own."""
    found = []
    for line in _instructions(text):
        keyword, rest = _keyword(line)
        if keyword.upper() == "FROM":
            break
        if keyword.upper() == "ARG":
            found += [word for word in rest.split() if re.fullmatch(r"\w+=?", word)]
    return [name.rstrip("=") for name in found]


def predicted(context: str, dockerfile: str) -> dict[str, bool]:
    """A few files, and whether an edit of each makes a step run again, once all is built: as far as a reader of the Dockerfile knows.

    That is not far: nothing where there are ignore files, and only what reaches nothing where there are several stages.
    """
    if any(os.path.exists(ignore) for ignore in (os.path.join(context, ".dockerignore"), f"{dockerfile}.dockerignore")):
        return {}
    with open(dockerfile, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    patterns = [os.path.normpath("/" + source).lstrip("/").split("/") for source in sources(text)]
    several = len(re.findall(r"^\s*FROM\s", text, re.MULTILINE | re.IGNORECASE)) > 1
    reached: dict[bool, list[str]] = {True: [], False: []}
    for here, folders, names in os.walk(context):
        folders.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(here, name), context)
            if not os.path.islink(os.path.join(context, path)) and path != os.path.relpath(dockerfile, context):
                reached[any(_reaches(pattern, path) for pattern in patterns)].append(path)
    if several:
        reached[True] = []
    return {path: sure for sure, paths in reached.items() for path in paths[:: max(1, len(paths) // 3)][:3]}


def _reaches(pattern: list[str], path: str) -> bool:
    parts = path.split("/")
    if pattern == [""]:
        return True
    return len(pattern) <= len(parts) and all(map(fnmatch.fnmatchcase, parts, pattern))


def there(context: str, source: str) -> bool:
    """Whether a source (a pattern) is in a directory."""
    path = os.path.normpath("/" + source).lstrip("/").replace("./", "")
    return not path or bool(glob.glob(path, root_dir=context, include_hidden=True)) or os.path.lexists(os.path.join(context, path))


def _instructions(text: str) -> list[str]:
    escape = "`" if re.match(r"(?:#.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    found: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.lstrip().startswith("#") or not line.strip():
            continue
        whole = line.rstrip()
        while whole.endswith(escape):
            following = next(lines, None)
            if following is None:
                break
            # Comments and empty lines do not end an instruction.
            if following.strip() and not following.lstrip().startswith("#"):
                whole = whole[:-1] + " " + following.strip()
        found.append(whole)
        if re.match(r"\s*(?:RUN|COPY|ADD)\b", whole, re.IGNORECASE):
            for word in _HEREDOC.findall(whole):
                for body in lines:
                    if body.strip() == word:
                        break
    return found


def _keyword(line: str) -> tuple[str, str]:
    """The first word of a line, and the others."""
    first, *rest = line.strip().split(None, 1)
    return first, rest[0] if rest else ""


def _copied(rest: str) -> list[str]:
    flags = []
    while rest.startswith("--"):
        flag, rest = _keyword(rest)
        flags.append(flag)
    if any(_FROM_STAGE.match(flag) for flag in flags):
        return []
    words: list[str]
    try:
        words = [str(word) for word in json.loads(rest)] if rest.startswith("[") else shlex.split(rest)
    except ValueError:
        words = rest.split()
    return [word for word in words[:-1] if not word.startswith("<<") and not _ELSEWHERE.match(word)]


def _expand(source: str, known: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda match: known.get(match[1] or match[2]) or "*", source)
