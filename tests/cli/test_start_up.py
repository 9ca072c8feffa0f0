"""What a build does not need it does not load: the start of a process is most of the time that a build from the cache takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# Of a registry, of Docker, of containers' ports, of notebooks.
UNNEEDED: Final = ("IPython", "asyncio", "docker", "requests", "ssl", "traitlets")

_PROGRAM: Final = """
import sys
from layerlab.cli import main
status = main(sys.argv[1:])
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
sys.exit(status)
"""


def test_a_build_loads_neither_network_nor_docker_nor_notebooks(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("f", encoding="utf-8")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY f /\n", encoding="utf-8")
    words = ["build", "-q", "--engine", "embedded", "--network", "none", "--offline", "--store", str(tmp_path / "store"), str(context)]
    done = subprocess.run([sys.executable, "-P", "-c", _PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.splitlines()}
    assert "layerlab" in loaded
    assert loaded.isdisjoint(UNNEEDED), sorted(loaded & {*UNNEEDED})
