"""Collecting what rules find, as far as the file wants to know."""

from __future__ import annotations

from layerlab.dockerfile.ast import Instruction
from layerlab.linter.options import CheckOptions
from layerlab.linter.rules import url
from layerlab.model import CheckWarning


class Findings:
    """``warnings`` in the order in which they were found."""

    def __init__(self, options: CheckOptions) -> None:
        self.options = options
        self.warnings: list[CheckWarning] = []

    def add(self, rule: str, at: Instruction, detail: str) -> None:
        """Note that ``rule`` objects to an instruction."""
        self.add_lines(rule, at.line, at.end_line, detail)

    def add_lines(self, rule: str, line: int, end_line: int, detail: str) -> None:
        """As ``add``, by the first and last line."""
        if self.options.wants(rule):
            self.warnings.append(CheckWarning(rule=rule, detail=detail, url=url(rule), line=line, end_line=end_line))
