"""nbgrader's settings for this course. Its commands, formgrader and Validate read this file from the course's folder.

An instructor starts Jupyter in this folder (``../.venv/bin/python -m jupyterlab``) to have formgrader; ``./lab`` leaves it out.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# The autograder stands beside the course.
if str(ROOT.parent) not in sys.path:
    sys.path.insert(0, str(ROOT.parent))

from autograder.publish.exporter import GradedExporter  # noqa: E402
from autograder.publish.grades import GradesCsv  # noqa: E402
from autograder.publish.settings import autograde_steps, release_steps  # noqa: E402

# nbgrader calls alembic by its name, and it need not be on PATH.
found = os.environ.get("PATH", os.defpath).split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(dict.fromkeys([os.path.dirname(sys.executable), *found]))

c = get_config()  # noqa: F821 - given by traitlets

c.CourseDirectory.course_id = "image-layers"
c.CourseDirectory.root = str(ROOT)
# A reader of the gradebook waits for a writer.
c.CourseDirectory.db_url = f"sqlite:///{ROOT / 'gradebook.db'}?timeout=60"
# What an assignment's folder holds for us is not for students.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "assignment.json", "build.py", "*.md"]

c.GenerateAssignment.preprocessors = release_steps()
c.StarterSolutions.course = str(ROOT)

# No student's notebook is executed, or even parsed, by nbgrader: the exporter gives it the published one. It takes the results that
# `./lab grade` keeps; for those of `--place DIR`, set c.GradedExporter.place.
c.Autograde.exporter_class = GradedExporter
c.Autograde.sanitize_preprocessors = []
c.Autograde.autograde_preprocessors = autograde_steps()
c.ExportApp.plugin_class = GradesCsv

# Validate runs the checks in a kernel. A check builds an image: the first one installs packages.
c.Execute.timeout = 900
