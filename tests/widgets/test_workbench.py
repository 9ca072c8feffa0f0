"""The Workbench without a browser: what cells call, what messages of a page do, what the traits say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import BuildInterruptedError, DockerfileError, UsageError
from layerlab.widgets import Workbench

from .conftest import DOCKERFILE, until


def verdicts(lab: Workbench) -> list[str]:
    return [step["verdict"] for step in lab.steps]


def test_build_edit_build(lab: Workbench, app: Path) -> None:
    assert len(lab.build().executed) == 5
    assert verdicts(lab) == ["base", *["executed"] * 5, "metadata"]
    lab.edit("src/index.ts", "// two\n")
    record = lab.build()
    assert [step.number for step in record.executed] == [5, 6]
    assert "src/index.ts" in lab.steps[4]["why"]
    assert lab.record is record
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// two\n"
    assert [column["ran"] for column in lab.past["columns"]] == [5, 2]
    assert not lab.busy


def test_an_edit_travels_with_the_build(lab: Workbench, app: Path) -> None:
    lab.build()
    lab.receive({"type": "build", "files": {"src/index.ts": "// typed\n"}, "dockerfile": "Dockerfile"})
    record = lab.join()
    assert [step.number for step in record.executed] == [5, 6]
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// typed\n"
    assert lab.files["src/index.ts"] == "// typed\n"


def test_an_edit_during_a_build_waits_for_its_end(lab: Workbench, app: Path) -> None:
    lab.edit("Dockerfile", DOCKERFILE.replace("RUN echo install", "RUN echo begun; sleep 1"))
    lab.start()
    until(lambda: "begun" in lab.log)
    lab.receive({"type": "edit", "files": {"src/index.ts": "// late\n"}})
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// one\n"
    lab.join()
    until(lambda: (app / "src" / "index.ts").read_text(encoding="utf-8") == "// late\n")
    assert [step.number for step in lab.build().executed] == [5, 6]


def test_what_the_page_says_as_a_build_ends_is_heard(lab: Workbench, app: Path) -> None:
    message = {"type": "build", "files": {"src/index.ts": "// just then\n"}, "dockerfile": "Dockerfile"}
    page = threading.Thread(target=lab.receive, args=(message,))

    def ended(_: object) -> None:
        lab.unobserve(ended, "busy")
        page.start()
        # The page is no part of the building thread: give it the time to come in between.
        page.join(0.2)

    lab.start()
    lab.observe(ended, "busy")
    until(lambda: len(lab.past["columns"]) == 2 and not lab.busy)
    page.join(20)
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// just then\n"
    assert [column["ran"] for column in lab.past["columns"]] == [5, 2]


def test_stop(lab: Workbench) -> None:
    lab.edit("Dockerfile", DOCKERFILE.replace("RUN echo install", "RUN echo begun; sleep 60"))
    lab.start()
    with pytest.raises(UsageError, match="already"):
        lab.start()
    until(lambda: "begun" in lab.log)
    lab.receive({"type": "stop"})
    with pytest.raises(BuildInterruptedError):
        lab.join(20)
    assert verdicts(lab) == ["base", "executed", "executed", "stopped", "skipped", "skipped", "metadata"]
    assert lab.status.startswith("Stopped.")
    lab.edit("Dockerfile", DOCKERFILE)
    assert [step.status for step in lab.build().steps][1:4] == ["cached", "cached", "executed"]


def test_what_is_wrong_stands_at_its_line(lab: Workbench) -> None:
    lab.edit("Dockerfile", "FROM base:1\nRUNN x\n")
    until(lambda: lab.plan_problem.get("line") == 2)
    with pytest.raises(DockerfileError):
        lab.build()
    assert lab.problem["line"] == 2
    assert lab.problem["message"].startswith("unknown instruction: RUNN")
    assert lab.past["columns"] == []
    lab.edit("Dockerfile", "FROM base:1\nRUN echo last words; exit 3\n")
    assert lab.build().failure is not None
    assert (lab.problem["line"], lab.problem["log"]) == (2, "last words")
    until(lambda: lab.plan_problem == {})


def test_the_matrix_follows_the_typing(lab: Workbench) -> None:
    def runs() -> dict[str, int]:
        return {row["edit"]: row["runs"] for row in lab.what_if["rows"]}

    until(lambda: runs() == {"src/index.ts": 2, "package.json": 4, "README.md": 0, "src/new-file.ts": 2})
    typed = DOCKERFILE.replace("COPY package.json .", "COPY src .")
    lab.receive({"type": "edit", "files": {"Dockerfile": typed}, "dockerfile": "Dockerfile"})
    until(lambda: runs()["src/index.ts"] == 4)
    edit, plan = lab.matrix()[0]
    assert (edit, sum(step.status == "executed" for step in plan.steps)) == ("src/index.ts", 4)


def test_another_dockerfile(lab: Workbench) -> None:
    assert lab.dockerfiles == ["Dockerfile", "Dockerfile.other"]
    lab.receive({"type": "choose", "dockerfile": "Dockerfile.other", "files": {}})
    assert len(lab.build().steps) == 2
    lab.choose("Dockerfile")
    with pytest.raises(UsageError, match=r"Dockerfile\.none"):
        lab.choose("Dockerfile.none")


def test_no_verdicts_of_the_dockerfile_before(lab: Workbench) -> None:
    seen: list[tuple[object, object]] = []
    lab.observe(lambda _: seen.append((lab.forecast, lab.what_if["rows"])), "dockerfile")
    for choose in (lab.choose, lambda name: lab.receive({"type": "choose", "dockerfile": name, "files": {}})):
        for name in ("Dockerfile.other", "Dockerfile"):
            until(lambda: bool(lab.forecast and lab.what_if["rows"]))
            choose(name)
    assert seen == [([], [])] * 4
    until(lambda: bool(lab.forecast and lab.what_if["rows"]))


def test_messages_cannot_name_other_files(lab: Workbench, app: Path) -> None:
    lab.receive({"type": "edit", "files": {"../outside": "x", "/etc/passwd": "x", "package.json": 7}, "dockerfile": "../x"})
    lab.receive({"type": "edit", "files": None})
    for files in ([], ["package.json"], "package.json", 7, {"package.json": None}):
        lab.receive({"type": "edit", "files": files})
    lab.receive({"type": "nonsense"})
    lab.receive({"type": ["edit"], "files": {}, "dockerfile": {}})
    assert not lab.problem
    assert not (app.parent / "outside").exists()
    assert lab.dockerfile == "Dockerfile"
    with pytest.raises(UsageError, match="is not in"):
        lab.edit("../outside", "x")


def test_files_changed_elsewhere_are_read_again(lab: Workbench, app: Path) -> None:
    lab.build()
    (app / "src" / "index.ts").write_text("// by another program\n", encoding="utf-8")
    assert len(lab.build().executed) == 2
    assert lab.files["src/index.ts"] == "// by another program\n"


def test_line_ends_and_modes_stay(lab: Workbench, app: Path) -> None:
    (app / "run.sh").write_bytes(b"one\r\ntwo\r\n")
    (app / "run.sh").chmod(0o755)
    lab.reload()
    assert lab.files["run.sh"] == "one\ntwo\n"
    lab.receive({"type": "edit", "files": {"run.sh": "one\nthree\n"}})
    assert (app / "run.sh").read_bytes() == b"one\r\nthree\r\n"
    assert (app / "run.sh").stat().st_mode & 0o777 == 0o755


def parts(link: dict[str, Any]) -> dict[str, str]:
    """The digests that a key is made of, by what they are of."""
    return {part["name"]: part["digest"] for part in link["parts"]}


def changed(lab: Workbench) -> list[int]:
    return [link["number"] for link in lab.chain if link["changed"]]


def test_a_byte_that_is_typed_changes_one_key_and_all_above_it(lab: Workbench) -> None:
    """Each key holds that of the step before; undone, all are as they were."""
    lab.build()
    until(lambda: bool(lab.chain) and not changed(lab))
    before = {link["number"]: link for link in lab.chain}
    assert [number for number, link in before.items() if not link["key"]] == [7]
    for number in (2, 3, 4, 5, 6):
        assert parts(before[number])["Step before"] == before[number - 1]["key"]
    lab.receive({"type": "edit", "files": {"src/index.ts": "// two\n"}, "dockerfile": "Dockerfile"})
    until(lambda: changed(lab) == [5, 6])
    now = {link["number"]: link for link in lab.chain}
    # The COPY for what it reads, the RUN for what it builds on; what they say is the same.
    assert [name for name in parts(now[5]) if parts(now[5])[name] != parts(before[5])[name]] == ["Files"]
    assert [name for name in parts(now[6]) if parts(now[6])[name] != parts(before[6])[name]] == ["Step before"]
    lab.receive({"type": "edit", "files": {"src/index.ts": "// one\n"}, "dockerfile": "Dockerfile"})
    until(lambda: not changed(lab))
    # A build makes what is typed the measure.
    lab.edit("Dockerfile", DOCKERFILE.replace("RUN echo install", "RUN echo again"))
    until(lambda: changed(lab) == [4, 5, 6])
    lab.build()
    until(lambda: not changed(lab))


def test_without_a_browser_it_is_text(lab: Workbench) -> None:
    assert "not built yet" in lab.text()
    data, _ = lab._repr_mimebundle_()
    assert "nothing had been built in it" in data["text/html"]
    assert "COPY . .\n" in data["text/html"]
    lab.edit("Dockerfile", "FORM base:1\n")
    until(lambda: bool(lab.plan_problem))
    data, _ = lab._repr_mimebundle_()
    assert "FORM base:1" in data["text/html"]
    assert "unknown instruction" in data["text/html"]
    assert "<table>" not in data["text/html"]
    lab.edit("Dockerfile", DOCKERFILE)
    lab.build()
    data, _ = lab._repr_mimebundle_()
    assert "COPY . ." in data["text/plain"]
    assert "<b>5.</b> <code>COPY . .</code> — ↻ ran" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_what_it_is_asked_for_must_be_there(app: Path, engine: EmbeddedEngine) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        Workbench(str(app / "none"), engine=engine)
    with pytest.raises(UsageError, match=r"there is no Dockerfile\.none"):
        Workbench(str(app), engine=engine, dockerfile="Dockerfile.none")
    with pytest.raises(UsageError, match="there is no file none"):
        Workbench(str(app), engine=engine, files=["none"])


def test_large_and_binary_files_are_left_out(app: Path, engine: EmbeddedEngine) -> None:
    (app / "large.txt").write_text("x" * 300_000, encoding="utf-8")
    (app / "binary").write_bytes(b"\0\xff")
    (app / "node_modules").mkdir()
    (app / "node_modules" / "x.js").write_text("x", encoding="utf-8")
    lab = Workbench(str(app), engine=engine, offline=True)
    assert set(lab.files) == {"src/index.ts", "README.md", "package.json", ".dockerignore", "Dockerfile", "Dockerfile.other"}
    lab.close()


def test_a_file_that_cannot_be_written_costs_no_other_one(lab: Workbench, app: Path) -> None:
    lab.receive({"type": "edit", "files": {"README.md": "half \ud83d", "src/index.ts": "// kept\n", "package.json": "{} \n"}})
    assert "half a character" in lab.problem["message"]
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// kept\n"
    assert (app / "package.json").read_text(encoding="utf-8") == "{} \n"
    lab.receive({"type": "build", "files": {"README.md": "whole \U0001f600"}})
    lab.join()
    assert (app / "README.md").read_text(encoding="utf-8") == "whole \U0001f600"
    assert not lab.problem


def test_no_link_leads_out(app: Path, engine: EmbeddedEngine) -> None:
    outside = app.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n", encoding="utf-8")
    (app / "link").symlink_to(outside / "secret")
    (app / "folder").symlink_to(outside)
    (app / "inner").symlink_to("package.json")
    made = Workbench(str(app), engine=engine, offline=True)
    try:
        assert "link" not in made.files
        made.files = {**made.files, "link": "", "folder/secret": "", "../outside/secret": ""}
        made.receive({"type": "edit", "files": dict.fromkeys(("link", "folder/secret", "../outside/secret", "a\0"), "x")})
        for name in ("link", "folder/new", "a\0"):
            with pytest.raises(UsageError, match="is not in"):
                made.edit(name, "x")
        made.edit("inner", "{ }\n")
        assert (app / "inner").is_symlink()
        assert (app / "package.json").read_text(encoding="utf-8") == "{ }\n"
        assert [path.read_text(encoding="utf-8") for path in outside.iterdir()] == ["secret\n"]
    finally:
        made.close()


def test_a_dockerfile_that_goes_away_is_said(lab: Workbench, app: Path) -> None:
    (app / "Dockerfile").unlink()
    lab.receive({"type": "build", "files": {}})
    with pytest.raises(UsageError, match="failed to read dockerfile"):
        lab.join()
    until(lambda: "no Dockerfile to read" in lab.plan_problem.get("message", ""))
    (app / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    assert lab.build().failure is None


def test_who_comes_back_sees_what_was_changed_elsewhere(lab: Workbench, app: Path) -> None:
    """Before anything is typed; and what is typed all the same is not written over it."""
    (app / "src" / "index.ts").write_text("// theirs\n", encoding="utf-8")
    lab.receive({"type": "look"})
    assert lab.files["src/index.ts"] == "// theirs\n"
    (app / "src" / "index.ts").write_text("// theirs, later\n", encoding="utf-8")
    lab.receive({"type": "edit", "files": {"src/index.ts": "// mine\n"}})
    assert "changed elsewhere" in lab.problem["message"]
    assert (app / "src" / "index.ts").read_text(encoding="utf-8") == "// theirs, later\n"
    assert lab.files["src/index.ts"] == "// mine\n"


def test_half_a_name_is_fetched_by_a_build_only(lab: Workbench) -> None:
    until(lambda: bool(lab.forecast))
    lab.receive({"type": "edit", "files": {"Dockerfile": "FROM other:2\nRUN echo one\n"}})
    until(lambda: "other:2 is not here yet" in lab.plan_problem.get("message", ""))
    assert lab.plan_problem["remedy"] == "A build fetches it."
