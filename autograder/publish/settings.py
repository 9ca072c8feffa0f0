"""nbgrader's steps for this course, for ``nbgrader_config.py`` and for the publisher alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.preprocessors import ClearSolutions, Execute
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from autograder.exercise.starter import StarterSolutions
from layerlab.errors import UsageError

CONFIG = "nbgrader_config.py"


def release_steps() -> list[Any]:
    """The steps of ``nbgrader generate_assignment``: starter texts in the place of the solutions."""
    return [StarterSolutions if step is ClearSolutions else step for step in GenerateAssignment.class_traits()["preprocessors"].default()]


def autograde_steps() -> list[Any]:
    """The steps of ``nbgrader autograde`` without the one that executes the notebook."""
    return [step for step in Autograde.class_traits()["autograde_preprocessors"].default() if step is not Execute]


def load_settings(course: Path) -> Config:
    """The settings that a course gives to nbgrader's commands, for use in this process. ``course``: absolute. Raises ``UsageError``."""
    try:
        settings = PyFileConfigLoader(CONFIG, path=str(course)).load_config()
    except Exception as error:
        # It is a program of the course's, and may raise anything.
        raise UsageError(f"{course / CONFIG} cannot be loaded: {type(error).__name__}: {error}") from error
    settings.CourseDirectory.root = str(course)
    return settings
