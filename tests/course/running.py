"""Running the course's notebooks as a learner would: from top to bottom, one after the other, in one working copy."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat

COURSE = Path(__file__).resolve().parents[2] / "course"
NOTEBOOKS = sorted(COURSE.glob("*.ipynb"))

# What must be read in the outputs of a notebook, in this order; the same on both engines, but for what ``ONLY`` says.
EXPECTED: dict[str, tuple[str | re.Pattern[str], ...]] = {
    "01-run-it-once": (
        "You work in ",
        "naming to",
        "Cannot find module '/app/index.js'",
        '+ CMD ["node", "dist/index.js"]',
        "0 of 5 steps ran, 5 came from the cache",
        "**What happened.** Nothing ran. `CMD` changes no file",
        "Hello from layer land!",
        '"visits":1',
        '"visits":2',
        "Workbench of",
    ),
    "02-what-a-layer-is": (
        "COPY . . # buildkit",
        re.compile(r"100x-node has \d+; the first \d+ are the same: True"),
        "It is 5.",
        "0 of 5 steps ran, 5 came from the cache",
        "the image has not one layer more",
        re.compile(r"layers before: (\d+), now: \1\b"),
        "It is RUN npm run build.",
        re.compile(r"/app/dist/index\.js comes from layer \d+: RUN /bin/sh -c npm run build"),
    ),
    "03-break-the-cache": (
        "0 of 5 steps ran, 5 came from the cache",
        "Nothing ran: times are not part of the key.",
        re.compile(r'\+ const GREETING = "Hello at \d\d:\d\d:\d\d on .*!"'),
        "src/index.ts changed",
        "4 of 5 steps ran",
        "so it was reused. `COPY . .` ran",
        re.compile(r"the new layer of COPY \. \. holds \d{5} bytes"),
        "It is every file that COPY selects.",
        '+ const GREETING = "Hello from layer land!"',
        "0 of 5 steps ran, 5 came from the cache",
        re.compile(r"^(\d\d:\d\d:\d\d)\n[^$]*^\1\n", re.MULTILINE),
        re.compile(r"COPY data /data"),
    ),
    "04-optimise": (
        "/wrong/schema.prisma",
        "/right/prisma/schema.prisma",
        "It is /wrong/schema.prisma. The folder itself",
        "2 of 8 steps ran, 6 came from the cache",
        "package.json changed",
        "7 of 8 steps ran",
        "prisma/schema.prisma changed",
        "packages-to-try.txt is new",
        "README.md changed",
        "2 of 8 steps ran, 6 came from the cache",
        "0 of 8 steps ran, 8 came from the cache",
        "0 of 8 steps ran, 8 came from the cache",
        re.compile(r"naive: \d+\.\d s, 4 of 5 steps ran\n"),
        re.compile(r"optimised: \d+\.\d s, 2 of 8 steps ran\n"),
        re.compile(r"\d+\.\d s before, \d+\.\d s now: \d+\.\d s saved with each such edit\."),
        re.compile(r"Hello at \d\d:\d\d:\d\d on .* from the optimised file!"),
    ),
    "05-six-features": (
        re.compile(r"10MB  /big, hidden by layer \d+"),
        re.compile(r"RUN /bin/sh -c rm -rf /big \S+ \S+ +0B"),
        "bytes on top of the base: 10000000",
        re.compile(r"a container sees +nothing +that of layer 1"),
        re.compile(r"RUN rm -rf /big +whiteout"),
        re.compile(r"file, 10MB, hidden"),
        "It is 10 MB. The file stays",
        "bytes on top of the base: 0",
        re.compile(r"C /etc\n"),
        re.compile(r"A /new\n"),
        re.compile(r"A /new/file\n"),
        "No such file or directory",
        "It is nothing: there is no such folder.",
        # The step sleeps for two seconds, and a machine that others keep busy takes its time beside.
        re.compile(r"first (?:[2-9]|\d\d)\.\d\d s, then [01]\.\d\d s"),
        re.compile(r"\d+ layers, \d+ of them are those of 100x-node; only 1 is new: \d+ bytes"),
        "It is a few bytes.",
        re.compile(r"(\d+) of \1 layers were sent"),
        re.compile(r"\b1 of \d+ layers were sent"),
        "It is 1.",
        re.compile("sha256:[0-9a-f]{12} → sha256:[0-9a-f]{12}"),
        "It is still there, under its ID",
        re.compile(r"\d+ blobs are what their names say, 0 are not"),
        re.compile(r"\d+ blobs are what their names say, 1 is not"),
        "Untagged: 100x-child",
    ),
    "06-beyond": (
        "VERSION is '2' and was '1'",
        "0 of 1 step ran",
        "in another order",
        "`ENV` makes no layer, yet `RUN` ran",
        re.compile(r"one stage: \d+ MB    two stages: \d+ MB"),
        "It is the one with one stage.",
        "Hello from layer land!",
        re.compile(r"COPY --from=build /app/dist"),
        "src/routes.ts changed",
        "package.json changed",
        re.compile(r"\d+ packages installed, 0 files fetched from the registry: RUN --mount"),
        re.compile(r"COPY --link data /data"),
        "The plain `COPY` ran again",
        re.compile(r"100x-multi +\d+ layers"),
    ),
    "07-cache-golf": (
        "Two lines. ",
        "250 s a week; par is 10 s a week.",
        "1,001 s a week; par is 251.5 s a week.",
        "A new version each time. ",
        "Slow and rare, quick and frequent. ",
        "COPY --from=build /build/dist /srv/dist",
        "Mine. Which of the two comes first?",
        "766 s a week; par is 422 s a week.",
    ),
}
# What an error of ours, of Python or of the engine looks like on standard error; progress goes there too.
_COMPLAINT = re.compile(r"^(?:\S+: )?(?:error|ERROR|Traceback|usage|.*Warning)\b", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def surroundings(place: Path, engine: str, **more: str) -> Iterator[None]:
    """The environment of the kernels: a home, a working copy and a store of their own."""
    wanted = {
        "HOME": str(place / "home"),
        "LAYERLAB_STORE": str(place / "store"),
        "LAYERLAB_WORK": str(place / "course-work" / "work"),
        "LAYERLAB_ENGINE": engine,
        **more,
    }
    (place / "home").mkdir(parents=True, exist_ok=True)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def run(path: Path) -> Any:
    """Run a notebook; returns it with its outputs. Raises ``CellExecutionError`` for a cell that fails."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(COURSE)}}
    nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()
    return notebook


def output_of(cell: Any) -> str:
    """All that a cell shows, as plain text."""
    shown, stream = "", None
    for output in cell.get("outputs", ()):
        # A kernel may send one line in two parts.
        if shown and (stream is None or output.get("name") != stream):
            shown += "\n"
        shown += output.get("text") or output.get("data", {}).get("text/plain", "")
        stream = output.get("name")
    return _ANSI.sub("", shown)


def check(name: str, notebook: Any) -> None:
    """Everything of ``EXPECTED`` is there, in order, and nothing complained that should not."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    whole = "\n".join(output_of(cell) for cell in cells)
    position = 0
    for pattern in EXPECTED[name]:
        wanted = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        found = wanted.search(whole, position)
        assert found is not None, f"{name}: {wanted.pattern!r} is not in the outputs from here on:\n{whole[position : position + 3000]}"
        position = found.end()
    for cell in cells:
        said = "".join(output["text"] for output in cell.outputs if output.get("name") == "stderr")
        if _COMPLAINT.search(_ANSI.sub("", said)):
            raise AssertionError(f"{name}: a cell complained:\n{cell.source}\n{said}")
