"""What counts in the digest of a tree: names, kinds, modes, bytes and link targets; never times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerlab.context.build_context import load_context
from layerlab.context.tree import DiskDirectory, directory_digest, rows_of, tree_of

Tree = dict[str, "bytes | str | Tree"]  # bytes: a file; text: a link

_names = st.sampled_from(["a", "b", "ab", "a.b", "é", "A", "-", "z z"])
_trees = st.recursive(
    st.one_of(st.binary(max_size=3), st.sampled_from(["a", "../x"])), lambda below: st.dictionaries(_names, below, max_size=3), max_leaves=8
)
_roots = st.dictionaries(_names, _trees, max_size=4)


def _write(root: Path, tree: Tree, mtime: int) -> None:
    root.mkdir()
    for name, value in tree.items():
        if isinstance(value, dict):
            _write(root / name, value, mtime)
        elif isinstance(value, str):
            (root / name).symlink_to(value)
        else:
            (root / name).write_bytes(value)
        os.utime(root / name, (mtime, mtime), follow_symlinks=False)


def _both(tmp_path: Path, number: int, tree: Tree, mtime: int) -> bytes:
    root = tmp_path / str(number)
    _write(root, tree, mtime)
    return load_context(str(root)).root.digest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=_roots, other=_roots)
def test_equal_trees_and_only_those_have_equal_digests(tmp_path_factory: pytest.TempPathFactory, one: Tree, other: Tree) -> None:
    directory = tmp_path_factory.mktemp("trees")
    digests = [_both(directory, number, tree, 1000 * number) for number, tree in enumerate((one, other, one))]
    assert digests[0] == digests[2]
    assert (digests[0] == digests[1]) == (one == other)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=_roots)
def test_a_tree_has_one_digest_wherever_it_is_read(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    root = tmp_path_factory.mktemp("tree") / "t"
    _write(root, tree, 0)
    context = load_context(str(root)).root
    stage = DiskDirectory(str(root), owners={})
    for path in root.rglob("a"):
        if path.is_dir() and not path.is_symlink():
            _set_attribute(path)
    assert context.digest() == stage.digest() == directory_digest(context.entries())
    assert tree_of(list(rows_of(context))).digest() == context.digest()


def _set_attribute(path: Path) -> None:
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("no extended attributes here")


def test_attributes_of_a_directory_count_with_and_without_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c/d/e").mkdir(parents=True)
    (tmp_path / "c/d/e/f").write_text("x")

    def digest() -> bytes:
        loaded = load_context(str(tmp_path / "c"), cache_file=str(tmp_path / "checksums"))
        found = loaded.root.digest()
        loaded.save()
        assert load_context(str(tmp_path / "c")).root.digest() == found == DiskDirectory(str(tmp_path / "c"), owners={}).digest()
        return found

    found = {digest()}
    for place in ("c/d", "c/d/e"):
        _set_attribute(tmp_path / place)
        found.add(digest())
    os.setxattr(tmp_path / "c/d/e", "user.note", b"other")
    found.add(digest())
    assert len(found) == 4


COUNTS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "time": (lambda p: os.utime(p, (1, 1)), False),
    "mode": (lambda p: p.chmod(0o600), True),
    "setuid": (lambda p: p.chmod(0o4644), True),
    "bytes": (lambda p: p.write_text("y"), True),
    "kind": (lambda p: (p.unlink(), p.symlink_to("x")), True),
    "hard link": (lambda p: (p.rename(p.parent.parent / "kept"), os.link(p.parent.parent / "kept", p)), False),
}


@pytest.mark.parametrize(("change", "counts"), COUNTS.values(), ids=COUNTS.keys())
def test_what_counts(tmp_path: Path, change: Callable[[Path], object], counts: bool) -> None:
    file = tmp_path / "c" / "f"
    file.parent.mkdir()
    file.write_text("x")
    before = load_context(str(file.parent)).root.digest()
    change(file)
    assert (load_context(str(file.parent)).root.digest() != before) == counts


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_owners_count_in_a_stage_and_not_in_a_context(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    context, stage = load_context(str(tmp_path)).root.digest(), DiskDirectory(str(tmp_path)).digest()
    os.chown(tmp_path / "f", 5, 5)
    assert load_context(str(tmp_path)).root.digest() == context
    assert DiskDirectory(str(tmp_path)).digest() != stage


def test_a_hole_has_the_digest_of_zeros(tmp_path: Path) -> None:
    for name, sparse in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "f", "wb") as stream:
            for position, data in ((3 << 20, b"data"), (5 << 20, b"end")):
                if sparse:
                    stream.seek(position)
                else:
                    stream.write(bytes(position - stream.tell()))
                stream.write(data)
    assert load_context(str(tmp_path / "a")).root.digest() == load_context(str(tmp_path / "b")).root.digest()
