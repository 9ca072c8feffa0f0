"""The store survives: a kill at any moment, and several builds at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.conformance import bases

ROOT = Path(__file__).resolve().parents[2]
# 200 for a release; fewer in every run, since each kill costs a build and a verification.
KILLS = int(os.environ.get("LAYERLAB_KILLS", "25"))
DOCKERFILE = (
    "FROM base:1\nWORKDIR /w\nCOPY a.txt .\nRUN cp a.txt b.txt && mkdir d && echo x > d/x\nCOPY big .\n"
    "RUN cat big > copy && rm -rf d && mkdir d\nCOPY . /all/\nRUN sha256sum copy > sum\n"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("survival")
    base = next(base for base in bases.bases() if base.name == "base:1")
    bases.write_layout(base, place / "layout")
    with EmbeddedEngine(str(place / "store")) as engine:
        engine.import_layout(str(place / "layout"), "base:1")
    return place / "store"


def _command(store: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "layerlab", *arguments], {**os.environ, "LAYERLAB_STORE": str(store), "PYTHONPATH": str(ROOT)}


def _run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, env = _command(store, *arguments)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=360, check=False)


def _start(store: Path, *arguments: str) -> subprocess.Popen[str]:
    command, env = _command(store, *arguments)
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _app(place: Path) -> Path:
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    (place / "a.txt").write_text("a\n", encoding="utf-8")
    (place / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    return place


def _left_running(store: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace")
                directory = os.readlink(process / "cwd")
            except OSError:
                continue
            if str(store) in words or directory.startswith(str(store)):
                found.append(words.replace("\0", " ")[:120])
    return found


@pytest.mark.slow
def test_after_a_kill_at_any_moment_the_store_verifies_and_the_next_build_is_right(store: Path, tmp_path: Path) -> None:
    app = _app(tmp_path / "app")
    dice = random.Random(20)
    struck = 0
    assert _run(store, "build", "-q", "--network", "none", str(app)).returncode == 0
    (app / "a.txt").write_text("measured\n", encoding="utf-8")
    began = time.monotonic()
    assert _run(store, "build", "-q", "--network", "none", str(app)).returncode == 0
    whole = time.monotonic() - began
    for number in range(KILLS):
        (app / "a.txt").write_text(f"kill {number}\n", encoding="utf-8")
        build = _start(store, "build", "-q", "-t", "survivor", "--network", "none", str(app))
        time.sleep(dice.uniform(0.05, 0.9 * whole))
        build.send_signal(signal.SIGKILL)
        build.communicate()
        struck += build.returncode == -signal.SIGKILL
        if number % 5 == 4:
            checked = _run(store, "verify", "--json")
            assert checked.returncode == 0, checked.stdout + checked.stderr
        if number % 8 == 7:
            assert _run(store, "prune", "--json").returncode == 0

    assert struck > KILLS // 3, "most builds ended before they were killed: this test tested nothing"
    final = _run(store, "build", "--json", "-t", "survivor", "--network", "none", str(app))
    assert final.returncode == 0, final.stderr
    shown = _run(store, "run", "survivor", "/bin/sh", "-c", "cat /w/b.txt && ls -A /w/d && sha256sum /w/copy && cat /w/sum")
    text, first, second = shown.stdout.splitlines()
    assert text == f"kill {KILLS - 1}"
    assert first.split()[0] == second.split()[0]
    checked = _run(store, "verify", "--json")
    assert json.loads(checked.stdout)["damaged"] == []
    deadline = time.monotonic() + 30
    while _left_running(store) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _left_running(store) == []


@pytest.mark.slow
def test_a_kill_in_the_middle_of_prune_or_load_loses_nothing_that_an_image_needs(store: Path, tmp_path: Path) -> None:
    app = _app(tmp_path / "app")
    assert _run(store, "build", "-q", "-t", "kept", "--network", "none", str(app)).returncode == 0
    (app / "a.txt").write_text("from the archive\n", encoding="utf-8")
    assert _run(store, "build", "-q", "-t", "travels", "--network", "none", str(app)).returncode == 0
    archive = tmp_path / "travels.tar"
    assert _run(store, "save", "-o", str(archive), "travels").returncode == 0
    dice = random.Random(7)
    lasts: dict[str, float] = {}
    struck = rounds = 0
    for number in range(2 + max(6, KILLS // 4)):
        (app / "a.txt").write_text(f"other {number}\n", encoding="utf-8")
        assert _run(store, "build", "-q", "--network", "none", str(app)).returncode == 0
        verb: tuple[str, ...] = ("prune",)
        if number % 2:
            verb = ("load", "-i", str(archive))
            # So that there is something to load.
            _run(store, "rmi", "travels")
            assert _run(store, "prune").returncode == 0
        began = time.monotonic()
        process = _start(store, *verb)
        if verb[0] in lasts:
            time.sleep(dice.uniform(0.05, 0.9 * lasts[verb[0]]))
            process.kill()
            rounds += 1
        process.communicate()
        lasts.setdefault(verb[0], time.monotonic() - began)
        struck += process.returncode == -signal.SIGKILL
        checked = _run(store, "verify", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr

    assert struck > rounds // 3, "most loads and prunes ended before they were killed: this test tested nothing"
    assert _run(store, "run", "kept", "cat", "/w/b.txt").stdout == "a\n"
    assert _run(store, "load", "-i", str(archive)).returncode == 0
    assert _run(store, "run", "travels", "cat", "/w/b.txt").stdout == "from the archive\n"


def test_of_eight_builds_at_once_one_runs_the_step_that_all_need(store: Path, tmp_path: Path) -> None:
    apps = []
    for number in range(8):
        app = tmp_path / f"app{number}"
        app.mkdir()
        text = "FROM base:1\nRUN sleep 0.5 && echo shared-by-eight > /s\nCOPY mine /m\nRUN cat /s /m\n"
        (app / "Dockerfile").write_text(text, encoding="utf-8")
        (app / "mine").write_text(f"{number}\n", encoding="utf-8")
        apps.append(app)

    builds = [_start(store, "build", "--json", "--no-cache-filter", "nobody", "--network", "none", str(app)) for app in apps]
    records: list[dict[str, Any]] = []
    for build in builds:
        out, err = build.communicate(timeout=360)
        assert build.returncode == 0, err
        records.append(json.loads(out))

    shared = [record["steps"][1]["status"] for record in records]
    assert sorted(shared) == ["cached"] * 7 + ["executed"]
    assert all(record["steps"][3]["status"] == "executed" for record in records)
    assert _run(store, "verify").returncode == 0


def test_one_changed_byte_is_found_named_and_not_built_upon(store: Path, tmp_path: Path) -> None:
    app = _app(tmp_path / "app")
    # Layers that no other image of this store shares.
    (app / "a.txt").write_text("bitten\n", encoding="utf-8")
    assert _run(store, "build", "-q", "-t", "bitten", "--network", "none", str(app)).returncode == 0
    with EmbeddedEngine(str(store)) as engine:
        diff_id = engine.image_config("bitten")["rootfs"]["diff_ids"][4]
        victim = Path(engine.store.path, engine.store.layer_path(diff_id), "w", "big")
    status = victim.stat()
    with victim.open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))

    checked = _run(store, "verify", "--json")
    assert checked.returncode == 1
    (damage,) = json.loads(checked.stdout)["damaged"]
    assert damage["digest"] == diff_id
    assert "bitten:latest" in damage["images"]

    (app / "Dockerfile").write_text("FROM bitten\nRUN echo on top\n", encoding="utf-8")
    refused = _run(store, "build", "--network", "none", str(app))
    assert refused.returncode == 1
    assert f"layer {diff_id} in the store is damaged" in refused.stderr

    (app / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    mended = _run(store, "build", "--no-cache", "-t", "bitten", "--network", "none", str(app))
    assert mended.returncode == 0, mended.stderr
    # Nothing needs the damaged layer any more, so prune takes it away.
    assert _run(store, "prune").returncode == 0
    assert _run(store, "verify").returncode == 0
