"""No name and no length of a path in a Dockerfile or an image is more than its author's fault.

A generator makes trees of names that are no text, too long, or nested until no path leads to the last of them, some of another user, and
does with them what a Dockerfile can: copies, mounts, working directories, users. Each build makes an image, or fails in a line of the file
with an error of the kind that an answer is blamed for; then it is planned, looked at, checked and saved.

    LAYERLAB_HOSTILE_NAMES=500 LAYERLAB_SEED=… ./lab test tests/adversarial/test_names.py -q -s
"""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from autograder.sandbox.faults import is_students
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.errors import LayerlabError
from layerlab.model import Failure
from tests.engine.conftest import Lab, MakeLab

SEED = os.environ.get("LAYERLAB_SEED") or secrets.token_hex(4)
CASES = int(os.environ.get("LAYERLAB_HOSTILE_NAMES", "40"))
SOUND = "FROM base:1 AS one\nRUN mkdir /d && : > /d/n\nFROM base:1\nCOPY --from=one /d /e\n"
# As printf of a shell reads them.
NAMES = (r"a\377b", r"\303\251", "x" * 250, "y" * 255, "n", r"a\012b", r"-\040\055", r"\342\202", "..." + "z" * 200, r"\\")


def _deep(draws: random.Random, place: str) -> str:
    """A shell's words that make a tree, as deep as it gets."""
    folder, file = draws.choice(NAMES[2:5]), draws.choice(NAMES)
    length = 1 if folder == "n" else 250
    depth = draws.choice((1, 3, 14, 15, 16)) if length > 1 else draws.choice((1, 100, 1900, 2100))
    more = draws.choice((0, 0, draws.randrange(1, 24)))
    return (
        f"set +e; mkdir -p {place}; cd {place}; "
        f"i=0; while [ $i -lt {depth} ]; do mkdir {folder} && cd -P {folder} || break; i=$((i+1)); done; "
        f"i=0; while [ $i -lt {more} ]; do mkdir bbbbbbbbb && cd -P bbbbbbbbb || break; i=$((i+1)); done; "
        f": > \"$(printf '{file}')\"; ln -s {'l' * draws.choice((1, 4000))} \"$(printf '{draws.choice(NAMES)}')\"; true"
    )


def _long(draws: random.Random) -> str:
    """A path of a Dockerfile that is long, or has a long name in it."""
    each = draws.choice((1, 100, 250, 256))
    total = draws.choice((300, 3900, 4000, 4050, 4071, 4085, 4095, 4200))
    path = "/w" + f"/{'p' * each}" * max(1, total // (each + 1))
    return (path + "q" * max(0, min(total - len(path), 250 - each)))[:5000]


def _many(kind: str, count: int) -> str:
    """A command with as many mounts."""
    return "RUN " + " ".join(f"--mount=type={kind}{number},target=/c/{number}" for number in range(count)) + " true"


def _steps(draws: random.Random) -> list[str]:
    """Instructions that go by those names, after a stage ``one`` that has them below ``/d``."""
    long = _long(draws)
    every = (
        "COPY --from=one /d /e",
        "COPY --from=one /d/ /e/",
        "COPY --from=one /d/* /e/",
        f"COPY --from=one /d {long}",
        f"COPY <<E {long}\nx\nE",
        f"WORKDIR {long}",
        "RUN true",
        "RUN rm -rf /d/* /e/* || true",
        "RUN chmod -R 000 /e || true",
        f"RUN --mount=type=tmpfs,target={long} true",
        f"RUN --mount=type=cache,target={long} true",
        f"RUN --mount=type=cache,id={long},target=/c touch /c/x",
        f"RUN --mount=from=one,source=/d,target={long} true",
        "RUN --mount=from=one,source=/d,target=/m,rw touch /m/x",
        "RUN --mount=type=cache,from=one,source=/d,target=/m touch /m/x",
        "RUN "
        + " ".join(f"--mount=type=cache,sharing={draws.choice(('shared', 'locked', 'private'))},id={n},target=/c/{n}" for n in range(400))
        + " true",
        "RUN " + " ".join(f"--mount=type=tmpfs,target=/c/{n}" for n in range(100)) + " true",
        f"USER {draws.choice(('1000', 'nobody', '65536:70000', 'x' * 300))}",
        "RUN " + _deep(draws, "/tmp/e"),
        f"ENV LONG={'v' * draws.choice((10, 100_000))}",
        f"RUN test -d {long} || true",
    )
    return draws.choices(every, k=draws.randrange(1, 6))


def _dockerfile(draws: random.Random) -> str:
    user = draws.choice(("", "USER 1000\n"))
    first = f"FROM base:1 AS one\nRUN mkdir -m 777 /d\n{user}RUN {_deep(draws, '/d')}\n"
    return first + f"FROM {draws.choice(('base:1', 'one'))}\n" + "\n".join(_steps(draws)) + "\n"


@pytest.fixture(params=["default", "copy"])
def lab(request: pytest.FixtureRequest, make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """One on each snapshotter. What it made is removed by who can: a program that calls itself for each folder could not."""
    if request.param == "copy":
        monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", "copy")
    lab = make_lab()
    yield lab
    lab.engine.worker.ask(Remove(paths=["s", "mounts", "tmp", "trees"]))


def test_no_name_is_more_than_its_authors_fault(lab: Lab) -> None:
    snapshotter = lab.engine.host.snapshotter
    draws, ends = random.Random(f"{SEED} {snapshotter}"), Counter[str]()
    print(f"LAYERLAB_SEED={SEED} LAYERLAB_HOSTILE_NAMES={CASES}, {snapshotter}")
    # Whole trees are copied, folder by folder.
    for number in range(CASES if snapshotter == "overlay" else CASES // 4):
        ends[_built(lab, _dockerfile(draws), f"{SEED} {snapshotter} {number}")] += 1
    print(", ".join(f"{end or 'built'} {count}" for end, count in ends.most_common()))
    # The engine lives on: what is wrong with no name is built.
    assert (
        _built(lab, "FROM base:1 AS one\nRUN mkdir /d && : > /d/n\nFROM base:1\nCOPY --from=one /d /e\n", f"{SEED} {snapshotter} last")
        == ""
    )
    assert lab.engine.verify(lambda _text: None).damaged == ()


def _built(lab: Lab, dockerfile: str, which: str) -> str:
    """What a build ended with: nothing, or the kind of its error."""
    found: Failure | None
    try:
        record = lab.try_build(dockerfile, tag="names:1")
        found = record.failure
    except LayerlabError as error:
        # Before a step, and so without a record.
        found = Failure.of(error)
    if found is not None:
        assert is_students(found.kind, found.code or ""), (which, found, dockerfile)
        assert found.line, (which, found, dockerfile)
        assert lab.engine.store_path not in found.message, (which, found)
        return found.kind
    assert record.image is not None
    lab.plan()
    lab.engine.view(record.image)
    lab.engine.save((record.image,), str(lab.directory / "saved.tar"))
    return ""


# Each once had no score, or ended in a traceback.
_TOO_LONG: Final = f"/tmp{('/' + 'a' * 250) * 16}/{'b' * 50}"
ONCE = {
    "a name that is no text, of another user": r"RUN mkdir -pm 777 /tmp && chmod 777 /tmp\nUSER 1000\nRUN touch /tmp/$(printf 'a\377b')",
    "a working directory that is too long here, and not in the image": rf"WORKDIR {_TOO_LONG}\nRUN true",
    "a mount point that is": f"RUN --mount=type=tmpfs,target={_TOO_LONG} true",
    "more caches than descriptors": _many("cache,id=", 1200),
    "a last name that is too long": "RUN mkdir /d && cd /d && a=$(printf %250s | tr ' ' a) && "
    "for i in $(seq 15); do mkdir $a && cd -P $a; done; "
    r"for i in $(seq 26); do : > $(printf %240s | tr ' ' f) && mkdir bbbbbbbbb && cd -P bbbbbbbbb; done; true\nRUN true",
}


@pytest.mark.parametrize("instructions", ONCE.values(), ids=ONCE.keys())
def test_what_once_was_the_engines(lab: Lab, instructions: str) -> None:
    text = instructions.replace(r"\n", "\n")
    _built(lab, f"FROM base:1\n{text}\n", "once")
    _built(lab, f"FROM base:1 AS one\n{text}\nFROM base:1\nCOPY --from=one / /e\n", "once, copied")
