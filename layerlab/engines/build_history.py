"""What the store remembers of the builds of one context: the trace to compare the next one with, and the last record."""

from __future__ import annotations

import hashlib
import os

import msgspec

from layerlab.fsutil import write_atomically
from layerlab.model import BuildRecord
from layerlab.solver.explain import BuildTrace

_trace_decoder = msgspec.msgpack.Decoder(BuildTrace)
_record_decoder = msgspec.json.Decoder(BuildRecord)
_durations_decoder = msgspec.json.Decoder(dict[str, float])
# A context with more instructions than this has been generated; then the oldest are forgotten.
_MOST_DURATIONS = 500


class BuildHistory:
    """The memory of one (context, Dockerfile, target), in the context's directory of the store."""

    def __init__(self, directory: str, dockerfile: str, target: str | None) -> None:
        self.directory = directory
        name = hashlib.sha256(f"{dockerfile}\0{target or ''}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._trace = os.path.join(directory, f"{name}.trace")
        self._record = os.path.join(directory, f"{name}.json")
        self._misses = os.path.join(directory, f"{name}.misses.json")
        self._latest = os.path.join(directory, "latest")
        self._durations = os.path.join(directory, "durations.json")

    def trace(self) -> BuildTrace | None:
        """The trace of the last build of this Dockerfile, else of the last build of this context, else ``None``."""
        return _read_trace(self._trace) or self._latest_trace()

    def _latest_trace(self) -> BuildTrace | None:
        try:
            with open(self._latest, encoding="utf-8") as stream:
                return _read_trace(os.path.join(self.directory, os.path.basename(stream.read().strip())))
        except OSError:
            return None

    def record(self, *, with_misses: bool = False) -> BuildRecord | None:
        """The last build's record; ``with_misses`` the last one in which a step ran."""
        try:
            with open(self._misses if with_misses else self._record, "rb") as stream:
                return _record_decoder.decode(stream.read())
        except (OSError, msgspec.MsgspecError):
            return None

    def durations(self) -> dict[str, float]:
        """Seconds that each instruction took when it last ran in this context, whichever Dockerfile has it."""
        try:
            with open(self._durations, "rb") as stream:
                return _durations_decoder.decode(stream.read())
        except (OSError, msgspec.MsgspecError):
            return {}

    def remember(self, record: BuildRecord, trace: BuildTrace | None) -> None:
        """Keep a build. ``trace`` is ``None`` when it equals the one that is kept. Raises ``OSError``."""
        encoded = msgspec.json.encode(record)
        write_atomically(self._record, encoded, durable=False)
        if any(step.status in ("executed", "failed") for step in record.steps):
            write_atomically(self._misses, encoded, durable=False)
            ran = {step.instruction: step.seconds for step in record.steps if step.status == "executed"}
            kept = [(instruction, seconds) for instruction, seconds in self.durations().items() if instruction not in ran]
            write_atomically(self._durations, msgspec.json.encode(dict([*kept, *ran.items()][-_MOST_DURATIONS:])), durable=False)
        if trace is not None:
            write_atomically(self._trace, msgspec.msgpack.encode(trace), durable=False)
            write_atomically(self._latest, os.path.basename(self._trace).encode(), durable=False)


def _read_trace(path: str) -> BuildTrace | None:
    try:
        with open(path, "rb") as stream:
            return _trace_decoder.decode(stream.read())
    except (OSError, msgspec.MsgspecError):
        return None
