"""Files in memory of builds that run side by side: none takes another's for what a killed build has left."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from layerlab.engines.embedded.executors.memory_files import memory_file

SWEEPS = "from layerlab.engines.embedded.executors.memory_files import sweep\nprint(flush=True)\nwhile True: sweep()"


def test_a_file_that_was_just_made_is_not_swept(tmp_path: Path) -> None:
    """Not even between its making and its locking."""
    with subprocess.Popen([sys.executable, "-c", SWEEPS], stdout=subprocess.PIPE) as sweeper:
        try:
            assert sweeper.stdout is not None
            sweeper.stdout.readline()
            for _ in range(2000):
                with contextlib.ExitStack() as stack:
                    path = Path(memory_file(b"secret", 0o600, str(tmp_path), stack))
                    assert path.read_bytes() == b"secret"
                assert not path.exists()
        finally:
            sweeper.kill()
