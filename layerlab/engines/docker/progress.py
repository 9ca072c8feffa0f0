"""What ``docker build`` says while it builds, read as it comes: raw JSON of buildx, or the plain text of older clients.

Both give the same: vertexes (BuildKit's word for what it solves; a step of a Dockerfile is one), with their verdicts and output.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

# From ten steps on the index is padded: ``[ 2/11]``. Before the stage stands a platform where several were asked for (``prefixCommand``).
STEP_NAME = re.compile(r"\[ *(?:[^\s\]]+/[^\s\]]+ +)?(?:(?P<stage>[^\s/\]]+) +)?(?P<index>\d+/\d+)\] (?P<instruction>.*)", re.DOTALL)
_PLAIN = re.compile(r"#(?P<number>\d+) (?P<text>.*)", re.DOTALL)
_PLAIN_LOG = re.compile(r"\d+\.\d+ ?(?P<text>.*)", re.DOTALL)
_PLAIN_DONE = re.compile(r"DONE (?P<seconds>[\d.]+)s")
_LOG_LIMIT = 64 << 10


class Vertex:
    """One vertex, as far as it is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = False
        self.completed = False
        self.cached = False
        self.canceled = False
        self.error = ""
        self.seconds = 0.0
        self.log = ""

    def fail(self, error: str) -> None:
        """It ended with an error. One that failed may be given up afterwards, too: what it failed with stays."""
        canceled = "context canceled" in error
        if not canceled or not self.error:
            self.error, self.canceled = error, canceled

    @property
    def stage(self) -> str:
        """The stage of a step; empty for the only stage."""
        match = STEP_NAME.fullmatch(self.name)
        return (match["stage"] or "") if match else ""

    @property
    def index(self) -> str:
        """``i/n`` of a step; empty for what is no step."""
        match = STEP_NAME.fullmatch(self.name)
        return match["index"] if match else ""

    @property
    def instruction(self) -> str:
        """The instruction of a step."""
        match = STEP_NAME.fullmatch(self.name)
        return match["instruction"] if match else self.name

    @property
    def verdict(self) -> str:
        """``cached``, ``executed``, ``failed`` or ``skipped`` (never begun, or given up when another step failed)."""
        if self.error and not self.canceled:
            return "failed"
        if self.canceled or not self.started or not self.completed:
            return "skipped"
        return "cached" if self.cached else "executed"

    def say(self, text: str) -> None:
        """Add output, of which the last part is kept."""
        self.log = (self.log + text)[-_LOG_LIMIT:]


Watch = Callable[[str, Vertex, str], None]


def _unwatched(_what: str, _vertex: Vertex, _text: str) -> None:
    """Progress that nobody watches."""


class Reader:
    """Takes the client's output line by line. ``watch`` hears ``start``, ``log`` (with text) and ``done`` of vertexes.

    ``said`` keeps the lines that are no progress: the client's own words, its error among them.
    """

    def __init__(self, *, rawjson: bool, watch: Watch = _unwatched) -> None:
        self.vertexes: dict[str, Vertex] = {}
        self.said: list[str] = []
        self._rawjson = rawjson
        self._watch = watch
        self._pending: list[str] = []

    def read(self, lines: Iterable[str]) -> None:
        """Read to the end."""
        for line in lines:
            self.feed(line)

    def feed(self, line: str) -> None:
        """Take one line, with its end."""
        if not self._rawjson:
            self._plain(line.rstrip("\r\n"))
            return
        if not self._pending and not line.startswith("{"):
            self.said.append(line.rstrip("\n"))
            return
        self._pending.append(line)
        # A document ends with a brace at the margin; some versions write one on a single line.
        if line.startswith("}") or (len(self._pending) == 1 and line.rstrip().endswith("}")):
            try:
                document = json.loads("".join(self._pending))
            except ValueError:
                if line.startswith("}"):
                    self.said.extend(part.rstrip("\n") for part in self._pending)
                    self._pending.clear()
                return
            self._pending.clear()
            self._document(document)

    def steps(self) -> list[Vertex]:
        """The vertexes that are steps of the Dockerfile, in the order in which they appeared."""
        return [vertex for vertex in self.vertexes.values() if vertex.index]

    def error(self) -> str:
        """The client's error message, without the words that say nothing; empty when there is none."""
        text = "\n".join(self.said)
        found = re.search(r"^(?:ERROR|error): (.*)\Z", text, re.MULTILINE | re.DOTALL)
        return found[1].strip() if found else next((line.strip() for line in reversed(self.said) if line.strip()), "")

    def _document(self, document: dict[str, Any]) -> None:
        for item in document.get("vertexes") or []:
            self._vertex(item)
        for item in document.get("logs") or []:
            vertex = self.vertexes.get(item.get("vertex", ""))
            if vertex is not None:
                self._log(vertex, base64.b64decode(item.get("data") or "").decode("utf-8", "replace"))

    def _vertex(self, item: dict[str, Any]) -> None:
        vertex = self.vertexes.setdefault(item["digest"], Vertex(item.get("name", "")))
        # A step that two stages share may be named after the one first and after the other later.
        vertex.name = item.get("name") or vertex.name
        begun, finished = vertex.started, vertex.completed
        vertex.started |= bool(item.get("started"))
        vertex.completed |= bool(item.get("completed"))
        vertex.cached |= bool(item.get("cached"))
        if item.get("error"):
            vertex.fail(item["error"])
        if item.get("started") and item.get("completed"):
            vertex.seconds = max(0.0, _seconds(item["completed"]) - _seconds(item["started"]))
        if vertex.started and not begun and not item.get("completed"):
            self._watch("start", vertex, "")
        if vertex.completed and not finished:
            self._watch("done", vertex, "")

    def _log(self, vertex: Vertex, text: str) -> None:
        vertex.say(text)
        self._watch("log", vertex, text)

    def _plain(self, line: str) -> None:
        match = _PLAIN.fullmatch(line)
        if match is None:
            self.said.append(line)
            return
        number, text = match["number"], match["text"]
        vertex = self.vertexes.get(number)
        if vertex is None:
            self.vertexes[number] = Vertex(text)
            return
        if text == vertex.name:
            return
        done = _PLAIN_DONE.fullmatch(text)
        log = _PLAIN_LOG.fullmatch(text)
        if text == "CACHED":
            vertex.started = vertex.completed = vertex.cached = True
        elif text == "CANCELED":
            vertex.canceled = not vertex.error
        elif text.startswith("ERROR: "):
            vertex.started = vertex.completed = True
            vertex.fail(text.removeprefix("ERROR: "))
        elif done is not None:
            vertex.started = vertex.completed = True
            vertex.seconds = float(done["seconds"])
        elif log is not None:
            if not vertex.started:
                vertex.started = True
                self._watch("start", vertex, "")
            self._log(vertex, log["text"] + "\n")
            return
        else:
            return
        self._watch("done", vertex, "")


def _seconds(text: str) -> float:
    # Nine digits of a second are more than Python reads.
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00")).timestamp()
