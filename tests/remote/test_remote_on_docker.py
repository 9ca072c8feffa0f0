"""The same story on Docker, read from its own progress."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .scenarios import STORY
from .server import Server


@pytest.mark.docker
def test_the_story(daemon: str, server: Server, tmp_path: Path) -> None:
    """The step of an ADD is the last of its vertexes; those before it fetch."""
    subprocess.run(["docker", "builder", "prune", "--all", "--force"], check=True, capture_output=True)
    (tmp_path / "z").write_text("z", encoding="utf-8")
    for chapter in STORY:
        server.files.update(chapter.files)
        server.asked.clear()
        (tmp_path / "Dockerfile").write_text(chapter.dockerfile.replace("SERVER", server.url), encoding="utf-8")
        done = subprocess.run(["docker", "buildx", "build", "--progress=plain", str(tmp_path)], capture_output=True, text=True, check=False)
        if chapter.ends in ("ran", "cached"):
            assert done.returncode == 0, (chapter.title, done.stderr)
            copies = re.findall(r"^#(\d+) \[2/2\] COPY", done.stderr, re.MULTILINE)
            # What stands on an ADD is cached exactly where that is.
            assert len(copies) == 1, chapter.title
            assert (f"#{copies[0]} CACHED" in done.stderr) == (chapter.ends == "cached"), chapter.title
        else:
            assert done.returncode != 0, chapter.title
            assert chapter.ends in done.stderr, chapter.title
        if chapter.title != "a checksum that fits does not count":
            # There Docker fetches what it has under the address without a checksum.
            assert [line.split()[0] for line in server.asked] == chapter.asked, chapter.title
