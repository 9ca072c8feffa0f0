"""Dockerfiles: from text to a tree, and what the words in it mean.

``parse`` reads a file into ``Dockerfile``; nothing is expanded. ``expand`` and its sisters apply variables to a word; ``parse_mount``
reads a ``RUN --mount``. No file is opened here and no image is looked at. The rules are BuildKit's (``frontend/dockerfile``).

The path of a file through the package: ``lines`` (logical lines, ``directives``, ``heredoc`` bodies), ``nodes`` (their words, by
``words``), ``instructions`` (what each keyword allows, ``flags``), ``parser`` (stages).
"""

from layerlab.dockerfile.ast import Dockerfile, Flag, Form, Heredoc, Instruction, Stage
from layerlab.dockerfile.durations import parse_duration
from layerlab.dockerfile.expand import Allowance, expand, expand_body, expand_keeping_quotes, expand_or_keep, expand_words
from layerlab.dockerfile.heredoc import parse_heredoc
from layerlab.dockerfile.mounts import Mount, mount_origin, parse_mount
from layerlab.dockerfile.parser import parse, parse_instruction

__all__ = [
    "Allowance",
    "Dockerfile",
    "Flag",
    "Form",
    "Heredoc",
    "Instruction",
    "Mount",
    "Stage",
    "expand",
    "expand_body",
    "expand_keeping_quotes",
    "expand_or_keep",
    "expand_words",
    "mount_origin",
    "parse",
    "parse_duration",
    "parse_heredoc",
    "parse_instruction",
    "parse_mount",
]
