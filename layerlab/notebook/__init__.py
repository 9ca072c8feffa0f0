"""layerlab in a notebook: ``%load_ext layerlab`` gives it ``%docker``, a working copy of the app, and ``lab``."""

from __future__ import annotations

import atexit
import os
from typing import Any

from layerlab.errors import LayerlabError
from layerlab.notebook.docker_magic import docker
from layerlab.notebook.lesson import Lesson
from layerlab.notebook.session import Session

__all__ = ["Lesson", "Session", "load"]


def load(shell: Any, *, quiet: bool = False) -> None:
    """Set a notebook up; one that was set up already keeps its session. ``shell`` is IPython's; errors of ours are shown there as
    messages, without a traceback. ``quiet``: nothing is printed.
    """
    lab = shell.user_ns.get("lab")
    session = lab.session if isinstance(lab, Lesson) else Session()
    if not isinstance(lab, Lesson):
        atexit.register(session.close)
        shell.register_magic_function(lambda line: docker(session, line), "line", "docker")
        shell.set_custom_exc((LayerlabError,), _show)
        shell.push({"lab": Lesson(session)})
    os.chdir(session.app)
    if not quiet:
        place = os.path.relpath(session.app, session.app.parents[1])
        print(f"You work in {place}, a copy of the app, with the {session.engine_name} engine.")


def _show(shell: Any, kind: type[BaseException], error: LayerlabError, trace: Any, tb_offset: int | None = None) -> list[str]:  # noqa: ARG001
    import sys

    from layerlab.render import error_text

    text = error_text(error)
    print(text, file=sys.stderr)
    return [text]
