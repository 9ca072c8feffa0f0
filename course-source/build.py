"""Builds the notebooks of ``course/`` from the MyST texts in this folder: ``./lab build-course``.

The texts are the source: a notebook's prose reads and diffs as prose there. A cell's id is a digest of its own text (numbered where
two cells are the same), so a rebuild changes nothing and an edit changes one id; nothing of an earlier notebook is read.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat

SOURCE = Path(__file__).resolve().parent
COURSE = SOURCE.parent / "course"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(text: str) -> str:
    """A notebook, as the text of its file, from MyST text. Raises what jupytext and nbformat raise for text that is no notebook."""
    read = jupytext.reads(text, fmt="md:myst")
    seen: Counter[str] = Counter()
    cells = []
    for cell in read.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        name = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        make: Any = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        cells.append(make(cell.source, id=name, metadata=tags))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    nbformat.validate(notebook)
    written: str = nbformat.writes(notebook)
    return written + "\n"


def main() -> int:
    """Write every notebook whose text changed; with ``--check`` only say which, and return 1 where there are any."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for source in sorted(SOURCE.glob("*.md")):
        target = COURSE / source.with_suffix(".ipynb").name
        wanted = build(source.read_text(encoding="utf-8"))
        if target.is_file() and target.read_text(encoding="utf-8") == wanted:
            continue
        stale += 1
        if check:
            print(f"{target.name} is not what {source.name} builds: run ./lab build-course")
        else:
            target.write_text(wanted, encoding="utf-8")
            print(f"wrote course/{target.name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
