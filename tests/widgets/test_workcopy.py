"""The files that a widget shows: which they are, and that nobody's work is written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerlab.errors import UsageError
from layerlab.widgets.workcopy import WorkCopy


def test_what_was_changed_elsewhere_is_not_written_over(app: Path) -> None:
    """Not by what was typed without having seen it. Once it was read, it may be."""
    file = app / "src" / "index.ts"
    copy = WorkCopy(str(app))
    copy.read()
    copy.write("src/index.ts", "// mine\n")
    file.write_text("// theirs\n", encoding="utf-8")
    with pytest.raises(UsageError, match="changed elsewhere"):
        copy.write("src/index.ts", "// mine, and more\n")
    assert file.read_text(encoding="utf-8") == "// theirs\n"
    assert copy.read()["src/index.ts"] == "// theirs\n"
    copy.write("src/index.ts", "// after a look\n")
    assert file.read_text(encoding="utf-8") == "// after a look\n"
    file.write_text("// theirs again\n", encoding="utf-8")
    copy.write("src/index.ts", "// on purpose\n", replace=True)
    assert file.read_text(encoding="utf-8") == "// on purpose\n"


def test_a_file_that_was_removed_elsewhere_is_made_again(app: Path) -> None:
    copy = WorkCopy(str(app))
    copy.read()
    (app / "src" / "index.ts").unlink()
    copy.write("src/index.ts", "// back\n")
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// back\n"


def test_many_files_leave_room_for_the_dockerfile(app: Path) -> None:
    """The others are cut, after what is no text was left out."""
    for number in range(150):
        (app / f"picture{number}.png").write_bytes(b"\x89PNG\0")
        (app / "src" / f"{number}.ts").write_text("//\n", encoding="utf-8")
    names = list(WorkCopy(str(app)).read())
    assert len(names) == 100
    assert names[-2:] == ["Dockerfile", "Dockerfile.other"]
    assert sum(name.startswith("src/") for name in names) > 90
