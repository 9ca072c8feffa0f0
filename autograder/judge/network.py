"""What a student is told when a build failed because grading has no network."""

from __future__ import annotations

import re
from typing import Final

from layerlab.errors import BaseImageError, GitSourceError, LayerlabError, RemoteFileError
from layerlab.model import Failure

NO_NETWORK: Final = (
    "Grading builds have no network. What is there: node:alpine, and the packages that package-lock.json names, which npm finds in a "
    "prepared cache by itself. Remove what fetches anything else (apk add, curl or wget, ADD of a URL, packages outside of the lock "
    "file), use an allowed base image, and leave out npm's own --cache and --prefer-online."
)

# Words of npm, Node, curl, wget (GNU and BusyBox), git and apk for a network that is not there.
_WORDS: Final = re.compile(
    r"EAI_AGAIN|ENOTFOUND|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|ENOTCACHED|could not resolve|name resolution|network is unreachable|"
    r"bad address|name or service not known|unable to fetch|unable to resolve|temporary error|failed to fetch|fetch failed|"
    r"\bapk: |(?:curl|wget|git): (?:command )?not found",
    re.I,
)
_TAIL: Final = 8192


def wants_network(log: str) -> bool:
    """Whether the end of a step's output says that it wanted the network."""
    return _WORDS.search(log[-_TAIL:]) is not None


def advice(failure: Failure, log: str) -> str:
    """What to do about a failed build: the engine's words, but for a missing network, of which grading knows more."""
    return NO_NETWORK if failure.kind == "step-failed" and wants_network(log) else failure.remedy or ""


def advice_before(error: LayerlabError) -> str:
    """The same for what fails before any step: a base image that is not here, and ADD of a URL. Empty where it is about neither."""
    return NO_NETWORK if isinstance(error, BaseImageError | RemoteFileError | GitSourceError) else ""
