"""The tree that the copy snapshotter keeps: always what a fresh copy of the layers would be, and gone when it should be."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from layerlab.engines.embedded.rootfs.trees import UndoError, difference, flatten, marks, rebase
from layerlab.model import BuildRecord

from .conftest import Lab, MakeLab, verdicts
from .drawn_layers import LAYERS, write_layer


def _seen(tree: Path) -> dict[str, tuple[int, int, str]]:
    return {
        str(path.relative_to(tree)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text(encoding="utf-8"),
        )
        for path in tree.rglob("*")
    }


@given(kept=LAYERS, undone=LAYERS, added=LAYERS)
@settings(max_examples=150, deadline=None)
def test_a_tree_that_goes_from_some_layers_to_others_is_what_a_fresh_copy_is(
    kept: list[list[tuple[str, str, int]]], undone: list[list[tuple[str, str, int]]], added: list[list[tuple[str, str, int]]]
) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        groups = [
            [write_layer(place / f"{name}-{number}", entries) for number, entries in enumerate(group)]
            for name, group in (("kept", kept), ("undone", undone), ("added", added))
        ]
        for name in ("tree", "fresh"):
            (place / name).mkdir()
        flatten([*groups[0], *groups[1]], str(place / "tree"), real_ids=False)
        rebase(str(place / "tree"), *groups, real_ids=False)
        flatten([*groups[0], *groups[2]], str(place / "fresh"), real_ids=False)
        assert _seen(place / "tree") == _seen(place / "fresh")


def test_what_has_several_names_below_is_not_put_back_alone(tmp_path: Path) -> None:
    below, above, tree = (tmp_path / name for name in ("below", "above", "tree"))
    for directory in (below, above, tree):
        directory.mkdir()
    (below / "one").write_text("shared", encoding="utf-8")
    os.link(below / "one", below / "two")
    (above / "one").write_text("its own", encoding="utf-8")
    flatten([str(below), str(above)], str(tree), real_ids=False)
    with pytest.raises(UndoError):
        rebase(str(tree), [str(below)], [str(above)], [], real_ids=False)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, make_lab: MakeLab) -> Lab:
    """A lab with the copy snapshotter."""
    monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", "copy")
    return make_lab()


def _kept(lab: Lab) -> Path:
    return Path(lab.engine.store.path) / "tree"


_TWO_STEPS = """\
FROM base:1
COPY . /src
RUN mkdir -p /out && cp -R /src /out/made && ln /out/made/one /out/linked && chmod 700 /out
RUN find /src /out > /list
"""


def test_a_rebuild_in_the_kept_tree_makes_the_layers_that_a_fresh_one_makes(lab: Lab, make_lab: MakeLab) -> None:
    lab.file("one", "1")
    lab.file("gone", "this file goes")
    lab.build(_TWO_STEPS)
    assert _kept(lab).is_dir()
    lab.file("one", "2")
    (lab.context / "gone").unlink()
    lab.file("new/two", "3")
    again = lab.build(_TWO_STEPS)
    fresh = make_lab()
    shutil.copytree(lab.context, fresh.context, dirs_exist_ok=True)
    first = fresh.build(_TWO_STEPS)

    def contents(lab: Lab, record: BuildRecord) -> list[dict[str, object]]:
        return [{path: (entry.type, entry.mode, entry.size) for path, entry in layer.items()} for layer in lab.layers(record)]

    assert verdicts(again) == ["executed"] * 3
    assert contents(lab, again) == contents(fresh, first)


def test_the_first_steps_of_another_build_do_not_see_the_last_ones_of_this(lab: Lab) -> None:
    lab.file("one", "1")
    lab.build(_TWO_STEPS)
    lab.build("FROM base:1\nRUN test ! -e /src && test ! -e /out && test ! -e /list\nRUN ls -d /etc\n")


def test_a_failed_step_leaves_no_tree_behind(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN echo 1 > /one\n")
    record = lab.try_build("FROM base:1\nRUN echo 1 > /one\nRUN echo half > /half && false\n")
    assert record.failure is not None
    assert not _kept(lab).exists()
    lab.build("FROM base:1\nRUN echo 1 > /one\nRUN test ! -e /half\n")


def test_what_cannot_be_trusted_is_thrown_away(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN echo 1 > /one\n")
    (_kept(lab) / "layers").write_bytes(b"no list")
    (_kept(lab) / "t" / "planted").write_text("by nobody", encoding="utf-8")
    lab.build("FROM base:1\nRUN echo 1 > /one\nRUN test ! -e /planted\n")


def test_prune_frees_it(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN echo 1 > /one\n", tag="kept")
    lab.engine.prune(0, lambda _: None)
    assert not _kept(lab).exists()


def test_a_step_writes_through_no_link_into_a_layer(lab: Lab) -> None:
    lab.file("one", "as it was")
    record = lab.build("FROM base:1\nCOPY . /src\n", tag="before")
    lab.build("FROM base:1\nCOPY . /src\nRUN echo changed > /src/one\n")
    assert lab.engine.store.layer_path(lab.config(record)["rootfs"]["diff_ids"][-1])
    lab.build("FROM base:1\nCOPY . /src\nRUN test \"$(cat /src/one)\" = 'as it was'\n")


@pytest.mark.parametrize("made", ["touch -a -t 200102030405 /etc/passwd /etc", "cat /etc/passwd && ls /etc"], ids=["set", "read"])
def test_the_next_build_is_not_told_what_this_one_read(lab: Lab, made: str) -> None:
    """Times of access are in no layer."""
    lab.build(f"FROM base:1\nRUN {made}\n")
    etc = _kept(lab) / "t" / "etc"
    found = [path.lstat() for path in (etc, etc / "passwd")]
    assert [status.st_atime_ns for status in found] == [status.st_mtime_ns for status in found]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set a file capability")
def test_a_tree_with_a_file_capability_is_not_kept(tmp_path: Path) -> None:
    """A tree has it for the namespace of whoever set it, a layer for none."""
    tree, plain, capable = (tmp_path / name for name in ("tree", "plain", "capable"))
    for directory in (tree, plain, capable):
        directory.mkdir()
    before = marks(str(tree))
    (tree / "program").write_text("", encoding="utf-8")
    assert difference(str(tree), before, str(plain), real_ids=False)
    os.setxattr(tree / "program", "security.capability", bytes.fromhex("0100000200040000" + "00" * 12))
    assert not difference(str(tree), before, str(capable), real_ids=False)
