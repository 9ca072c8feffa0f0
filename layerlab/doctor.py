"""``doctor``: which engine and executor this machine gets, why, and what is missing."""

from __future__ import annotations

import platform
import sys

import msgspec

from layerlab.engines.connect import choose, why_not_docker
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.host import Host, probe_host
from layerlab.platform import PLATFORM
from layerlab.version import __version__


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What ``doctor`` found.

    ``works``: a build can run here. ``engine``: the one that builds; ``docker``: whether Docker could, and if not, why. The other
    fields are the embedded engine's. ``notes``: what was tried and failed.
    """

    works: bool
    engine: str
    docker: str
    executor: str
    snapshotter: str
    ids: str
    network: str
    store: str
    python: str
    platform: str
    version: str
    stand_ins: tuple[str, ...]
    notes: tuple[str, ...]
    schema: int = 1


def examine(engine: EmbeddedEngine, engine_name: str = "auto") -> Finding:
    """Probe this machine afresh; ``engine_name`` is what ``--engine`` says. Raises ``StoreError`` when the store cannot be used at all."""
    host = probe_host(engine.host.store)
    return Finding(
        works=bool(host.executor),
        engine=choose(engine_name),
        docker=_docker(),
        executor=host.executor or "none",
        snapshotter=host.snapshotter,
        ids=host.ids,
        network=_network(host),
        store=engine.store_path,
        python=f"{platform.python_version()} ({sys.executable})",
        platform=PLATFORM,
        version=__version__,
        stand_ins=tuple(row.stand_in for row in engine.store.images() if row.source == "stand-in"),
        notes=host.notes,
    )


def _network(host: Host) -> str:
    if host.network_helper is not None:
        return f"a RUN has its own, connected by {host.network_helper.name}: this machine's loopback is out of its reach"
    return "a RUN shares this machine's, its loopback included (a graded one never does)"


def _docker() -> str:
    problem = why_not_docker()
    return f"no: {problem.message}" if problem is not None else "a daemon answers, and BuildKit is there to build with"


_IDS = {
    "full": "all ids of an image are real (you are root)",
    "single": "one id: chown and su are answered without doing anything, owners come from --chown, USER and WORKDIR; "
    "permission errors between users of an image do not occur",
}


def report(found: Finding) -> str:
    """The finding as text."""
    lines = [
        f"layerlab {found.version} on {found.platform}, Python {found.python}",
        f"engine       {found.engine}",
        f"docker       {found.docker}",
        f"executor     {found.executor}" + ("" if found.works else "  ← nothing can run a build step here; `plan` still works"),
        f"snapshotter  {found.snapshotter}",
        f"ids          {found.ids}: {_IDS[found.ids]}",
        f"network      {found.network}",
        f"store        {found.store}",
    ]
    lines += [f"base image   {text}" for text in found.stand_ins]
    if found.notes:
        lines += ["", "Tried, and why it did not work:", *(f"  - {note}" for note in found.notes)]
    return "\n".join(lines)
