"""The build context: which files it has, which an ignore file hides, and the checksums that cache keys are made of."""

from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.select import Selected, Selection, select

__all__ = ["IgnoreRules", "Selected", "Selection", "parse_ignore_file", "select"]
