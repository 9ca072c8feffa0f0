"""Widgets of the notebooks. Here are traits, messages and readable text; the front end is in ``js/``, built into ``static/``.

Nothing here decides a verdict: widgets show what an engine's records say.
"""

from layerlab.widgets.build_card import BuildCard
from layerlab.widgets.explorer import LayerExplorer
from layerlab.widgets.golf import Golf
from layerlab.widgets.prediction import Prediction
from layerlab.widgets.question import Question
from layerlab.widgets.whatif import WhatIf
from layerlab.widgets.workbench import Workbench

__all__ = ["BuildCard", "Golf", "LayerExplorer", "Prediction", "Question", "WhatIf", "Workbench"]
