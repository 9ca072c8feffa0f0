"""What runs in the container: ``course``, notebooks as ``tests/course`` runs them, or ``hungry``, a step that wants too much.

Prints JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat

from tests.course.running import NOTEBOOKS, check, output_of, run

_HUNGRY = "FROM node:alpine\nRUN node -e 'for (const all = []; ;) all.push(Buffer.alloc(1 << 24, 1))'\n"


def course(*names: str) -> dict[str, float]:
    """Run the notebooks with these numbers, or all; seconds by name. Raises what a notebook or a check raised."""
    seconds = {}
    for path in NOTEBOOKS:
        if names and path.stem[:2] not in names:
            continue
        started = time.monotonic()
        check(path.stem, run(path))
        seconds[path.stem] = round(time.monotonic() - started, 1)
        print(f"{path.stem}: {seconds[path.stem]} s", file=sys.stderr, flush=True)
    return seconds


def hungry() -> dict[str, str]:
    """Build a step that never has enough memory, and say what the notebook shows of it and of the cell after it."""
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_text(_HUNGRY, encoding="utf-8")
        sources = ("%load_ext layerlab", f"%docker build {context}", "print('the kernel lives')")
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        # Close to a limit the kernel reads the same pages of files again and again, for up to minutes, before it kills anything.
        nbclient.NotebookClient(notebook, timeout=2400, kernel_name="python3").execute()
    return {"build": output_of(notebook.cells[1]), "after": output_of(notebook.cells[2])}


if __name__ == "__main__":
    print(json.dumps(course(*sys.argv[2:]) if sys.argv[1] == "course" else hungry()))
