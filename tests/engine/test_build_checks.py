"""What a build says of its Dockerfile: the words of the build checks, for the stages that were needed."""

from __future__ import annotations

import pytest

from layerlab.engines import build_checks
from layerlab.errors import DockerfileError
from layerlab.render import build_summary

from .conftest import Lab, verdicts

_TWO_STAGES = "FROM base:1 AS one\nMAINTAINER nobody\nFROM base:1 AS two\nENV A b\nRUN true\n"


def test_the_record_has_what_the_checks_object_to(lab: Lab) -> None:
    record = lab.build(_TWO_STAGES)
    assert [(warning.rule, warning.line, warning.end_line) for warning in record.checks] == [
        ("MaintainerDeprecated", 2, 2),
        ("LegacyKeyValueFormat", 4, 4),
    ]
    assert verdicts(record) == ["executed"]


def test_a_stage_that_is_not_needed_is_not_gone_into(lab: Lab) -> None:
    assert [warning.rule for warning in lab.build(_TWO_STAGES, target="one").checks] == ["MaintainerDeprecated"]


@pytest.mark.parametrize(("number", "heading"), [(1, "1 warning found ("), (20, "20 warnings found ("), (23, "23 warnings found (")])
def test_they_come_last_and_not_without_end(lab: Lab, number: int, heading: str) -> None:
    lines = build_summary(lab.build("FROM base:1\n" + "ENV A b\n" * number)).splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith(heading))
    listed = min(number, 20)
    rule = 'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format'
    assert lines[at - 1] == ""
    assert lines[at + 1 :] == [f" - {rule} (line {line})" for line in range(2, listed + 2)] + [" - and 3 more"] * (number > listed)


def test_there_is_nothing_about_a_file_without_fault(lab: Lab) -> None:
    assert "warning" not in build_summary(lab.build("FROM base:1\nRUN true\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("# check=error=true", "lint violation found for rules: LegacyKeyValueFormat, MaintainerDeprecated"),
        ("# check=skip=LegacyKeyValueFormat;error=true", "lint violation found for rules: MaintainerDeprecated"),
        ("# check=foo", 'failed to parse check options: invalid check option "foo"'),
    ],
)
def test_an_error_stops_the_build_before_its_first_step(lab: Lab, line: str, message: str) -> None:
    lab.build(_TWO_STAGES)
    for ask in (lab.plan, lab.build):
        with pytest.raises(DockerfileError) as caught:
            ask(f"{line}\n{_TWO_STAGES}RUN echo more\n")
        assert caught.value.message == message
        assert caught.value.file is not None
    # Nothing of it was run: it runs now.
    assert verdicts(lab.build(f"{_TWO_STAGES}RUN echo more\n")) == ["cached", "executed"]


@pytest.mark.parametrize(
    ("head", "arguments"),
    [
        ("ARG BUILDPLATFORM\nFROM --platform=$BUILDPLATFORM base:1\n", {}),
        ("ARG P=linux/$TARGETARCH\nFROM --platform=$P base:1\n", {}),
        ("ARG P\nFROM --platform=$P base:1\n", {"P": "linux"}),
        ("FROM --platform=$TARGETPLATFORM base:1\n", {}),
    ],
)
def test_a_platform_that_is_asked_for_in_whatever_way_is_no_trouble(lab: Lab, head: str, arguments: dict[str, str]) -> None:
    assert lab.build(head + "RUN true\n", build_args=arguments).image


def test_checks_stop_nothing_that_older_verdicts_allow(lab: Lab) -> None:
    lab.file("f", "f")
    assert lab.build("FROM base:1\nCOPY --chmod=17777 f /f\n", like="26").image


def test_what_is_skipped_is_no_error(lab: Lab) -> None:
    skipped = "# check=skip=LegacyKeyValueFormat,MaintainerDeprecated;error=true\n"
    assert lab.build(skipped + _TWO_STAGES).checks == ()


def test_a_build_with_older_verdicts_is_checked_as_it_is_built(lab: Lab) -> None:
    """``TARGETSTAGE`` is newer: where it names a base image, another is built with than today."""
    record = lab.build("FROM ${TARGETSTAGE:-base:1}\nENV A b\nRUN true\n", like="26")
    assert {warning.rule for warning in record.checks} >= {"LegacyKeyValueFormat"}


def test_a_file_that_is_another_when_it_is_checked_ends_no_build(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once more for its checks, and an editor may have saved it in between."""
    monkeypatch.setattr(build_checks, "dockerfile_text", lambda *_: b"FROM another:1\nRUN true\n")
    assert verdicts(lab.build("FROM base:1\nRUN true\n")) == ["executed"]
