"""What a person types, and what comes back: output, exit status, JSON."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from layerlab.model import BuildRecord, PlanRecord

from .conftest import ROOT, Cli


def _build(cli: Cli, *more: str) -> BuildRecord:
    answer = cli("build", "--network", "none", "--json", *more, "app")
    assert answer.status == 0, answer.err
    return msgspec.json.decode(answer.out, type=BuildRecord)


def test_a_build_says_what_ran_what_was_reused_and_why(cli: Cli, app: Path) -> None:
    first = cli("build", "-t", "x", "--network", "none", "app")
    assert first.status == 0, first.err
    assert "5 of 5 steps ran" in first.out

    again = cli("build", "-t", "x", "--network", "none", "app")
    assert "Nothing had to run, 5 came from the cache" in again.out

    (app / "src" / "index.ts").write_text(f"// other {app}\n", encoding="utf-8")
    edited = cli("build", "-t", "x", "--network", "none", "app")
    assert "2 of 5 steps ran, 3 came from the cache" in edited.out
    assert "src/index.ts changed." in edited.out
    assert "it builds on step 5 (COPY . .)" in " ".join(edited.out.split())


def test_the_json_of_a_build_is_its_record(cli: Cli, app: Path) -> None:
    _build(cli, "-t", "x")
    (app / "src" / "index.ts").write_text(f"// other {app}\n", encoding="utf-8")

    record = _build(cli, "-t", "x")

    assert [step.instruction for step in record.executed] == ["COPY . .", "RUN npm run build"]
    causes = [step.cause for step in record.executed]
    assert causes[0] is not None
    assert causes[1] is not None
    assert (causes[0].kind, causes[0].origin, causes[0].paths) == ("file", 5, ("src/index.ts",))
    assert (causes[1].kind, causes[1].origin) == ("parent", 5)
    assert record.image is not None
    assert record.schema == 1


def test_a_plan_runs_nothing_and_foretells_the_build(cli: Cli, app: Path) -> None:
    _build(cli)

    answer = cli("plan", "--network", "none", "--edit", "src/index.ts", "--json", "app")
    plan = msgspec.json.decode(answer.out, type=PlanRecord)
    assert [step.instruction for step in plan.steps if step.status == "executed"] == ["COPY . .", "RUN npm run build"]

    unchanged = msgspec.json.decode(cli("plan", "--network", "none", "--json", "app").out, type=PlanRecord)
    assert not [step for step in unchanged.steps if step.status == "executed"]

    (app / "src" / "index.ts").write_text(f"// other {app}\n", encoding="utf-8")
    record = _build(cli)
    assert [step.instruction for step in record.executed] == ["COPY . .", "RUN npm run build"]


def test_a_plan_names_an_edit_by_any_path_that_leads_to_it(cli: Cli, app: Path) -> None:
    inside = cli("plan", "--edit", "src/index.ts", "app")
    outside = cli("plan", "--edit", "app/src/index.ts", "app")

    assert "src/index.ts changed." in inside.out
    assert inside.out == outside.out


def test_the_matrix_has_every_file_and_like_ones_in_one_row(cli: Cli, app: Path) -> None:
    answer = cli("plan", "--matrix", "--json", "app")

    matrix = {tuple(row["files"]): [step["status"] for step in row["plan"]["steps"]] for row in answer.json()["matrix"]}
    assert matrix == {
        ("Dockerfile", "src/index.ts"): ["base", "cached", "cached", "cached", "executed", "executed", "metadata"],
        ("package.json",): ["base", "cached", "executed", "executed", "executed", "executed", "metadata"],
    }
    assert "  Dockerfile, src/index.ts  " in cli("plan", "--matrix", "app").out


def test_explain_tells_the_last_misses_even_after_a_build_without_any(cli: Cli, app: Path) -> None:
    _build(cli)
    (app / "package.json").write_text('{"a": 1}\n', encoding="utf-8")
    _build(cli)
    _build(cli)

    answer = cli("explain", "app")

    assert answer.status == 0
    assert "package.json changed." in answer.out
    assert "The misses began at step 3" in answer.out


def test_explain_before_any_build_says_so_and_plans(cli: Cli, app: Path) -> None:
    answer = cli("explain", "app")

    assert answer.status == 0
    assert "No build of this Dockerfile and build context is known yet" in answer.out


def test_history_has_docker_s_rows(cli: Cli, app: Path) -> None:
    _build(cli, "-t", "hist")

    answer = cli("history", "hist")
    assert 'CMD ["node" "dist/index.js"]' in answer.out
    assert "RUN /bin/sh -c npm run build # buildkit" in answer.out

    rows = cli("history", "--json", "hist").json()["history"]
    assert [row["empty_layer"] for row in rows] == [True, False, False, False, False, False, False]


def test_a_failing_step_is_shown_with_its_output_and_place(cli: Cli, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM base:1\nRUN echo before\nRUN echo words-of-the-step && exit 3\n", encoding="utf-8")

    answer = cli("build", "--network", "none", "app")

    assert answer.status == 1
    assert "words-of-the-step" in answer.err
    assert (
        'app/Dockerfile:3: error: process "/bin/sh -c echo words-of-the-step && exit 3" did not complete successfully: exit code: 3'
        in answer.err
    )
    assert "FAILED" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "nowhere"), "the build context nowhere does not exist"),
        (("build", "-f", "nowhere", "app"), "failed to read dockerfile: open nowhere: no such file or directory"),
        (("build", "--target", "nowhere", "app"), 'target stage "nowhere" could not be found'),
        (("build", "--platform", "plan9/mips", "app"), "--platform plan9/mips is not supported"),
        (("build", "--secret", "src=x", "app"), "it has no id"),
        (("history", "nowhere"), "No such image: nowhere"),
        (("plan", "--edit", "../outside", "app"), "is not in the build context"),
        (("biuld", "app"), "there is no verb 'biuld' (did you mean build?); `layerlab --help` lists them"),
        (("grad", "ps1"), "there is no verb 'grad' (did you mean grade?)"),
        (("nonsense",), "there is no verb 'nonsense'; `layerlab --help` lists them"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_message_and_status_2(cli: Cli, app: Path, arguments: tuple[str, ...], words: str) -> None:
    answer = cli(*arguments)

    assert answer.status == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--cache-from", "a"), "--cache-from is not supported by the embedded engine"),
        (("--ssh", "default"), "--ssh is not supported by the embedded engine"),
        (("--add-host=a:1.2.3.4",), "--add-host is not supported by the embedded engine"),
        (("--build-context", "a=b"), "--build-context is not supported\n  Build that folder to an image first"),
        (("-o", "out"), "--output is not supported\n  Build with -t, then: layerlab save"),
        (("--output=type=local,dest=out",), "--output is not supported"),
        (("--push",), "--push is not supported\n  Build with -t, then: layerlab push"),
        (("--load", "--call=outline"), "--call is not supported\n  For the checks: --check"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_flag_of_docker_s_is_refused_with_what_to_do(cli: Cli, app: Path, flags: tuple[str, ...], words: str) -> None:
    answer = cli("build", *flags, "app")

    assert answer.status == 2
    assert words in answer.err


def test_flags_that_do_nothing_in_docker_do_nothing(cli: Cli, app: Path) -> None:
    assert cli("build", "--load", "--rm", "--force-rm", "--compress", "--network", "none", "app").status == 0


def test_a_bad_dockerfile_is_status_2_with_its_line_also_as_json(cli: Cli, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM base:1\nRUNN true\n", encoding="utf-8")

    plain = cli("build", "app")
    assert plain.status == 2
    assert "app/Dockerfile:2:1: error: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)" in plain.err

    error = cli("build", "--json", "app").json()["error"]
    assert (error["kind"], error["file"], error["line"]) == ("dockerfile", "app/Dockerfile", 2)


def test_what_a_step_prints_cannot_drive_the_terminal(cli: Cli, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM base:1\nRUN printf '\\033[2J\\033]0;owned\\007visible\\n'\n", encoding="utf-8")

    answer = cli("build", "--network", "none", "app")

    assert "visible" in answer.err
    assert "\x1b" not in answer.err + answer.out


def test_doctor_says_what_this_machine_gets(cli: Cli) -> None:
    found = cli("doctor", "--json").json()

    assert found["works"] is True
    assert found["executor"] == "bwrap"
    assert found["snapshotter"] in ("overlay", "copy")
    assert found["ids"] in ("full", "single")


def test_every_verb_has_help(cli: Cli) -> None:
    for verb in ("build", "plan", "explain", "history", "demo", "doctor"):
        answer = cli(verb, "--help")
        assert answer.status == 0
        assert "usage:" in answer.out


@pytest.mark.parametrize("verb", ["images", "ps", "history base:1", "layers base:1", "tag base:1 other:1", "rmi other:1"])
def test_every_json_document_names_its_engine(cli: Cli, verb: str) -> None:
    cli("tag", "base:1", "other:1")
    said = cli(*verb.split(), "--json", "--engine", "embedded").json()
    assert (said["schema"], said["engine"]) == (1, "embedded")


def test_reports_name_their_engine(cli: Cli, app: Path) -> None:
    flags = (str(app), "--network", "none", "--engine", "embedded")
    reports = [cli(*words, *flags) for words in (("explain",), ("plan",), ("plan", "--matrix"), ("build",), ("explain",))]
    for report in reports:
        assert "embedded engine" in report.out


def test_who_reads_along_is_told_the_engine(cli: Cli, base_store: Path) -> None:
    """On a terminal, on a line of its own; in a pipe a verb's standard error stays as it is."""
    assert cli("images").err == ""
    main_end, terminal = pty.openpty()
    command = [sys.executable, "-P", "-m", "layerlab", "images", "--engine", "embedded"]
    environment = {**os.environ, "LAYERLAB_STORE": str(base_store), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, check=True)
    assert done.stdout.startswith("REPOSITORY")
    assert os.read(main_end, 1000) == b"embedded engine\r\n"
    os.close(terminal)
    os.close(main_end)


def test_an_image_id_that_cannot_be_written(cli: Cli, app: Path) -> None:
    done = cli("build", "-q", "--iidfile", "nowhere/id", str(app))
    assert (done.status, "Traceback" in done.err) == (2, False)
    assert "nowhere/id cannot be written" in done.err


def test_an_image_gets_all_the_names_that_it_is_given(cli: Cli, app: Path) -> None:
    image = cli("build", "-q", "-t", "one", "-t", "two:2", str(app)).out.strip()
    assert [row["id"] for row in cli("images", "--json").json()["images"] if row["name"] in ("one:latest", "two:2")] == [image] * 2
    done = cli("build", "-t", "three", "-t", "Not:a:name", str(app))
    assert (done.status, "invalid reference format" in done.err) == (2, True)


def test_a_secret_is_never_cut(cli: Cli, app: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (500 * 1024 + 1))
    done = cli("build", "--secret", "id=a,src=large", str(app))
    assert done.status == 2
    assert "larger than 500 kB" in done.err


def test_a_name_that_is_not_there_does_not_keep_the_others_from_it(cli: Cli) -> None:
    assert cli("tag", "base:1", "one").status == 0
    done = cli("rmi", "nobody", "one")
    assert done.status == 2
    assert done.out.startswith("Untagged: one:latest")
    assert "No such image: nobody" in done.err


def test_keeping_more_than_there_can_be(cli: Cli) -> None:
    assert cli("prune", "--keep", "9" * 400, "--json").json()["layers"] == 0
