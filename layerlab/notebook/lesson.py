"""What the course's cells call: small, named acts on the working copy, and predictions that are checked."""

from __future__ import annotations

import contextlib
import hashlib
import html
import http.client
import json
import os
import re
import socket
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerlab.errors import UsageError
from layerlab.lesson.questions import Asked, is_id
from layerlab.lesson.questions import question as find
from layerlab.lesson.tally import count
from layerlab.lesson.workcopy import kept_archives, pack, work_directory
from layerlab.lesson.workcopy import reset as reset_copy
from layerlab.lesson.workcopy import restore as restore_copy
from layerlab.model import BuildRecord
from layerlab.notebook.docker_magic import progress, tell
from layerlab.notebook.pictures import Picture, timelines, travelled, union
from layerlab.notebook.session import Pending, Session

if TYPE_CHECKING:
    from layerlab.widgets import Golf, LayerExplorer, Prediction, Question, WhatIf, Workbench

_GREETING = re.compile(r'const GREETING = "(?:[^"\\\n]|\\.)*";')
_VERSION = re.compile(r'"version": "[^"\n]*"')
_RESTORE = "lab.reset() restores the app as it was; then run this notebook from its first cell."
_BACK = "lab.restore() lists it, and brings it back"
_PATIENCE = 30.0
_BLOCK = 1 << 20


class Lesson:
    """The course's helpers, bound to one notebook's session. ``%load_ext layerlab`` puts them into the notebook as ``lab``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # The ids of the course's questions that were asked.
        self._asked: dict[str, str] = {}

    @property
    def session(self) -> Session:
        """What the cells of this notebook share."""
        return self._session

    def _path(self, path: str) -> Path:
        whole = Path(os.path.normpath(self._session.app / path))
        # A small project of an experiment stands beside the app, as ../tiny.
        if not whole.is_relative_to(work_directory()):
            raise UsageError(f"{path} is outside the working copy", remedy="Name a file of the app, for example src/index.ts.")
        return whole

    def _read(self, path: str) -> str:
        file = self._path(path)
        if not file.is_file():
            raise UsageError(f"{path} is not a file of the working copy", remedy=_RESTORE)
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as text: {error}", remedy=_RESTORE) from error

    def _save(self, path: str, text: str) -> None:
        file = self._path(path)
        try:
            data = text.encode()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except (OSError, UnicodeEncodeError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else "its content is no text"
            raise UsageError(
                f"{path or 'a file without a name'} cannot be written: {why}", remedy="Give a file's name and a text."
            ) from error

    # --- edits ------------------------------------------------------------------------------------------------------

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace ``old`` by ``new`` in a file, print the line. A file that has ``new`` already stays. Raises ``UsageError``."""
        if not old:
            raise UsageError("there is nothing to replace: the old text is empty", remedy="lab.write(path, text) writes a whole file.")
        text = self._read(path)
        # A cell that is run twice must not add its lines twice.
        if new in text and (old in new or old not in text):
            print(f"{path} already has {new!r}: nothing to do.")
            return
        if old not in text:
            raise UsageError(f"{path} has no {old!r}", remedy=_RESTORE)
        self._save(path, text.replace(old, new))
        _print_change(path, text, text.index(old), old, new)

    def say(self, greeting: str) -> None:
        """Let the app greet with other words: one changed line of ``src/index.ts``."""
        found = _GREETING.search(self._read("src/index.ts"))
        if found is None:
            raise UsageError("src/index.ts has no line const GREETING = …", remedy=_RESTORE)
        self.edit("src/index.ts", found[0], f"const GREETING = {json.dumps(str(greeting), ensure_ascii=False)};")

    def bump(self, *paths: str) -> None:
        """Give the app a new version: one changed line in each file, for example ``package.json``. Raises ``UsageError``."""
        # No earlier visit had it: an edit that was built before is in the cache.
        version = f"1.0.{int(time.time())}"
        for path in paths:
            text = self._read(path)
            # The first is the app's own; a lock file has one of each package, too.
            found = _VERSION.search(text)
            if found is None:
                raise UsageError(f'{path} has no line "version": …', remedy=_RESTORE)
            new = f'"version": "{version}"'
            self._save(path, text[: found.start()] + new + text[found.end() :])
            _print_change(path, text, found.start(), found[0], new)

    def now(self) -> str:
        """The time, for edits that are to be new however often a notebook is run: what was built once is in the cache."""
        return time.strftime("%H:%M:%S on %d %b")

    def write(self, path: str, text: str) -> None:
        """Write a whole file of the working copy; folders are made as needed."""
        self._save(path, text)
        print(f"wrote {path}, {len(text.encode())} bytes")

    # --- predictions ------------------------------------------------------------------------------------------------

    def predict(self, question: str, file: str = "Dockerfile", context: str | None = None) -> Prediction:
        """Ask where the cache of the next build breaks; the card of that build then says who was right.

        ``question``: the id of one of the course's, or a sentence. Raises ``UsageError``, and what is wrong with the Dockerfile.
        """
        from layerlab.widgets import Prediction

        asked = find(question) if is_id(question) else Asked(question=question)
        options = self._session.options(file, context)
        prediction = Prediction(self._session.engine.plan(options).steps, asked.question)
        self._session.predict(options, Pending(question, prediction, asked.happened))
        return prediction

    def ask(self, question: str, choices: Sequence[str] = ()) -> Question:
        """A question with one right choice; ``lab.reveal`` shows it beside the learner's.

        ``question``: the id of one of the course's, or a sentence, to which ``choices`` belong. Raises ``UsageError``.
        """
        from layerlab.widgets import Question

        if choices or not is_id(question):
            return Question(question, choices)
        asked = find(question)
        shown = Question(asked.question, asked.choices)
        self._asked[shown.model_id] = question
        return shown

    def reveal(self, asked: Question, answer: str = "", why: str = "") -> None:
        """The answer to a question of ``lab.ask``. For one of your own, say what it is, and why. Raises ``UsageError``."""
        from layerlab.widgets import Question

        if not isinstance(asked, Question):
            raise UsageError("there is nothing to reveal", remedy="Give what lab.ask() returned; a prediction is answered by its build.")
        name = self._asked.get(asked.model_id)
        known = Asked(question=asked.question) if name is None else find(name)
        answer, why = known.answer or answer, known.why or why
        asked.reveal(answer)
        said = f"It is {asked.result['answer']}. {why}".strip()
        tally = ""
        if asked.result["answered"]:
            right = asked.result["right"]
            said = f"✓ **Right.** {said}" if right else f"✕ **You said {asked.given}.** {said}"
            tally = count(name, int(right), 1) if name is not None else ""
        tell("\n\n".join(filter(None, [f"{said} {tally}".strip(), known.happened])))

    # --- what there is -----------------------------------------------------------------------------------------------

    def last_build(self) -> BuildRecord:
        """The record of the last ``%docker build``. Raises ``UsageError`` before the first."""
        return self._session.last_build()

    def layers(self, image: str) -> tuple[str, ...]:
        """The diff IDs of an image's layers, lowest first. Raises ``UsageError`` for an unknown image."""
        return tuple(self._session.engine.image_config(image)["rootfs"]["diff_ids"])

    def sizes(self, image: str) -> dict[str, int]:
        """Bytes of files in each layer of an image, by diff ID. Raises ``UsageError``."""
        return {layer.diff_id: layer.size for layer in self._session.engine.view(image).layers}

    def size_of(self, path: str = ".") -> int:
        """Bytes of a file, or of all files below a folder. Raises ``UsageError`` where it is not there."""
        whole = self._path(path)
        if not whole.exists():
            raise UsageError(f"there is no {path} in the working copy", remedy=_RESTORE)
        files = [whole] if whole.is_file() else [file for file in whole.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)

    def image_id(self, image: str) -> str:
        """An image's ID, which is the digest of its configuration. Raises ``UsageError`` for an unknown image."""
        return self._session.engine.image_row(image).config

    # --- experiments -------------------------------------------------------------------------------------------------

    def registry(self) -> str:
        """Start a registry for this notebook, on this machine alone; returns its address."""
        return self._session.registry()

    def flip_a_byte(self, archive: str) -> None:
        """Change one byte inside a layer of an image archive that ``docker save`` wrote, and say which. Raises ``UsageError``."""
        path = self._path(archive)
        name, offset = largest_member(path)
        with path.open("r+b") as stream:
            stream.seek(offset)
            byte = stream.read(1)[0]
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))
        print(f"changed one byte of {name}: {byte:#04x} → {byte ^ 1:#04x}")

    def check_archive(self, archive: str) -> None:
        """Compare every blob of an image archive with its name, which is its digest, and print what differs. Raises ``UsageError``."""
        right = 0
        wrong = []
        for name, digest in blob_digests(self._path(archive)):
            if name == digest:
                right += 1
            else:
                wrong.append(f"  named  {name}\n  but is {digest}")
        print(f"{right} blobs are what their names say, {len(wrong)} {'is' if len(wrong) == 1 else 'are'} not.", *wrong, sep="\n")

    # --- views ------------------------------------------------------------------------------------------------------

    def workbench(self, tag: str = "100x-node") -> Workbench:
        """The app's files, the Dockerfile, Build, the layers, and what an edit would cost."""
        from layerlab.widgets import Workbench

        return Workbench(str(self._session.app), tag=tag, engine=self._session.engine)

    def what_if(self, *edits: str, file: str = "Dockerfile") -> WhatIf:
        """Edits × steps: which steps each edit would run again."""
        from layerlab.widgets import WhatIf

        return WhatIf(str(self._session.app), dockerfile=file, edits=tuple(edits), engine=self._session.engine)

    def explore(self, image: str = "100x-node") -> LayerExplorer:
        """What is in each layer of an image, and which layer each file comes from."""
        from layerlab.widgets import LayerExplorer

        return LayerExplorer(image, engine=self._session.engine)

    def golf(self, level: str | None = None) -> Golf:
        """Cache golf: the lines of a Dockerfile in the order that rebuilds least. ``level``: its name, or a file of one's own."""
        from layerlab.widgets import Golf

        return Golf(self._path(level) if level is not None and level.endswith(".json") else level)

    def side_by_side(self, **builds: BuildRecord) -> Picture:
        """Builds on one clock, from their records: ``lab.side_by_side(naive=first, optimised=second)``."""
        return timelines(builds)

    def fetched(self) -> None:
        """Print for the last build how many packages npm installed, and how many of them it fetched; it logs that with --loglevel=http."""
        told = [(step.instruction, *_fetched(step.log)) for step in self._session.last_build().steps if step.status == "executed"]
        lines = [f"{added} packages installed, {fetched} files fetched from the registry: {text}" for text, added, fetched in told if added]
        print(*(lines or ["In the last build npm installed nothing."]), sep="\n")

    def union(self, image: str, *paths: str) -> Picture:
        """What each layer of an image has of some paths, and what a container sees of them. Raises ``UsageError``."""
        return union(self._session.engine.view(image), paths)

    def push(self, image: str) -> Picture:
        """Push an image, and show which layers went. Raises ``UsageError``, ``RegistryError``."""
        engine = self._session.engine
        with progress() as report:
            done = engine.push(image, report)
        return travelled(done, {row.diff_id: row.created_by for row in engine.history(image)})

    # --- the running app --------------------------------------------------------------------------------------------

    def free_port(self) -> int:
        """A TCP port of this machine that nothing listens on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def get(self, url: str) -> str:
        """What the app answers; waits for it to start, for half a minute at most. Raises ``UsageError``."""
        deadline = time.monotonic() + _PATIENCE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(url, timeout=5) as answer:
                    text: str = answer.read().decode("utf-8", "replace")
                    return text.strip()
            except urllib.error.HTTPError as error:
                # Somebody answers, and waiting does not change what.
                raise UsageError(f"{url} answers {error.code} {error.reason}", remedy="%docker logs NAME may show why.") from error
            except (ValueError, http.client.InvalidURL) as error:
                raise UsageError(f"{url} is no address: {error}", remedy='For example f"http://localhost:{port}/".') from error
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise UsageError(f"nothing answers on {url}: {error}", remedy="%docker logs NAME shows why.") from error
                time.sleep(0.2)

    def remove(self, container: str) -> None:
        """Remove a container that may be left from an earlier run of a cell; quiet where there is none."""
        with contextlib.suppress(UsageError):
            self._session.engine.remove_container(container, force=True)

    # --- keeping work -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Restore the working copy; what was in it goes into an archive first."""
        copy, kept = reset_copy()
        with contextlib.suppress(OSError):
            os.chdir(copy)
        print(f"{copy.name} is as it is at the start of the course." + (f" What was in it is kept: {_BACK}." if kept else ""))

    def restore(self, which: int | None = None) -> None:
        """List what was kept when the working copy was reset, the newest first; with a number of that list, bring it back.

        What is in the working copy now is kept in its turn. Raises ``UsageError``.
        """
        archives = kept_archives()
        if which is None:
            lines = [f"{number:>3}  {_told(archive)}" for number, archive in enumerate(archives, 1)]
            print(*(lines or ["Nothing has been kept yet."]), sep="\n")
            if lines:
                print("lab.restore(NUMBER) brings one back; what you have now is kept, too.")
            return
        if not 1 <= which <= len(archives):
            raise UsageError(f"nothing was kept under number {which}", remedy="lab.restore() lists what was.")
        copy, kept = restore_copy(archives[which - 1])
        with contextlib.suppress(OSError):
            os.chdir(copy)
        print(
            f"{copy.name} is as it was kept in {_short(archives[which - 1])}." + (f" What was in it is kept, too: {_BACK}." if kept else "")
        )

    def download(self) -> Any:
        """A link to an archive with your files. A hub deletes idle machines, so take it with you before a break."""
        import IPython.display

        archive = work_directory() / "my-work.zip"
        archive.unlink(missing_ok=True)
        pack(archive)
        # Notebooks are in course/, archives in work/: JupyterLab resolves the link from the notebook's folder.
        target = html.escape(os.path.relpath(archive, work_directory().parent / "course"), quote=True)
        untyped: Any = IPython.display
        return untyped.HTML(f'<a href="{target}" download>Download my work ({archive.stat().st_size / 1000:.0f} kB)</a>')


def _fetched(log: str) -> tuple[int, int]:
    """The packages that npm says it added, and the archives that it fetched for them: of each it logs whether its cache had it."""
    added = re.search(r"added (\d+) packages?", log)
    archives = [line for line in log.splitlines() if re.search(r"npm http fetch GET 200 \S+\.tgz", line)]
    files = [line for line in archives if not re.search(r"\(cache (?:hit|stale|revalidated)\)", line)]
    return int(added[1]) if added else 0, len(files)


def _print_change(path: str, text: str, position: int, old: str, new: str) -> None:
    number = text[:position].count("\n") + 1
    print(f"{path}, line {number}:")
    for sign, lines in (("-", old), ("+", new)):
        print("\n".join(f"  {sign} {line}" for line in lines.strip("\n").split("\n")))


def largest_member(archive: Path) -> tuple[str, int]:
    """The largest file in a tar archive, and the offset of its middle byte. Raises ``UsageError`` where there is none."""
    try:
        with tarfile.open(archive) as members:
            largest = max((member for member in members if member.isfile()), key=lambda member: member.size)
            return largest.name, largest.offset_data + largest.size // 2
    except (OSError, tarfile.TarError, ValueError) as error:
        raise UsageError(f"{archive.name} is not an archive with files: {error}", remedy="Save the image again.") from error


def blob_digests(archive: Path) -> Iterator[tuple[str, str]]:
    """For each blob of an OCI archive: the digest that it is named after, and the digest of its bytes. Raises ``UsageError``."""
    try:
        with tarfile.open(archive) as members:
            for member in members:
                folder, _, name = member.name.rpartition("/")
                stream = members.extractfile(member) if member.isfile() and folder.endswith("blobs/sha256") else None
                if stream is not None:
                    found = hashlib.sha256()
                    while block := stream.read(_BLOCK):
                        found.update(block)
                    yield name, found.hexdigest()
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{archive.name} is not an archive of images: {error}", remedy="Save the image again.") from error


def _short(path: Path) -> str:
    return os.path.relpath(path, work_directory().parent)


def _told(archive: Path) -> str:
    facts = archive.stat()
    return f"{time.strftime('%d %b %Y, %H:%M:%S', time.localtime(facts.st_mtime))}  {facts.st_size / 1000:>7.0f} kB  {_short(archive)}"
