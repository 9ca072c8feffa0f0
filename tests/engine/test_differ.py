"""The differ: a layer keeps what its step changed, and nothing else."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerlab.engines.embedded.rootfs.differ import drop_unchanged
from layerlab.engines.embedded.rootfs.layer_tar import walk_layer, write_tar
from layerlab.engines.embedded.rootfs.unpack import unpack

from .drawn_layers import ENTRIES, LAYERS, STEPS, write_layer

# Kind and mode, and of files time and content, of links the target, by path.
_Tree = dict[str, tuple[object, ...]]


def _whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _opaque(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and "user.overlay.opaque" in os.listxattr(path)


def _merged(layers: list[str]) -> _Tree:
    """What one sees who mounts them, by the documentation of overlayfs: each layer is laid on the tree, entry by entry."""
    tree: _Tree = {}
    for layer in layers:
        for folder, directories, files in os.walk(layer):
            for name in [*directories, *files]:
                path = Path(folder, name)
                key = str(path.relative_to(layer))
                status = path.lstat()
                earlier = tree.get(key)
                if (
                    _whiteout(path)
                    or _opaque(path)
                    or not path.is_dir()
                    or path.is_symlink()
                    or (earlier is not None and earlier[0] != "dir")
                ):
                    tree = {other: entry for other, entry in tree.items() if other != key and not other.startswith(key + "/")}
                if _whiteout(path):
                    continue
                if path.is_symlink():
                    tree[key] = ("link", os.readlink(path), status.st_mtime_ns)
                elif path.is_dir():
                    tree[key] = ("dir", status.st_mode)
                else:
                    tree[key] = ("file", status.st_mode, status.st_mtime_ns, path.read_text(encoding="utf-8"))
    return tree


def _held(layer: Path) -> dict[str, tuple[object, ...]]:
    """All that a layer directory has, times in whole seconds. Directories that nobody may read are opened for good."""
    found: dict[str, tuple[object, ...]] = {".": (stat.S_IMODE(layer.lstat().st_mode), os.listxattr(layer))}
    places = [layer]
    while places:
        with os.scandir(places.pop()) as scan:
            items = list(scan)
        for item in items:
            path, status = Path(item.path), item.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                path.chmod(0o700)
                places.append(path)
            elif stat.S_ISREG(status.st_mode):
                path.chmod(0o600)
            names = [] if stat.S_ISLNK(status.st_mode) else os.listxattr(path)
            found[str(path.relative_to(layer))] = (
                status.st_mode,
                status.st_rdev,
                0 if _whiteout(path) else status.st_mtime_ns // 10**9,
                [(name, os.getxattr(path, name)) for name in sorted(names)],
                os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b"",
            )
    return found


@given(lowers=LAYERS, entries=STEPS, root=st.sampled_from((0o755, 0o500, 0o1777)))
@settings(max_examples=300, deadline=None)
def test_a_layer_is_what_its_tar_says(lowers: list[list[tuple[str, str, int]]], entries: list[tuple[str, str, int]], root: int) -> None:
    """Else whose step comes second would go on with what another one's left, although both have one digest."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        below = [write_layer(place / f"lower-{number}", drawn) for number, drawn in enumerate(lowers)]
        layer = Path(write_layer(place / "layer", entries))
        layer.chmod(root)
        drop_unchanged(str(layer), below)
        for path in layer.rglob("*"):
            assert _whiteout(path) or path.lstat().st_atime_ns == path.lstat().st_mtime_ns
        packed, again = place / "tar", place / "again"
        with packed.open("wb") as stream:
            write_tar(str(layer), walk_layer(str(layer)), stream.write)
        # A name that is a whiteout to everybody else cannot come back as it was; it makes another tar than a whiteout does.
        if not any(path.name.startswith(".wh.") for path in layer.rglob("*")):
            again.mkdir(mode=0o755)
            with packed.open("rb") as stream:
                unpack(stream, str(again), "/", layer=True, real_ids=False)
            assert _held(again) == _held(layer)
        assert (packed.stat().st_size == 1024) == (not os.listdir(layer))
        _open_again(place)


def test_a_file_that_is_called_as_a_whiteout_is_another_layer(tmp_path: Path) -> None:
    tars = []
    for number, kind in enumerate((stat.S_IFREG, stat.S_IFCHR)):
        layer = tmp_path / str(number)
        layer.mkdir()
        os.mknod(layer / (".wh.f" if kind == stat.S_IFREG else "f"), kind, os.makedev(0, 0))
        for path in layer.iterdir():
            if kind == stat.S_IFREG:
                path.chmod(0)
                os.utime(path, (0, 0))
        parts: list[bytes] = []
        write_tar(str(layer), walk_layer(str(layer)), parts.append)
        tars.append(b"".join(parts))
    assert tars[0] != tars[1]


def test_a_whiteout_of_such_a_file_is_not_the_mark_of_an_opaque_directory(tmp_path: Path) -> None:
    tars = []
    for opaque in (False, True):
        layer = tmp_path / str(opaque)
        (layer / "d").mkdir(parents=True)
        if opaque:
            os.setxattr(layer / "d", "user.overlay.opaque", b"y")
        else:
            os.mknod(layer / "d" / ".wh..opq", stat.S_IFCHR, os.makedev(0, 0))
        os.utime(layer / "d", (0, 0))
        parts: list[bytes] = []
        write_tar(str(layer), walk_layer(str(layer)), parts.append)
        tars.append(b"".join(parts))
    assert tars[0] != tars[1]


def test_names_of_one_file_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names of a large file must not cost a thousand times its size."""
    below, layer = tmp_path / "below", tmp_path / "layer"
    for place in (below, layer):
        place.mkdir()
        (place / "f0").write_bytes(b"x" * 3000)
        for number in range(1, 5):
            os.link(place / "f0", place / f"f{number}")
        os.utime(place / "f0", (0, 0))
    read = []
    monkeypatch.setattr(os, "read", lambda descriptor, count, real=os.read: (read.append(count), real(descriptor, count))[1])
    drop_unchanged(str(layer), [str(below)])
    assert os.listdir(layer) == []
    assert len(read) == 2


@pytest.mark.parametrize(("there", "here", "same"), [((), (), True), ((5,), (5,), True), ((5,), (), False), ((1 << 30,), (5,), False)])
def test_holes_are_not_read(tmp_path: Path, there: tuple[int, ...], here: tuple[int, ...], *, same: bool) -> None:
    below, layer = tmp_path / "below", tmp_path / "layer"
    for place, written in ((below, there), (layer, here)):
        place.mkdir()
        with (place / "f").open("wb") as stream:
            for position in written:
                stream.seek(position)
                stream.write(b"x")
            stream.truncate(1 << 40)
        os.utime(place / "f", (0, 0))
    drop_unchanged(str(layer), [str(below)])
    assert (os.listdir(layer) == []) == same


def _open_again(place: Path) -> None:
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(0o700)


@given(lowers=LAYERS.filter(bool), entries=ENTRIES)
@settings(max_examples=300, deadline=None)
def test_a_reduced_layer_shows_the_same_tree_and_holds_no_more_than_what_parts_it_from_the_one_below(
    lowers: list[list[tuple[str, str, int]]], entries: list[tuple[str, str, int]]
) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        below = [write_layer(place / f"lower-{number}", drawn) for number, drawn in enumerate(lowers)]
        layer = write_layer(place / "layer", entries)
        before, with_layer, times = _merged(below), _merged([*below, layer]), os.stat(layer).st_mtime_ns
        drop_unchanged(layer, below)
        assert _merged([*below, layer]) == with_layer
        assert os.stat(layer).st_mtime_ns == times
        held: set[str] = set()
        for path in Path(layer).rglob("*"):
            key = str(path.relative_to(layer))
            held.add(key)
            assert not _opaque(path)
            if _whiteout(path):
                assert key in before
            elif not path.is_dir() or path.is_symlink() or not any(path.iterdir()):
                assert before.get(key) != with_layer[key]
        # Of what went, the topmost is said; of what hides a directory, nothing below it needs to be.
        for key in before.keys() - with_layer.keys():
            assert key in held or any(str(parent) in held for parent in Path(key).parents)
        _open_again(place)


@given(lowers=LAYERS.filter(bool), entries=ENTRIES)
@settings(max_examples=50, deadline=None)
def test_a_layer_that_was_reduced_stays_as_it_is(lowers: list[list[tuple[str, str, int]]], entries: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        below = [write_layer(place / f"lower-{number}", drawn) for number, drawn in enumerate(lowers)]
        layer = write_layer(place / "layer", entries)
        drop_unchanged(layer, below)
        once = sorted(Path(layer).rglob("*"))
        drop_unchanged(layer, below)
        assert sorted(Path(layer).rglob("*")) == once
        _open_again(place)
