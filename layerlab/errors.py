"""Every error that a user of layerlab can meet.

One hierarchy. A message says what happened; ``file``/``line``/``column`` say where; ``remedy`` says what to do next.
A traceback reaches a user only for a bug of ours, never for one of these.
"""

from __future__ import annotations

from typing import ClassVar, Final

_SHOWN: Final = 120


class LayerlabError(Exception):
    """Root of the hierarchy.

    ``exit_code`` is what the command line ends with: 1 for a build that failed, 2 for bad usage or a bad Dockerfile.
    ``kind`` is the stable word that ``--json`` carries; ``code`` a finer one, where callers must tell errors of one kind apart. A
    message is for people: nothing decides by its words.
    """

    kind: ClassVar[str] = "error"
    code: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.remedy = remedy

    def where(self) -> str:
        """``file:line:column`` as far as it is known, or an empty string."""
        parts = [str(part) for part in (self.file, self.line, self.column if self.line else None) if part is not None]
        return ":".join(parts)

    def describe(self) -> str:
        """The whole error as a person reads it: place, message, remedy."""
        where = self.where()
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}\n  {self.remedy}" if self.remedy else text


class UsageError(LayerlabError):
    """Arguments that make no sense, or a build context that is not there."""

    kind = "usage"
    exit_code = 2


class InvalidReferenceError(UsageError):
    """A name that no image can have. ``reason``: docker's words."""

    code = "invalid-reference"

    def __init__(self, text: str, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {text!r}", remedy=remedy)
        self.reason = reason


class DockerfileError(LayerlabError):
    """A Dockerfile (or an ignore file) that cannot be parsed or resolved.

    Where BuildKit has a wording that users know, ``message`` has its key words.
    """

    kind = "dockerfile"
    exit_code = 2


class ImagePathError(DockerfileError):
    """A path that the names and links of an image make impossible: too long, a loop of links, a file where a directory is meant.

    ``reason``: the kernel's words. Of the path no more is told than its end: it can have thousands of letters.
    """

    code = "image-path"

    def __init__(self, reason: str, path: str = "", *, of: str = "") -> None:
        shown = f"…{path[-_SHOWN:]}" if len(path) > _SHOWN else path
        super().__init__(
            f"{of or 'a path in an image'}: {reason}" + (f" ({shown})" if shown else ""),
            remedy="Look at the links and names that the steps before have made on the way to this path.",
        )
        self.reason = reason
        self.path = path


class CheckOptionsError(DockerfileError):
    """A ``# check=`` that cannot be read."""

    code = "check-options"


class CheckViolationError(LayerlabError):
    """Build checks that object, where ``# check=error=true`` makes an error of that."""

    code = "check-violation"


class ContextError(LayerlabError):
    """A build context that cannot be read: a missing source, an unreadable file, a name that is not UTF-8."""

    kind = "context"


class MissingSourceError(ContextError):
    """A COPY or ADD whose source is not in the build context or in the stage that it names.

    ``looked``: what BuildKit says where it looks for it only when it copies, if that is known; ``at_copy``: whether it does so although
    nothing else holds the source.
    """

    kind = "missing-source"
    looked: str | None = None
    at_copy: bool = False


class BaseImageError(LayerlabError):
    """A base image that cannot be had, or that is not a valid image."""

    kind = "base-image"


class RemoteFileError(LayerlabError):
    """A file that ADD takes from a web server, and that cannot be had."""

    kind = "remote-file"


class StepFailedError(LayerlabError):
    """A step whose command ended with a non-zero exit code."""

    kind = "step-failed"

    def __init__(
        self, message: str, *, exit_status: int, file: str | None = None, line: int | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, file=file, line=line, remedy=remedy)
        self.exit_status = exit_status


class StoreError(LayerlabError):
    """A content store that is full, read-only, damaged or of another format version."""

    kind = "store"


class OutOfSpaceError(StoreError):
    """A command that could not write, by what it said or by what the disk has left."""

    code = "out-of-space"


class ExecutorError(LayerlabError):
    """No executor works on this machine, or the executor itself failed (not the command that it ran)."""

    kind = "executor"


class BuildInterruptedError(LayerlabError):
    """The user stopped the build. The store is whole; finished steps stay cached."""

    kind = "interrupted"
    exit_code = 130


class StepBusyError(LayerlabError):
    """Another build runs a step that this one needs, and this one is not to wait for it. What was finished stays cached."""

    kind = "busy"


class UnsupportedError(LayerlabError):
    """A feature that Docker has and this engine does not (yet); the message names it."""

    kind = "unsupported"
    exit_code = 2


class GitSourceError(UnsupportedError):
    """ADD from a git repository."""

    code = "git-source"
