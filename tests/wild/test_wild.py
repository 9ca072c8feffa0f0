"""The harness itself, on a repository that is made here; the public ones are for ``python -m tests.wild``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .__main__ import Child, differences, main, reason
from .contexts import bases, blank, choose, predicted, sources, unset
from .oracle import neutral
from .repositories import check_out

_FILES = {
    "Dockerfile": "FROM base.example/x:1@sha256:" + "a" * 64 + "\nCOPY app.txt /\nRUN make\n",
    "app.txt": "",
    # Its sources are at the root.
    "docker/api.Dockerfile": "FROM maker AS maker\nFROM base\nCOPY api/main.py /\nCOPY --from=maker /opt/tool* /\n",
    "docker/README.Dockerfile.md": "none",
    "api/main.py": "",
    # Something outside makes one, somebody gives the other.
    "java/Dockerfile": "FROM java\nCOPY target/*.jar target/run /\n",
    "given/Dockerfile": "ARG BASE\nFROM ${BASE}\n",
    "bad/Dockerfile": "FROM x\nNONSENSE\n",
    "made/Dockerfile.template": "FROM {{ image }}\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "someone+thing" / "repo"
    for name, text in _FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(place)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    return place


def _rows(file: Path) -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in map(json.loads, file.read_text().splitlines())}


def test_a_repository_is_examined(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(repository), "--json", str(tmp_path / "found")]) == 0
    rows = _rows(tmp_path / "found")
    assert set(rows) == {name for name in _FILES if "ockerfile" in name and not name.endswith(".md")}
    assert rows["Dockerfile"]["plan"]["steps"] == {"base": 1, "executed": 2}
    assert rows["Dockerfile"]["what_if"]["rows"] == {"certain": 2, "possible": 0, "undecided": 0}
    assert (rows["docker/api.Dockerfile"]["rule"], rows["docker/api.Dockerfile"]["context"]) == ("directory above", ".")
    assert rows["docker/api.Dockerfile"]["plan"]["steps"]["executed"] == 2
    for name in ("java/Dockerfile", "given/Dockerfile"):
        assert "refused" in rows[name]["plan"]
        assert "steps" in rows[name]["made_up"]["plan"], name
    assert rows["bad/Dockerfile"]["check"]["line"] == 2
    printed = capsys.readouterr().out
    assert "a template, not filled in" in printed
    assert "a source is not in the repository" in printed


def test_a_checkout_has_what_the_snapshot_lacks(repository: Path, tmp_path: Path) -> None:
    """Large objects are left out of snapshots."""
    blob = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD:bad/Dockerfile"], check=True, capture_output=True, text=True)
    (repository / ".git" / "objects" / blob.stdout[:2] / blob.stdout[2:].strip()).unlink()
    found = check_out(repository, tmp_path / "scratch")
    assert found.name == "someone+thing"
    assert Path(found.root, "bad/Dockerfile").read_bytes() == b""
    assert Path(found.root, "java/Dockerfile").read_text() == _FILES["java/Dockerfile"]


def test_who_hangs_is_found_and_the_next_file_is_examined(repository: Path, tmp_path: Path) -> None:
    child = Child(tmp_path, 0.001)
    request = {"context": str(repository), "file": str(repository / "Dockerfile"), "phases": ["plan"]}
    try:
        assert "tests/wild/examine.py" in child.ask(request)["plan"]["hang"]
        assert "hang" in child.ask(request)["plan"]
    finally:
        child.close()


def test_sources_are_read_roughly() -> None:
    text = (
        "# escape=\\\nARG D=dist\nARG X\nENV D=$D\nFROM a AS b\nCOPY\t--chown=1\ta b \\\n # c\n  c/ /d\nADD https://x/y z.tar /\n"
        'COPY --from=b q /\nCOPY ["j s", "/"]\nCOPY $D/x ${Y}.conf /\nCOPY <<E /e\nCOPY no /\nE\n'
        "RUN --mount=type=bind,source=s,target=/t x\n"
    )
    assert sources(text) == ["a", "b", "c/", "z.tar", "j s", "dist/x", "*.conf", "s"]
    assert unset(text) == ["Y"]
    assert blank(text) == ["X"]
    assert bases("ARG V=1\nFROM --platform=x Y/a:$V\nFROM b:${V}\nCOPY --from=c.io/d:2 a b\n") == ["b:1", "c.io/d:2"]


def test_where_nothing_has_all_sources_most_of_them_decide(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Dockerfile").write_text("FROM a\nCOPY one two lost /\n")
    (tmp_path / "one").touch()
    found = choose(str(tmp_path), "sub/Dockerfile")
    assert (os.path.realpath(found.path), found.rule, found.lacking) == (os.path.realpath(tmp_path), "most sources", ("two", "lost"))


def test_edits_are_foretold(repository: Path) -> None:
    shutil.rmtree(repository / ".git")
    root = str(repository)
    others = dict.fromkeys(("api/main.py", "docker/README.Dockerfile.md", "given/Dockerfile"), False)
    assert predicted(root, f"{root}/Dockerfile") == {"app.txt": True, **others}
    # Of several stages some may not be needed.
    assert True not in predicted(root, f"{root}/docker/api.Dockerfile").values()


def test_what_only_a_network_could_answer_is_taken_out() -> None:
    text = b"# syntax=docker/dockerfile:1\n# escape=`\n# none\nFROM a@sha256:" + b"0" * 64 + b" AS b\n"
    assert neutral(text) == b"# escape=`\n# syntax:docker/dockerfile:1\n# none\nFROM a AS b\n"
    for kept in (b"# syntax=other/frontend\nFROM a\n", b"# none\n# syntax=docker/dockerfile\nFROM a\n"):
        assert neutral(kept) == kept


def test_differences_are_named() -> None:
    ours = {"warnings": [["A", 1, 1, "x"]], "error": "e", "line": 3}
    assert differences(ours, dict(ours)) == []
    assert differences(ours, {**ours, "line": 4}) == ["line"]
    assert differences(ours, {**ours, "error": "f", "warnings": []}) == ["error", "warnings"]
    assert differences(ours, {**ours, "error": ""}) == ["accepted"]
    assert differences(ours, {"unasked": "x"}) == []


def test_reasons_have_no_names_in_them() -> None:
    row = {"lacking": [], "template": False, "unset": [], "arguments": []}
    refused = {"kind": "dockerfile", "message": "dockerfile parse error on line 3: unknown instruction: XY"}
    assert reason(row, refused) == reason(row, {**refused, "message": "dockerfile parse error on line 14: unknown instruction: XY"})
