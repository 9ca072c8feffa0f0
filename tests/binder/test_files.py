"""What ``binder/`` says, and that README leads there."""

from __future__ import annotations

import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .image import ROOT, apt_packages

BINDER = ROOT / "binder"


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BINDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_has_the_badge_and_a_link_for_each_notebook_of_the_setting() -> None:
    done = subprocess.run([sys.executable, str(BINDER / "links.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "course").glob("*.ipynb"):
        assert f"?labpath=course%2F{path.name})" in readme


def test_the_setting_is_the_only_place_that_names_the_repository(tmp_path: Path) -> None:
    links = _module("links")
    (tmp_path / "pyproject.toml").write_text('[tool.layerlab]\nbinder = "somebody/else/v1/x"\n', encoding="utf-8")
    assert links.link("01-run-it-once.ipynb", tmp_path).endswith("/v2/gh/somebody/else/v1%2Fx?labpath=course%2F01-run-it-once.ipynb")
    (tmp_path / "pyproject.toml").write_text('[tool.layerlab]\nbinder = "no reference"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="OWNER/NAME/REF"):
        links.repository(tmp_path)


def test_what_pip_installs_is_what_the_root_pins() -> None:
    # By reference, so that nothing can differ; repo2docker reads no other requirements where there is a folder binder/.
    lines = [line for line in (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert sorted(lines) == ["-c ../constraints.txt", "-r ../requirements.txt"]


def test_the_python_is_one_that_the_package_allows() -> None:
    match = re.fullmatch(r"python-3\.(\d+)\n", (BINDER / "runtime.txt").read_text(encoding="utf-8"))
    assert match is not None
    assert int(match[1]) >= 11


def test_the_executor_and_what_the_stand_in_needs_come_from_apt() -> None:
    assert {"proot", "procps", "libatomic1"} <= set(apt_packages())


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_the_scripts_can_be_executed_and_have_no_errors_of_syntax(name: str) -> None:
    assert os.access(BINDER / name, os.X_OK)
    subprocess.run(["bash", "-n", str(BINDER / name)], check=True)


def test_start_runs_its_arguments_with_the_prepared_store() -> None:
    command = 'echo "$LAYERLAB_SNAPSHOTTER $LAYERLAB_ENGINE $1"'
    done = subprocess.run(
        [str(BINDER / "start"), "bash", "-c", command, "bash", "two words"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": "/nonexistent"},
    )
    assert done.stdout == "copy embedded two words\n"


def test_repo2docker_accepts_it() -> None:
    """The Dockerfile that repo2docker would build: our Python, our packages, our scripts, and everything as the user."""
    program = os.environ.get("REPO2DOCKER") or shutil.which("jupyter-repo2docker")
    if program is None:
        pytest.skip("jupyter-repo2docker is not installed (pip install jupyter-repo2docker; REPO2DOCKER names its program)")
    # As a user's own: of a folder that is used by root, everything would belong to root.
    command = [program, "--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=360)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Building conda environment for python=3.11" in said
    assert f"install --yes --no-install-recommends {' '.join(sorted(apt_packages()))}" in said
    copied = said.index("COPY --chown=1000:1000 src/ ${REPO_DIR}/")
    installed = said.index('pip install --no-cache-dir -r "binder/requirements.txt"')
    # The file names others, so it is of use only when they are there.
    assert copied < installed < said.index("RUN ./binder/postBuild")
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in said


class _Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('Accept')}".encode()
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Type", "text/x-answer")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _get(url: str, accept: str = "*/*") -> str:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_the_npm_mirror_answers_from_its_folder_when_the_registry_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = _module("npm_mirror")
    registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    monkeypatch.setattr(mirror, "upstream", lambda: f"http://127.0.0.1:{registry.server_address[1]}")
    served = mirror.Mirror(tmp_path)
    for server in (registry, served):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    short, long = "application/vnd.npm.install-v1+json", "application/json"
    try:
        first = {accept: _get(f"{served.address}/express", accept) for accept in (short, long)}
        assert first == {short: f"/express {short}", long: f"/express {long}"}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _get(f"{served.address}/missing")
        registry.shutdown()
        registry.server_close()
        assert {accept: _get(f"{served.address}/express", accept) for accept in (short, long)} == first
        for gone in ("missing", "other"):
            with pytest.raises(urllib.error.HTTPError, match="504"):
                _get(f"{served.address}/{gone}")
    finally:
        served.shutdown()
        served.server_close()
