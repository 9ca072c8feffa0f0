"""What graded commands take out of the npm cache is told, whatever they do to hide it; and they can do the cache no harm."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.sandbox.evidence import Evidence
from autograder.sandbox.opened_files import Openings
from autograder.sandbox.sandbox import Sandbox
from autograder.sandbox.watch import Watch
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.errors import ExecutorError
from layerlab.fsutil import remove_written
from tests.autograder.material import ps1

# A package and what npm knows about it, as cacache keeps them.
CONTENTS = {"express-5.3.0.tgz": gzip.compress(b"a package"), "express": b'{"name":"express"}'}
HERE = "$npm_config_cache/_cacache/content-v2/sha512"


def test_a_directory_tells_which_of_its_files_are_opened(tmp_path: Path) -> None:
    """Not which are listed, nor what is opened under another name."""
    watched = tmp_path / "watched"
    watched.mkdir()
    for name in ("a", "b", "c"):
        (watched / name).write_text(name)
    (tmp_path / "other").hardlink_to(watched / "b")
    with Openings(str(watched)) as openings:
        assert [path.stat().st_size for path in watched.iterdir()] == [1, 1, 1]
        (tmp_path / "other").read_text()
        assert openings.names() == set()
        (watched / "a").read_text()
        (watched / "c").read_text()
        assert openings.names() == {"a", "c"}
        assert openings.names() == set()


def test_more_than_the_kernel_keeps_is_told(tmp_path: Path) -> None:
    """It joins only equal neighbours, so two files in turn fill its queue, and what is opened then is not heard of."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    with Openings(str(tmp_path)) as openings:
        (tmp_path / "a").read_text()
        assert openings.names() == {"a"}
        assert not openings.overflowed
        for name in ("a", "b") * (kept // 2 + 1):
            os.close(os.open(tmp_path / name, os.O_RDONLY))
        (tmp_path / "c").read_text()
        assert openings.names() == {"a", "b"}
        assert openings.overflowed


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An npm cache with the contents above."""
    place = tmp_path / "cache" / "_cacache"
    for name in ("index-v5", "content-v2", "tmp"):
        (place / name).mkdir(parents=True)
    for name, content in CONTENTS.items():
        digest = hashlib.sha512(content)
        text = digest.hexdigest()
        path = place / "content-v2" / "sha512" / text[:2] / text[2:4] / text[4:]
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        row = {
            "key": f"make-fetch-happen:request-cache:https://r/{name}",
            "integrity": f"sha512-{base64.b64encode(digest.digest()).decode()}",
        }
        (place / "index-v5" / name).write_text(f"\n0\t{json.dumps(row)}")
    return place.parent


@pytest.fixture(params=["default", "copy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Iterator[EmbeddedEngine]:
    """One that is watched, on both snapshotters."""
    if request.param == "copy":
        monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", "copy")
    place = tmp_path / "place"
    place.mkdir()
    with Watch(ps1().limits, str(place)) as watch, Sandbox(str(cache), watch) as sandbox, sandbox.engine(str(tmp_path / "store")) as engine:
        try:
            engine.make_executor()
        except ExecutorError as error:
            pytest.skip(str(error))
        engine.bases.resolve("node:alpine", offline=True)
        yield engine
        engine.worker.ask(Remove(paths=["s"]))
    assert not [path.name for path in place.iterdir() if path.name.startswith(("npm-", "shelf-"))]
    remove_written(str(place))


@pytest.mark.parametrize(
    ("command", "taken"),
    [
        pytest.param(f"cat $(find {HERE} -type l) | wc -c", {"express-5.3.0.tgz"}, id="all is read"),
        pytest.param("cp -rL $npm_config_cache /c && rm -r /c", {"express-5.3.0.tgz"}, id="copied and removed"),
        pytest.param("cp -r $npm_config_cache /c && cat $(find /c -type l)", {"express-5.3.0.tgz"}, id="by copies of the links"),
        pytest.param("cat /dev/.npm-packages/* > /dev/null; rm -rf $npm_config_cache/*", {"express-5.3.0.tgz"}, id="where they lie"),
        pytest.param("(cat /dev/.npm-packages/* > /dev/null &) ; sleep 1", {"express-5.3.0.tgz"}, id="by somebody else"),
        pytest.param(f"ls -lR $npm_config_cache && test $(find {HERE} -type l | wc -l) = 2", set(), id="only listed"),
        pytest.param("cat $npm_config_cache/_cacache/index-v5/*", set(), id="the index"),
        pytest.param(f"rm -rf $npm_config_cache/_cacache && mkdir -p {HERE}/aa && echo new > {HERE}/aa/b", set(), id="cleaned and filled"),
    ],
)
def test_what_a_command_takes_is_told(engine: EmbeddedEngine, tmp_path: Path, cache: Path, command: str, taken: set[str]) -> None:
    """By the names of archives; what npm knows about packages is none. The next command finds all again."""
    (tmp_path / "Dockerfile").write_text(f"FROM node:alpine\nRUN {command}\nRUN test $(ls /dev/.npm-packages | wc -l) = 2\n")
    record = engine.build(BuildOptions(context=str(tmp_path), offline=True))
    assert record.failure is None, record.failure
    assert [Evidence.of(step.seen or ()).taken for step in record.steps] == [set(), taken, set()]
    # A build that finds the step in the cache says the same of it.
    again = engine.build(BuildOptions(context=str(tmp_path), offline=True))
    assert [step.seen for step in again.steps] == [step.seen for step in record.steps]
    assert sorted(path.read_bytes() for path in (cache / "_cacache" / "content-v2").rglob("*") if path.is_file()) == sorted(
        CONTENTS.values()
    )


def test_a_command_can_take_from_nobody_what_shows_what_is_opened(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Instances of inotify are counted for a user, so one command could have them all."""
    code = "try { require('fs').watch('/'); process.exit(8) } catch (error) { process.exit(error.code === 'EMFILE' ? 0 : 9) }"
    (tmp_path / "Dockerfile").write_text(f'FROM node:alpine\nRUN node -e "{code}"\n')
    record = engine.build(BuildOptions(context=str(tmp_path), offline=True))
    assert record.failure is None, record.failure


def test_a_command_stays_on_its_processor(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """The others are those of other graders. It is told that it has moved."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox: apt-get install busybox-static")
    shutil.copy(busybox, tmp_path / "busybox")
    pinned = 'test "$(grep Cpus_allowed: /proc/self/status)" = "$(/busybox taskset 1 grep Cpus_allowed: /proc/self/status)"'
    (tmp_path / "Dockerfile").write_text(f"FROM node:alpine\nCOPY busybox /\nRUN {pinned}\n")
    record = engine.build(BuildOptions(context=str(tmp_path), offline=True))
    assert record.failure is None, record.steps
