"""Running an installer: how far it is, its last words, and what to do about them."""

import os
import queue
import shutil
import subprocess
import sys
import threading
import time

from launcher.places import CONSTRAINTS, LOG, ROOT, read, say

NETWORK_WORDS = (
    *("name resolution", "name or service not known", "failed to resolve", "dns error", "newconnectionerror", "failed to establish"),
    *("connection refused", "connection reset", "connection aborted", "unreachable", "timed out", "proxyerror", "error sending request"),
)


class SetupError(Exception):
    """The set-up cannot go on; the text says why and what to do."""


def run_installer(name: str, command: list[str]) -> None:
    """Run an installer, show how far it is, keep its output in .venv/lab.log. Raises SetupError with its last words."""
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")}
    # A user's pip settings for elsewhere would install outside .venv.
    for key in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        variables.pop(key, None)
    variables["PIP_USER"] = "0"

    total = sum(1 for line in (read(os.path.join(ROOT, CONSTRAINTS)) or b"").splitlines() if b"==" in line)
    lines: list[str] = []
    progress = Progress(total)
    with open(LOG, "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, close_fds=False
        )
        words: queue.Queue[bytes | None] = queue.Queue()

        def pump() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                words.put(line)
            words.put(None)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while True:
                try:
                    line = words.get(timeout=0.5)
                except queue.Empty:
                    progress.tick()
                    continue
                if line is None:
                    break
                log.write(line)
                lines.append(line.decode("utf-8", "replace").rstrip())
                progress.see(lines[-1])
            code = process.wait()
        except BaseException:
            process.terminate()
            deadline = time.monotonic() + 5
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if process.poll() is None:
                process.kill()
            raise
        finally:
            progress.close()
    if code != 0:
        last = "\n".join("  | " + line for line in lines[-12:]) or "  | (no output)"
        raise SetupError(f"{name} failed (exit code {code}). Its last lines, all of them in {LOG}:\n{last}\n  {remedy(lines)}")


def remedy(lines: list[str]) -> str:
    """The likely cause of an installer's failure, from its own words, and what to do."""
    text = "\n".join(lines).lower()
    if "certificate" in text or "sslerror" in text:
        return (
            "Your network seems to use its own certificates. Point PIP_CERT and SSL_CERT_FILE at its CA bundle "
            "(often /etc/ssl/certs/ca-certificates.crt), then run it again."
        )
    if "no space left" in text or "disk quota" in text:
        return "The disk is full: free about 1 GB, then run it again."
    if "permission denied" in text or "read-only file system" in text:
        return "This folder cannot be written by you: clone the repository where you may write, or correct its owner."
    if any(words in text for words in NETWORK_WORDS):
        return (
            "No package index could be reached. Check the network; behind a proxy set https_proxy; with a mirror set PIP_INDEX_URL "
            "(for uv UV_INDEX_URL). Then run it again."
        )
    if "no matching distribution" in text or "conflicting dependencies" in text or "no solution found" in text:
        return f"A pinned package has no release for this Python ({sys.version.split()[0]}) or this machine; Python 3.11 is the one tested."
    return "Run it again; if it fails the same way, delete the folder .venv and report these lines."


class Progress:
    """One live line on a terminal; elsewhere a plain line whenever the phase changes, and at least every five seconds."""

    def __init__(self, total: int) -> None:

        self._now = time.monotonic
        self._begin = self._spoke = self._now()
        self._total = total
        self._seen: set[str] = set()
        self._phase = ""
        self._item = ""
        self._live = sys.stderr.isatty()

    def see(self, line: str) -> None:
        words = line.split()
        if len(words) > 1 and words[0] in ("Collecting", "Requirement"):
            self._phase = "finding packages"
            self._item = (words[3] if len(words) > 3 and words[1] == "already" else words[1]).split("=")[0].split("<")[0].split(">")[0]
            self._seen.add(self._item)
        elif len(words) > 1 and words[0] == "Downloading":
            self._item = words[1].rsplit("/", 1)[-1].split("-")[0]
        elif line.startswith("Installing collected packages"):
            self._announce(f"installing {line.count(',') + 1} packages")
        elif words and words[0] in ("Resolved", "Prepared", "Installed"):
            self._announce(line.strip().lower())
        elif "Retrying" in line:
            self._announce("the package index does not answer; pip tries again")
        self.tick()

    def tick(self) -> None:
        if self._live:
            self._draw()
        elif self._now() - self._spoke >= 4.5:
            self._print()

    def close(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _announce(self, phase: str) -> None:
        self._phase, self._item = phase, ""
        self._seen.clear()
        if not self._live:
            self._print()

    def _text(self) -> str:
        count = f" {len(self._seen)} of about {self._total}" if self._seen else ""
        return f"{self._phase or 'starting'}{count}{': ' + self._item if self._item else ''} ({self._now() - self._begin:.0f} s)"

    def _draw(self) -> None:

        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[K" + ("lab: " + self._text())[:width])
        sys.stderr.flush()

    def _print(self) -> None:
        self._spoke = self._now()
        say(self._text())
