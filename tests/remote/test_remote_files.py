"""ADD of a URL: what counts for the cache, what is asked of the server, and what lies in the image."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from pathlib import Path

import pytest

from layerlab.errors import LayerlabError, UnsupportedError
from layerlab.model import BuildRecord
from tests.engine.conftest import Lab, verdicts

from .scenarios import STORY
from .server import File, Server

_ADD = "FROM base:1\nADD SERVER/f /d/\nRUN cat /d/f\n"


def _build(lab: Lab, server: Server, dockerfile: str, **options: object) -> BuildRecord:
    return lab.build(dockerfile.replace("SERVER", server.url), **{"offline": False, **options})


def test_the_story(lab: Lab, server: Server) -> None:
    lab.file("z", "z")
    for chapter in STORY:
        server.files.update(chapter.files)
        server.asked.clear()
        try:
            record = lab.try_build(chapter.dockerfile.replace("SERVER", server.url), offline=False)
            failure = f"{record.failure.message} (line {record.failure.line})" if record.failure is not None else ""
        except LayerlabError as error:
            failure = f"{error.message} (line {error.line})"
        if chapter.ends in ("ran", "cached"):
            assert failure == "", chapter.title
            assert verdicts(record)[0] == chapter.ends.replace("ran", "executed"), chapter.title
        else:
            assert chapter.ends in failure, chapter.title
            assert failure.endswith("(line 2)"), chapter.title
        assert [line.split()[0] for line in server.asked] == chapter.asked, chapter.title


def test_the_file_is_the_owners_alone_and_as_old_as_the_server_says(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"content", modified=1_000_000_000)
    _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN stat -c '%a %u:%g %Y' /d/f && stat -c %a /d\n")
    assert lab.output == "600 0:0 1000000000\n755\n"


def test_without_a_time_it_is_from_1970(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"content")
    _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN stat -c %Y /d/f\n")
    assert lab.output == "0\n"


def test_what_is_packed_only_on_the_way_is_unpacked(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(gzip.compress(b"plain"), coding="gzip")
    _build(lab, server, _ADD)
    assert lab.output == "plain"


def test_what_is_packed_in_parts_is_unpacked_whole(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(gzip.compress(b"one ") + gzip.compress(b"two"), coding="gzip")
    _build(lab, server, _ADD)
    assert lab.output == "one two"


def test_what_ends_too_soon_is_no_file(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(gzip.compress(bytes(range(256)) * 9)[:-9], coding="gzip")
    with pytest.raises(LayerlabError, match="ends too soon"):
        _build(lab, server, _ADD)


def test_only_what_every_client_unpacks_is_unpacked(lab: Lab, server: Server) -> None:
    """Some servers call archives so."""
    server.files["/f"] = File(gzip.compress(b"an archive"), coding="x-gzip")
    _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN gunzip -c < /d/f\n")
    assert lab.output == "an archive"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Sun, 06 Nov 1994 08:49:37 +0200", 0),
        ("Sun, 06 Nov 1994 08:49:37", 0),
        ("yesterday", 0),
        ("Mon, 01 Jan 2020 " + "9" * 30 + ":00:00 GMT", 0),
        ("Mon, 01 Jan 2020 00:00:" + "9" * 5000 + " GMT", 0),
        ("Mon, " + "9" * 30 + " Jan 2020 00:00:00 GMT", 0),
        ("Mon, 01 Jan " + "9" * 30 + " 00:00:00 GMT", 0),
        ("Mon, 31 Feb 2020 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2020 24:00:00 GMT", 0),
    ],
)
def test_the_time_of_a_file_is_the_same_everywhere(
    lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch, text: str, seconds: int
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        server.files["/f"] = File(b"x", says=text)
        _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN stat -c %Y /d/f\n")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert lab.output == f"{seconds}\n"


def test_what_is_unpacked_on_the_way_takes_little_memory(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(gzip.compress(bytes(64 << 20)), coding="gzip")
    tracemalloc.start()
    try:
        _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN stat -c %s /d/f\n")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lab.output == f"{64 << 20}\n"
    assert most < 32 << 20


def test_what_is_unpacked_on_the_way_has_the_limit_of_archives(lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerlab.engines.embedded.rootfs.compression._ALWAYS", 1 << 20)
    server.files["/f"] = File(gzip.compress(bytes(8 << 20)), coding="gzip")
    with pytest.raises(LayerlabError, match=r"unpacks to more than . MB, the limit for its size"):
        _build(lab, server, _ADD)
    server.files["/f"] = File(gzip.compress(bytes(1 << 20)), coding="gzip")
    _build(lab, server, "FROM base:1\nADD SERVER/f /d/\nRUN stat -c %s /d/f\n")
    assert lab.output == f"{1 << 20}\n"


def test_damage_on_the_way_is_no_file(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"no gzip", coding="gzip")
    with pytest.raises(LayerlabError, match="is damaged"):
        _build(lab, server, _ADD)
    server.files["/f"] = File(b"whole")
    _build(lab, server, _ADD)
    assert lab.output == "whole"


def test_two_that_copy_one_url_ask_once(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"x", etag=False)
    _build(lab, server, "FROM base:1\nADD SERVER/f /a/\nADD SERVER/f /b/\n")
    assert server.asked == ["GET /f"]


def test_a_plan_asks_for_the_tag_and_fetches_nothing(lab: Lab, server: Server) -> None:
    dockerfile = _ADD.replace("SERVER", server.url)
    server.files["/f"] = File(b"one")
    undecided = lab.plan(dockerfile, offline=False)
    assert [step.status for step in undecided.steps[1:]] == ["undecided", "undecided"]
    assert server.asked == []
    lab.build(dockerfile, offline=False)
    server.asked.clear()
    assert [step.status for step in lab.plan(dockerfile, offline=False).steps[1:]] == ["cached", "cached"]
    server.files["/f"] = File(b"two")
    assert [step.status for step in lab.plan(dockerfile, offline=False).steps[1:]] == ["undecided", "undecided"]
    assert server.asked == ["HEAD /f", "HEAD /f"]


def test_offline_it_is_an_error_but_for_a_checksum_that_is_known(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"one")
    with pytest.raises(LayerlabError, match="this build is offline") as caught:
        _build(lab, server, _ADD, offline=True)
    assert caught.value.line == 2
    assert server.asked == []
    _build(lab, server, _ADD)
    server.asked.clear()
    checksum = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    record = _build(lab, server, _ADD.replace("ADD", f"ADD --checksum={checksum}"), offline=True)
    assert verdicts(record) == ["cached", "cached"]
    assert server.asked == []


def test_a_repository_is_planned_and_left_to_docker(lab: Lab) -> None:
    dockerfile = "FROM base:1\nADD https://host.invalid/a.git /a\nRUN true\n"
    assert [step.status for step in lab.plan(dockerfile, offline=False).steps[1:]] == ["undecided", "undecided"]
    with pytest.raises(UnsupportedError, match="git repository") as caught:
        lab.build(dockerfile, offline=False)
    assert caught.value.line == 2


def test_prune_forgets_the_files(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"one")
    record = _build(lab, server, _ADD)
    assert any(Path(lab.engine.store.path, "remote").rglob("f"))
    lab.engine.prune(1 << 40, lambda _text: None)
    assert not any(Path(lab.engine.store.path, "remote").rglob("f"))
    server.asked.clear()
    assert verdicts(_build(lab, server, _ADD)) == ["cached", "cached"]
    assert server.asked == ["GET /f"]
    assert record.image


def test_nobody_else_reads_what_was_fetched(lab: Lab, server: Server) -> None:
    server.files["/f"] = File(b"one")
    _build(lab, server, _ADD)
    (kept,) = Path(lab.engine.store.path, "remote").rglob("f")
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["%2e%2e", "a%00b", "x" * 256, "%FF", "a%0Ab"])
def test_a_name_that_no_file_can_have(lab: Lab, server: Server, name: str) -> None:
    with pytest.raises(LayerlabError, match="has no name for a file"):
        _build(lab, server, f"FROM base:1\nADD SERVER/{name} /d/\n")
    assert server.asked == []


@pytest.mark.parametrize(
    ("address", "message"), [("http://u:p@127.0.0.1/f", "has a name or password"), ("http://127.0.0.1:9/f", "refused")]
)
def test_what_cannot_be_asked_is_said_with_its_line(lab: Lab, address: str, message: str) -> None:
    with pytest.raises(LayerlabError, match=message) as caught:
        lab.build(f"FROM base:1\nADD {address} /d/\n", offline=False)
    assert (caught.value.line, "registry" in caught.value.describe()) == (2, False)


def test_a_redirect_within_this_machine_is_followed_where_the_dockerfile_names_it(lab: Lab, server: Server) -> None:
    server.files["/r"] = File(goes_to=f"{server.url}/f")
    server.files["/f"] = File(b"here")
    _build(lab, server, "FROM base:1\nADD SERVER/r /d/\nRUN cat /d/r\n")
    assert lab.output == "here"
