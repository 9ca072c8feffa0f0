"""Sources of ADD that are no files: what is a URL, what a git repository, and which file a URL gives.

Rules: BuildKit ``dockerfile2llb/convert.go`` (``dispatchCopy``), ``dfgitutil/git_ref.go``, ``util/gitutil/git_url.go``.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final, Literal

_PROTOCOL: Final = re.compile(r"([A-Za-z0-9]+)://")
_SCP: Final = re.compile(r"[A-Za-z0-9_-]+@[A-Za-z0-9.-]+:")
# Of an algorithm that is known, how many hexadecimal digits there are.
_DIGITS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
UNNAMED: Final = "__unnamed__"


def kind_of(word: str) -> Literal["local", "http", "git"]:
    """What a source is. Of a web address only the ending tells a repository from a file."""
    protocol = _PROTOCOL.match(word)
    if protocol is None:
        return "git" if _SCP.match(word) and not word.startswith(("./", "../")) else "local"
    scheme = protocol[1].lower()
    if scheme in ("ssh", "git"):
        return "git"
    if scheme not in ("http", "https"):
        return "local"
    if _path(word).endswith(".git"):
        return "git"
    # Upper case is no protocol to BuildKit here, though it is one of git.
    return "http" if word.startswith(("http://", "https://")) else "local"


def file_name(url: str) -> str:
    """The name under which what a URL gives is copied: the last part of its path."""
    name = posixpath.basename(_path(url).rstrip("/"))
    return name if name not in ("", ".") else UNNAMED


def digest_problem(text: str) -> str:
    """What is wrong with a ``--checksum`` for a URL, in the words of ``go-digest``; empty where nothing is."""
    algorithm, _, value = text.partition(":")
    if not _DIGEST.fullmatch(text):
        return "invalid checksum digest format"
    if algorithm not in _DIGITS:
        return "unsupported digest algorithm"
    if len(value) != _DIGITS[algorithm]:
        return "invalid checksum digest length"
    return "" if re.fullmatch("[a-f0-9]+", value) else "invalid checksum digest format"


def checksum_problem(words: list[str]) -> str:
    """Why ``--checksum`` cannot stand before these sources; empty where it can."""
    if len(words) != 1:
        return "checksum can't be specified for multiple sources"
    if kind_of(words[0]) == "local" and not words[0].startswith("github.com/"):
        return "checksum requires HTTP(S) or Git sources"
    return ""


def _path(url: str) -> str:
    from urllib.parse import unquote, urlsplit

    try:
        return unquote(urlsplit(url).path, errors="surrogateescape")
    except ValueError:
        return ""
