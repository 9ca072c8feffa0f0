"""What ends in a layer: contents, whiteouts, owners, modes, links, attributes, times; and that it is reproducible."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Lab, MakeLab

MTIME = 1_500_000_000

# RUN command, and what the layer that it makes has: path to (type, mode) or type alone. Parents are repeated.
RUN_LAYERS = {
    "a new file": ("mkdir /n && echo hi > /n/f && chmod 640 /n/f", {"n": ("dir", 0o755), "n/f": ("file", 0o640)}),
    "a removed file": ("rm /d/f", {"d": "dir", "d/f": "whiteout"}),
    "a removed directory": ("rm -r /d", {"d": "whiteout"}),
    "a directory made anew hides what was in it": (
        "rm -r /d && mkdir /d && echo > /d/new",
        {"d": "dir", "d/f": "whiteout", "d/new": "file"},
    ),
    "a file in place of a directory": ("rm -r /d && echo > /d", {"d": "file"}),
    "a directory in place of a file": ("rm /d/f && mkdir /d/f", {"d": "dir", "d/f": "dir"}),
    "a changed mode": ("chmod 4755 /d/f", {"d": "dir", "d/f": ("file", 0o4755)}),
    "a sticky directory": ("chmod 1777 /d", {"d": ("dir", 0o1777)}),
    "setgid on a directory": ("chmod 2750 /d", {"d": ("dir", 0o2750)}),
    "a symbolic link": ("ln -s /nowhere /d/l", {"d": "dir", "d/l": ("symlink", 0o777)}),
    "a hard link to a file that was there": ("ln /d/f /d/h", {"d": "dir", "d/h": "file"}),
    "two names of a new file": ("echo > /d/g && ln /d/g /d/h", {"d": "dir", "d/g": "file", "d/h": "hardlink"}),
    "a file that was away and is back": ("mv /d/f /t && mv /t /d/f", {}),
    "a mode changed and changed back": ("chmod 700 /d/f && chmod 644 /d/f", {}),
    "the same text written anew": ("printf f > /d/f", {"d": "dir", "d/f": "file"}),
    "a named pipe": ("mkfifo /d/p", {"d": "dir", "d/p": "fifo"}),
    "an empty directory": ("mkdir -p /e/e", {"e": "dir", "e/e": "dir"}),
    "a renamed file": ("mv /d/f /d/g", {"d": "dir", "d/f": "whiteout", "d/g": "file"}),
    "nothing": ("true", {}),
    "nothing, read": ("cat /d/f && ls /d && test -e /etc/hosts", {}),
    "what is mounted for the step": ("echo > /dev/null && cat /etc/resolv.conf > /dev/null; echo x > /dev/shm/x", {}),
}


@pytest.mark.parametrize(("command", "expected"), RUN_LAYERS.values(), ids=RUN_LAYERS.keys())
def test_a_run_leaves_what_it_changed_and_nothing_else(each_lab: Lab, command: str, expected: dict[str, object]) -> None:
    lab = each_lab
    lab.file("d/f", "f")
    record = lab.build(f"FROM base:1\nCOPY . /\nRUN {command}\nRUN find / -path /proc -prune -o -print | wc -l\n")
    layer = lab.layers(record)[1]
    found = {path: (entry.type, entry.mode) for path, entry in layer.items()}
    for path, (kind, _) in found.items():
        assert path in expected, f"{path} ({kind}) should not be in the layer"
    for path, wanted in expected.items():
        assert found[path] == wanted if isinstance(wanted, tuple) else found[path][0] == wanted, path
    assert lab.layers(record)[2] == {}


def test_the_next_step_sees_what_layers_say(each_lab: Lab) -> None:
    lab = each_lab
    lab.file("d/a", "a")
    lab.file("d/b", "b")
    lab.build(
        "FROM base:1\nCOPY d /d\nRUN rm /d/a\nRUN rm -r /d && mkdir /d && echo c > /d/c\n"
        "RUN mv /d /e && ln -s e /d\nRUN ls /d/ /e && test ! -e /e/b && test -L /d && cat /d/c\n"
    )
    assert "c\n" in lab.output


def test_owners(each_lab: Lab) -> None:
    lab = each_lab
    lab.file("f", "x")
    record = lab.build(
        "FROM base:1\nCOPY f /root-owned\nCOPY --chown=node f /named\nCOPY --chown=1000:0 f /numbers\nCOPY --chown=7 f /one-number\n"
        "COPY --chown=nobody-here f /unknown\nUSER node\nWORKDIR /home/node/app\nRUN touch /tmp/mine\n"
        "COPY f copied\nUSER root\nRUN touch /tmp/roots\n"
    )
    layers = lab.layers(record)
    found = {path: (entry.uid, entry.gid) for layer in layers for path, entry in layer.items() if entry.type != "dir"}
    assert found == {
        "root-owned": (0, 0),
        "named": (1000, 1000),
        "numbers": (1000, 0),
        "one-number": (7, 7),
        "unknown": (0, 0),
        "tmp/mine": (1000, 1000),
        "home/node/app/copied": (0, 0),
        "tmp/roots": (0, 0),
    }
    workdir = layers[5]
    assert (workdir["home/node/app"].uid, workdir["home/node/app"].gid) == (1000, 1000)
    again = lab.build("FROM base:1\nCOPY --chown=node f /named\nRUN chmod 600 /named\nRUN mv /named /moved\n")
    assert [(layer.get("named") or layer["moved"]).uid for layer in lab.layers(again)[:2]] == [1000, 1000]


def test_copied_owners_follow_from_stage_to_stage(each_lab: Lab) -> None:
    lab = each_lab
    lab.file("d/f", "x")
    record = lab.build("FROM base:1 AS a\nCOPY --chown=1000 d /d\nFROM base:1\nCOPY --from=a /d /d\nCOPY --from=a --chown=5 /d /e\n")
    copied, changed = lab.layers(record)[-2:]
    assert (copied["d/f"].uid, changed["e/f"].uid) == (1000, 5)


def test_copy_keeps_modes_times_links_and_attributes(each_lab: Lab) -> None:
    lab = each_lab
    tool = lab.file("d/tool", "x", 0o4755)
    os.link(tool, lab.context / "d/twin")
    (lab.context / "d/link").symlink_to("../else where")
    (lab.context / "d/empty").mkdir(mode=0o700)
    os.mkfifo(lab.context / "d/pipe")
    (lab.context / "d/pipe").chmod(0o620)
    lab.file("d/private", "x", 0o600)
    lab.file("d/ünï", "x")
    (lab.context / "d/empty").chmod(0o1770)
    with_attributes = True
    try:
        os.setxattr(lab.context / "d/private", "user.note", b"\0binary\xff")
        os.setxattr(lab.context / "d/empty", "user.note", b"of a directory")
    except OSError:
        with_attributes = False
    for path in (lab.context / "d").rglob("*"):
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)
    layer, again = (
        lab.layers(lab.build(f"FROM base:1 AS s\nCOPY d /d\n{more}"))[-1] for more in ("", "FROM base:1\nCOPY --from=s /d /d\n")
    )
    assert again == layer
    assert {path: (entry.type, entry.mode, entry.mtime) for path, entry in layer.items() if path != "d"} == {
        "d/tool": ("file", 0o4755, MTIME),
        "d/twin": ("hardlink", 0o4755, MTIME),
        "d/link": ("symlink", 0o777, MTIME),
        "d/empty": ("dir", 0o1770, MTIME),
        "d/pipe": ("fifo", 0o620, MTIME),
        "d/private": ("file", 0o600, MTIME),
        "d/ünï": ("file", 0o644, MTIME),
    }
    assert (layer["d/link"].target, layer["d/twin"].target) == ("../else where", "d/tool")
    if with_attributes:
        assert layer["d/private"].xattrs == {"user.note": b"\0binary\xff"}
        assert layer["d/empty"].xattrs == {"user.note": b"of a directory"}


def test_the_callers_umask_is_not_in_the_image(each_lab: Lab) -> None:
    lab = each_lab
    lab.file("f", "x")
    before = os.umask(0o077)
    try:
        record = lab.build(
            "FROM base:1\nWORKDIR /w/x\nCOPY f /c/f\nCOPY <<EOF /c/inline\ntext\nEOF\nRUN mkdir /r && echo > /r/f\n"
            "USER node\nRUN cat /etc/hosts /c/inline /c/f && ls / /w/x\nFROM scratch\nCOPY --from=0 / /\nUSER node\nRUN cat /etc/hosts\n"
        )
    finally:
        os.umask(before)
    for layer in lab.layers(record):
        for path in ("w", "w/x", "c", "r"):
            assert path not in layer or stat.S_IMODE(layer[path].mode) == 0o755
        for path in ("c/f", "c/inline", "r/f"):
            assert path not in layer or layer[path].mode == 0o644


def test_a_layer_has_no_trace_of_when_and_where_it_was_made(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    images = []
    for _ in range(2):
        lab = make_lab()
        for name in ("b", "a", "c"):
            os.utime(lab.file(f"d/{name}", name), (MTIME, MTIME))
        os.utime(lab.context / "d", (MTIME, MTIME))
        record = lab.build("FROM base:1\nWORKDIR /w\nCOPY d /d\nRUN date > /dev/null; echo x > /x; rm /d/a\nENV A=1\n")
        images.append((record.image, [step.diff_id for step in record.steps]))
        assert all(entry.mtime <= 1_600_000_000 for layer in lab.layers(record) for entry in layer.values())
    assert images[0] == images[1]


def test_history_and_labels(lab: Lab) -> None:
    lab.file("f", "x")
    record = lab.build(
        'FROM base:1\nARG V=1\nLABEL a="1 2"\nWORKDIR /app\nCOPY f .\nRUN echo hi\nCMD ["sh", "-c"]\n', labels={"b": "2"}, tag="it:1"
    )
    rows = lab.engine.history("it:1")
    assert [(row.created_by, row.empty_layer) for row in rows[:6]] == [
        ('CMD ["sh" "-c"]', True),
        ("RUN |1 V=1 /bin/sh -c echo hi # buildkit", False),
        ("COPY f . # buildkit", False),
        ("WORKDIR /app", False),
        ("LABEL a=1 2", True),
        ("ARG V=1", True),
    ]
    config = lab.config(record)
    assert config["config"]["Labels"] == {"a": "1 2", "b": "2"}
    assert len(config["rootfs"]["diff_ids"]) == len([row for row in config["history"] if not row.get("empty_layer")])


def test_size_counts_regular_files_once(lab: Lab) -> None:
    record = lab.build("FROM base:1\nRUN head -c 1000 /dev/zero > /a && ln /a /b && ln -s a /c && mkdir /d\n")
    assert record.steps[-1].size == 1000


def test_a_deep_tree_is_kept_or_refused_and_always_cleaned_up(lab: Lab) -> None:
    deep = "i=0; while [ $i -lt 900 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; echo x > f"
    record = lab.build(f"FROM base:1\nWORKDIR /t\nRUN {deep}\nRUN rm -r /t/d\n")
    assert len(lab.layers(record)[1]) == 902
    # Two chains of long names, one moved to the end of the other: longer than any path may be.
    chain = "for i in $(seq 15); do mkdir $1$n && cd $1$n || exit 1; done"
    too_deep = lab.try_build(
        f"FROM base:1\nWORKDIR /t\nRUN n=$(printf %0200d 0); set -- a; (cd /t; {chain}); set -- b; {chain}; mv /t/a$n . && echo moved\n"
    )
    assert "moved" in lab.output
    assert too_deep.failure is not None
    assert "name too long" in too_deep.failure.message.lower()
    assert lab.build(f"FROM base:1\nWORKDIR /t\nRUN {deep}\n").steps[-1].status == "cached"
    assert lab.leftovers() == []


def test_a_step_that_changes_nothing_is_not_given_what_another_left_unsaid(each_lab: Lab) -> None:
    """The tar of the first layer is empty, and so is that of the second."""
    lab = each_lab
    lab.build("FROM base:1\nRUN chmod 700 /\n")
    lab.build("FROM base:1\nRUN true && true\nRUN stat -c %a / && echo > /tmp/x\n")
    assert lab.output == "755\n"


def test_a_step_may_close_its_root_directory(each_lab: Lab) -> None:
    lab = each_lab
    record = lab.build("FROM base:1\nRUN echo 1 > /one && chmod 555 /\nRUN cat /one && echo 2 > /two\n")
    assert [sorted(layer) for layer in lab.layers(record)] == [["one"], ["two"]]


def test_what_a_step_sees_does_not_depend_on_who_built_last(each_lab: Lab) -> None:
    """A new name of an old file is another file for the steps that follow."""
    lab = each_lab
    steps = "FROM base:1\nRUN mkdir /d && echo a > /d/a && touch -d @1000 /d/a\nRUN ln /d/a /d/c\n"
    last = "RUN echo more >> /d/c && cat /d/a\n"
    lab.build(steps + last)
    at_once = lab.output
    lab.build(steps)
    lab.build("FROM base:1\nRUN echo something else\n")
    lab.build(steps + last.replace("more", "more "))
    assert (at_once, lab.output) == ("a\n", "a\n")
