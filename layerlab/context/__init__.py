"""The build context: which files it has, which an ignore file hides, and the checksums that cache keys are made of."""

from layerlab.context.build_context import BuildContext, load_context
from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.select import Selected, Selection, select

__all__ = ["BuildContext", "IgnoreRules", "Selected", "Selection", "load_context", "parse_ignore_file", "select"]
