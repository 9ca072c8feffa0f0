"""nbgrader's settings for this course. Its commands, formgrader and Validate read this file from the course's folder."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# The autograder stands beside the course.
if str(ROOT.parent) not in sys.path:
    sys.path.insert(0, str(ROOT.parent))

from nbgrader.converters import GenerateAssignment  # noqa: E402
from nbgrader.preprocessors import ClearSolutions  # noqa: E402

from autograder.starter import StarterSolutions  # noqa: E402

c = get_config()  # noqa: F821 - given by traitlets

c.CourseDirectory.course_id = "image-layers"
c.CourseDirectory.root = str(ROOT)
# What an assignment's folder holds for us is not for students.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "assignment.json", "build.py", "*.md"]

c.GenerateAssignment.preprocessors = [
    StarterSolutions if step is ClearSolutions else step for step in GenerateAssignment.class_traits()["preprocessors"].default()
]
c.StarterSolutions.course = str(ROOT)
c.OverwriteCells.add_missing_cells = True
# A check builds an image: the first one installs packages.
c.Execute.timeout = 900
