"""The offline classroom: what ``fetch`` stores is enough for the lesson's build on a machine without any network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from layerlab.errors import UsageError
from layerlab.offline import Fetched, offline_folder

ROOT = Path(__file__).resolve().parents[1]


def _layerlab(*words: str, store: Path, without_network: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LAYERLAB_STORE": str(store), "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-P", "-m", "layerlab", *words]
    if without_network:
        command = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)


@pytest.mark.slow
@pytest.mark.network
def test_the_lesson_builds_without_a_network_after_fetch(tmp_path: Path) -> None:
    """Without the folder, it cannot; with it, npm installs, and a package that was not fetched is an error that says why."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--net", "--user", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("unshare --net is not allowed here")
    folder = tmp_path / "offline"
    fetched = _layerlab("fetch", "--to", str(folder), "--json", store=tmp_path / "first")
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["folder"] == str(folder)

    app = tmp_path / "app"
    shutil.copytree(ROOT / "node-app", app, ignore=shutil.ignore_patterns("node_modules", "dist"))
    words = ("build", "--json", "--engine", "embedded", "-f", str(app / "Dockerfile.optimized"), str(app))
    store = tmp_path / "store"
    built = _layerlab(*words, store=store, without_network=True, LAYERLAB_OFFLINE=str(folder))
    assert built.returncode == 0, built.stderr
    statuses = {step["instruction"]: step["status"] for step in json.loads(built.stdout)["steps"]}
    assert statuses["RUN npm install"] == statuses["RUN npm run build"] == "executed"

    lock = app / "package-lock.json"
    lock.unlink()
    manifest = json.loads((app / "package.json").read_text(encoding="utf-8"))
    manifest["dependencies"]["left-pad"] = "1.3.0"
    (app / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    lacking = _layerlab(*words, store=store, without_network=True, LAYERLAB_OFFLINE=str(folder))
    assert lacking.returncode == 1
    assert "./lab fetch" in lacking.stderr


def test_a_folder_that_fetch_did_not_fill_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than to look for the network that is not there."""
    monkeypatch.setenv("LAYERLAB_OFFLINE", str(tmp_path))
    with pytest.raises(UsageError, match="is no offline folder"):
        offline_folder()
    monkeypatch.delenv("LAYERLAB_OFFLINE")
    assert offline_folder() is None


def test_images_and_packages_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in the list are relative, so the folder can be carried elsewhere."""
    listed = Fetched(images={"docker.io/library/node:alpine": "images/node-alpine"}, packages="npm", lock="1")
    (tmp_path / "fetched.json").write_bytes(msgspec.json.encode(listed))
    monkeypatch.setenv("LAYERLAB_OFFLINE", str(tmp_path))
    folder = offline_folder()
    assert folder is not None
    assert folder.packages == str(tmp_path / "npm")
    assert folder.image("docker.io/library/node:alpine") == str(tmp_path / "images" / "node-alpine")
    assert folder.image("docker.io/library/other:1") is None
