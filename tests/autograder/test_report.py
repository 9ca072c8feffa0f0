"""The class report: what it sums up, and that nothing a student wrote is more than text in it."""

from __future__ import annotations

import html.parser
from pathlib import Path

import pytest

from autograder.report.pages import write_report
from autograder.report.summary import summarise
from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult, graded, without_score

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e\"'>{{ 7 * 7 }}{% raw %}"


def check(name: str, points: float, message: str = "All is well.") -> CheckResult:
    """A check of ten points."""
    status = {0.0: "failed", 10.0: "passed"}.get(points, "partial")
    return CheckResult(id=name, status=status, points=points, max_points=10.0, message=message)  # type: ignore[arg-type]


def record(*results: SubmissionResult) -> ClassRecord:
    """A class."""
    return ClassRecord(assignment="ps1", seed="s33d", submissions=results)


CLASS = record(
    graded("ada", (check("a", 10.0), check("b", 10.0))),
    graded("ben", (check("a", 0.0, "Dockerfile line 7: npm runs again. Read: this."), check("b", 5.0, "Half."))),
    graded("cleo", (check("a", 0.0, "Dockerfile line 12: npm runs again. Read: that."), check("b", 10.0))),
    graded("dan", (check("a", 0.0, "Nothing is there."), check("b", 0.0, "Nothing is there."))),
    without_score("eva", "rejected", 20.0, "two answers"),
    without_score("finn", "infrastructure-error", 20.0, "disk full"),
)


def test_submissions_without_a_score_count_in_no_mean() -> None:
    """They are neither a zero nor forgotten."""
    found = summarise(CLASS)
    assert (found.graded, found.rejected, found.trouble) == (4, 1, 1)
    assert (found.mean, found.median) == ((20 + 5 + 10 + 0) / 4, 7.5)
    assert sum(found.bands) == 4
    assert (found.bands[0], found.bands[9]) == (1, 1)


def test_the_same_mistake_on_another_line_is_the_same_cause() -> None:
    """Usual causes are found by their words; an answer that has one reason for all stands apart."""
    found = {item.id: item for item in summarise(CLASS).checks}
    assert [(cause.text, cause.students) for cause in found["a"].causes] == [("npm runs again.", ("ben", "cleo"))]
    assert found["a"].counts == {"passed": 1, "failed": 3}
    assert [cause.students for cause in summarise(CLASS).whole] == [("dan",)]


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("field", ["message", "reason", "answer", "student", "check", "seed"])
def test_whatever_stands_in_a_record_is_text_in_the_report(tmp_path: Path, field: str) -> None:
    """In every string that the report shows: markup, template code, control characters."""
    name = HOSTILE if field == "check" else "a"
    result = graded(
        HOSTILE if field == "student" else "ada", (check(name, 0.0, HOSTILE if field == "message" else "No."), check("z", 10.0))
    )
    other = without_score("ben", "rejected", 20.0, HOSTILE if field == "reason" else "why")
    found = ClassRecord(assignment="ps1", seed=HOSTILE if field == "seed" else "s", submissions=(result, other))
    answers = {"Dockerfile": HOSTILE} if field == "answer" else {}
    index = write_report(found, tmp_path / "report", lambda _result: answers)
    pages = sorted((tmp_path / "report").rglob("*.html"))
    assert index in pages
    assert len(pages) == 3
    shown = ""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        shown += text
        parser = _Tags()
        parser.feed(text)
        assert not {tag for tag, _ in parser.tags} & {"script", "img", "iframe", "object", "link"}
        assert not [key for _, attributes in parser.tags for key in attributes if key.startswith("on")]
        links = [attributes["href"] or "" for tag, attributes in parser.tags if tag == "a"]
        assert all(link.startswith(("students/", "../index.html", "#")) for link in links)
        assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "&lt;script&gt;" in shown
    assert "{{ 7 * 7 }}" in shown


def test_the_command_to_replay_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    """A name with a space, and a course elsewhere, are quoted."""
    write_report(record(graded("ada", (check("a", 10.0),))), tmp_path, lambda _result: {}, course="my course")
    page = next((tmp_path / "students").iterdir()).read_text(encoding="utf-8")
    assert "./lab grade ps1 --student ada --seed s33d --no-publish --course &#39;my course&#39;" in page


def test_a_new_report_replaces_the_old(tmp_path: Path) -> None:
    """No page of a student who has left stays behind."""
    write_report(CLASS, tmp_path, lambda _result: {})
    write_report(record(graded("ada", (check("a", 10.0),))), tmp_path, lambda _result: {})
    assert len(list((tmp_path / "students").iterdir())) == 1
