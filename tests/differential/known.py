"""Differences that are meant: each stands in ``docs/differences.md``."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final

from tests.conformance.cases import Row

from .ancestry import Outline, dockerfile_of
from .compared import Found

_NOT_FOUND: Final = re.compile(r'"(/[^"]*)": not found\Z')
_LOOP: Final = re.compile(r"too many (?:symlinks|links)")
# 26.1.5 alone.
_WALKED: Final = re.compile(r"failed to walk (/\S+): lstat \1: no such file or directory\Z")
_CALLED: Final = re.compile(r"\A(?:failed to solve: )?(link|symlink|mkdir|mknod|open) /(\S+?)(?: /(\S+))?: ([^:]+)\Z")
_MODE: Final = re.compile(r'layer \d+: .*: mode: expected "([0-7]+)", actual "([0-7]+)"\Z')
_UNPACKING: Final = re.compile(r"(?:\A|: )(?:link|symlink|mkdir|mknod|open)(?:at)? [^:]+: [^:]+\Z")
_ARCHIVES: Final = (".tar", ".tgz")
_NEWER: Final = "-newer /etc/hosts"
_LISTED: Final = re.compile(r"history row \d+: size: |layer \d+: list: ")
_SETUID: Final = 0o6000
_NO_PREFIX: Final = re.compile(r"lstat (/\S*): no such file or directory\Z")


def reason(case: dict[str, Any], found: Found) -> str:
    """Why a difference is none, or the empty string."""
    if found.kind == "error" and found.wanted.error is not None and found.actual.error is not None:
        return _of_one_step(case, found, found.wanted.error.strip(), found.actual.error.strip())
    if found.kind == "image" and all(_lost_setuid(line) for line in found.details.splitlines()):
        return "a RUN in a user namespace that writes to a setuid file takes the bit away"
    if found.kind == "image" and _NEWER in dockerfile_of(case, found.build) and all(map(_LISTED.match, found.details.splitlines())):
        return "a RUN lists what is newer than /etc/hosts, which is a matter of the moment"
    if found.kind == "verdicts" and found.pairs:
        outline = Outline(dockerfile_of(case, found.build))
        if all(_workdir_of_scratch(outline, *pair) for pair in found.pairs):
            return "WORKDIR right after FROM scratch is shown as run in every rebuild"
        left = [pair for pair in found.pairs if not _workdir_of_scratch(outline, *pair)]
        if all(_unsure(found, *pair) for pair in left):
            return "a build that failed before had finished this step with one of the two engines alone"
    return ""


def _of_one_step(case: dict[str, Any], found: Found, wanted: str, actual: str) -> str:
    rows = [row for row in found.wanted.rows if row.error and any(_step(row) == _step(other) for other in found.actual.rows if other.error)]
    if len(rows) != 1:
        return ""
    if actual.startswith("RUN: nothing can be mounted at ") and "did not complete successfully: exit code: " in wanted:
        return "a mount point that cannot be made is an error of a RUN in other words"
    if _older_words(wanted, actual) or _names_the_target(case, found.build, wanted, actual):
        return "26.1.5 has other words for it"
    every = _sources(rows[0])
    sources = [posixpath.normpath("/" + source.lstrip("/")) for source in every if not re.search(r"[*?\[\\]", source)]
    missing, missed = _NOT_FOUND.search(wanted), _NOT_FOUND.search(actual)
    # What a pattern matches is never missing: where Docker or we say so, it is no race.
    if missing and missed and len(sources) > 1 and {missing[1], missed[1]} <= set(sources):
        return "several sources of one step are missing, and which is told of is a race"
    # What a link in a directory of a pattern leads to.
    nested = len(sources) < len(every) and "failed to build" not in wanted and bool(_links(case, found.build))
    if missing and missed and missed[1] in sources and nested:
        return "several sources of one step are missing, one of them where a link leads, and which is told of is a race"
    if len(every) > 1 and {_LOOP.search(text) is not None for text in (wanted, actual)} == {True, False}:
        other = missing or missed
        if other and other[1] in sources:
            return "several sources of one step cannot be followed, and which is told of is a race"
    lacking = missed or _NO_PREFIX.match(actual)
    if wanted.endswith(": not a directory") and lacking:
        holders = [source for source in sources if source == "/" or lacking[1].startswith(f"{source}/")]
        if any(_is_directory(case, found.build, source) for source in holders if source != lacking[1]):
            return "a missing source beside a directory that would hold it is told of before the destination"
    alone = _NO_PREFIX.match(actual)
    if alone and _UNPACKING.search(wanted) and every[0].endswith(_ARCHIVES) and alone[1] != sources[0]:
        # Of an archive that comes later Docker tells of the missing source, too.
        return "a missing source is told of before what is wrong with an archive that the step takes first"
    return ""


def _older_words(wanted: str, actual: str) -> bool:
    """Whether 26.1.5 says the same in the words of its version: of a source in a directory that is not there, of a call for an archive."""
    missed, walked, called = _NOT_FOUND.search(actual), _WALKED.search(wanted), _CALLED.match(wanted)
    if walked and missed:
        # What stands before it is where that daemon has mounted the stage or image.
        return any(walked[1].endswith(folder) for folder in _above(missed[1]))
    if called:
        names = " ".join(name for name in called.group(2, 3) if name)
        return f"{called[1]}at {names}: {called[4]}" in actual
    return False


def _names_the_target(case: dict[str, Any], build: int, wanted: str, actual: str) -> bool:
    """Whether what we miss is a link: 26.1.5 names where it leads, later versions the link."""
    missing, missed = _NOT_FOUND.search(wanted), _NOT_FOUND.search(actual)
    if "build" in wanted.partition(":")[0] or not missing or not missed:
        # "failed to build" is what later versions begin with.
        return False
    name = posixpath.basename(missed[1])
    made = re.compile(rf"ln -s\S* .*{re.escape(name)}")
    return name in _links(case, build) or made.search(dockerfile_of(case, build)) is not None


def _links(case: dict[str, Any], build: int) -> set[str]:
    """Names of symbolic links that the context has, or had."""
    links = {posixpath.basename(path) for path, entry in case["context"].items() if isinstance(entry, dict) and "symlink" in entry}
    for edit in (edit for step in case["steps"][:build] for edit in step["edit"]):
        if edit["op"] == "symlink" or (edit["op"] == "rename" and posixpath.basename(edit["path"]) in links):
            links.add(posixpath.basename(edit.get("to", edit["path"])))
    return links


def _above(path: str) -> list[str]:
    """The directories above a path, but for the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _lost_setuid(line: str) -> bool:
    match = _MODE.match(line)
    return match is not None and int(match[1], 8) != int(match[2], 8) == int(match[1], 8) & ~_SETUID


def _workdir_of_scratch(outline: Outline, wanted: Row | None, actual: Row | None) -> bool:
    if wanted is None or actual is None or _step(wanted) != _step(actual):
        return False
    is_workdir = wanted.instruction.upper().removeprefix("ONBUILD ").startswith("WORKDIR ")
    return is_workdir and not wanted.cached and actual.cached and outline.begins_on_scratch(wanted)


def _unsure(found: Found, wanted: Row | None, actual: Row | None) -> bool:
    if wanted is None or actual is None or _step(wanted) != _step(actual) or wanted.error or actual.error:
        return False
    return wanted.instruction in found.unsure


def _step(row: Row) -> tuple[str, str, str]:
    return row.stage, row.index, row.instruction


def _sources(row: Row) -> list[str]:
    """The sources that a printed COPY or ADD names, or the mounts of a RUN."""
    text = row.instruction
    if text.upper().removeprefix("ONBUILD ").startswith("RUN "):
        return re.findall(r"(?<=[,=])(?:source|src)=([^,\s]*)", text)
    for keyword in ("ONBUILD ", "COPY ", "ADD "):
        if text.upper().startswith(keyword):
            text = text[len(keyword) :]
    while text.startswith("--"):
        text = text.partition(" ")[2].lstrip()
    # JSON is printed without its quotes.
    words = text[1:-1].split(", ") if text.startswith("[") and text.endswith("]") else text.split()
    return [word.strip('"') for word in words[:-1]]


def _is_directory(case: dict[str, Any], build: int, path: str) -> bool:
    """Whether the context may have a directory there: something lies, or lay, below it."""
    if path == "/":
        return True
    names = [*case["context"], *(edit.get("to", edit["path"]) for step in case["steps"][:build] for edit in step["edit"])]
    return any(f"/{name}".startswith(f"{path}/") for name in names)
