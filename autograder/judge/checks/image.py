"""Checks on the image itself: that it runs and serves what was edited, what it holds and what it wastes, and who it runs as."""

from __future__ import annotations

from typing import Final

from autograder.exercise.assignment import Assignment
from autograder.judge.checks.base import Finding, not_the_app, printable, says
from autograder.judge.observe import Observation
from layerlab.oci.created_by import instruction_of

_SHOWN = 120
_MIB = 1 << 20
# Bytes of an image above its base that need no explanation.
UNKNOWN: Final = 256 << 10


def serves(seen: Observation, assignment: Assignment) -> Finding:
    """The image stands on an allowed base, runs, and answers with what the edited source says: by the app's packages and its code."""
    failed = {"serves": False}
    if not seen.base:
        return Finding(parts=failed, message=f"The image must be built on one of: {', '.join(assignment.bases)}.")
    if seen.source.problem:
        return Finding(parts=failed, message=f"After an edit of a source the build fails: {seen.source.problem}")
    answer = seen.serving.answer
    if answer.body is None:
        message = f"The image does not serve: {answer.problem}."
        # What is wrong stands above the list of calls that led there.
        said = "\n".join(line for line in answer.log.splitlines() if not line.lstrip().startswith("at ")).strip()
        if said:
            message += f" Its last words: {printable(said[-400:])}"
        return Finding(parts=failed, message=message)
    if not says(seen):
        got = printable(answer.body.strip()[:_SHOWN])
        return Finding(
            parts=failed,
            message=f"The source was edited so that GET / answers {seen.expected!r}; the image answers {got!r} (status {answer.status}).",
        )
    if reason := not_the_app(seen):
        return Finding(parts=failed, message=f"The image answers what the edited source says, but {printable(reason)}.")
    where = sorted({folder for _, folder in seen.serving.loads})
    code = f"{', '.join(seen.serving.code[:3])} and " if seen.serving.code else ""
    evidence = f" It loads {printable(code + ', '.join(where))}." if where else ""
    return Finding(parts={"serves": True}, message=f"The image runs and serves the content of the edited source.{evidence}")


def size(seen: Observation, assignment: Assignment) -> Finding:
    """Not more bytes are wasted than the limit: files that a later layer replaces or hides still travel with the image."""
    limit = assignment.limits.wasted_bytes
    text = f"{seen.wasted:,} bytes of the image are hidden by later layers; at most {limit:,} are allowed."
    if seen.wasted > limit:
        text += _in_vain(seen)
    return Finding(parts={"wasted": seen.wasted <= limit}, message=text)


def small(seen: Observation, assignment: Assignment) -> Finding:
    """The layers above the base have no more bytes than each limit of the check. What a later layer hides counts: it travels, too."""
    limits = next(check.limits for check in assignment.checks if check.id == "small")
    own = seen.contents.own
    text = f"The layers above the base have {own / _MIB:.1f} MiB."
    for limit in sorted(limits.values(), reverse=True):
        if own > limit:
            largest = ", ".join(f"/{printable(path)[:_SHOWN]} {size / _MIB:.1f} MiB" for path, size in seen.contents.largest)
            text += f" The next limit is {limit / _MIB:.0f} MiB. The largest folders: {largest}." + _in_vain(seen)
            break
    return Finding(parts={name: own <= limit for name, limit in limits.items()}, message=text)


def _in_vain(seen: Observation) -> str:
    """What is said to somebody who deletes in a later step than the one that made it, and sees no smaller image."""
    told = []
    for vain in [each for each in seen.vain if each.size >= _MIB][:2]:
        made, by = (printable(instruction_of(text))[:_SHOWN] for text in (vain.made, vain.by))
        told.append(
            f"{vain.size / _MIB:.1f} MiB that {made!r} made are hidden by {by!r} (most of them in /{printable(vain.folder)[:_SHOWN]})"
        )
    if not told:
        return ""
    return (
        f" {'; '.join(told)}: they travel all the same. What a later step deletes or replaces stays in the layer below, and the image gets "
        "no smaller. Delete in the step that makes it, or copy into the last stage only what is needed."
    )


def lean(seen: Observation, _: Assignment) -> Finding:
    """The image holds nothing that only its build needs."""
    found = seen.contents
    told = []
    if found.packages:
        told.append(f"It has packages for development: {_several(found.packages)}.")
    if found.compilers:
        told.append(f"It has the compiler: {_several(found.compilers)}, which --omit=dev alone keeps, as another package's optional peer.")
    if found.sources:
        told.append(f"It has sources that were compiled: {_several(found.sources)}.")
    if found.unknown > UNKNOWN:
        files = ", ".join(f"/{printable(path)[:_SHOWN]} {size / 1024:,.0f} KiB" for path, size in found.strange[:3])
        text = (
            f"It has {found.unknown / 1024:,.0f} KiB in files, links and names that are neither the app's, nor a package's, nor as the "
            f"app's own commands make them, so nobody can tell what they hold; at most {UNKNOWN >> 10} KiB may be such. "
            f"The largest: {files}."
        )
        return Finding(parts=dict.fromkeys(("dev-packages", "compiler", "sources"), False), message=" ".join([*told, text]))
    # Whatever they look like there.
    uncompiled = says(seen) and not seen.serving.code and not found.sources
    if uncompiled:
        told.append("It serves what the sources say and no step compiles them, so it has them in some form.")
    parts = {"dev-packages": not found.packages, "compiler": not found.compilers, "sources": not found.sources and not uncompiled}
    return Finding(parts=parts, message=" ".join(told) or "The image holds nothing that only its build needs.")


def unprivileged(seen: Observation, _: Assignment) -> Finding:
    """The image's configuration names a user, and not root, by whatever name."""
    user = seen.contents.user
    name = user.partition(":")[0]
    if seen.contents.uid == 0 and name.strip("0") and name != "root":
        message = f"The image runs as {printable(user)[:_SHOWN]}, who has the number 0 in its /etc/passwd: that is root."
        return Finding(parts={"user": False}, message=message)
    if name == "root" or not name.strip("0"):
        return Finding(parts={"user": False}, message="The image runs as root: end its last stage with a USER, for example node.")
    if seen.contents.uid < 0:
        return Finding(parts={"user": False}, message=f"The image has no user {printable(user)[:_SHOWN]}.")
    return Finding(parts={"user": True}, message=f"The image runs as {printable(user)[:_SHOWN]}.")


def _several(names: tuple[str, ...]) -> str:
    shown = ", ".join(printable(name)[:_SHOWN] for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
