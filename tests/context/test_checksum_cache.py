"""The checksum cache: what did not change is not read again, and what did change is never missed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from layerlab.context.build_context import BuildContext, load_context

OLD = time.time_ns() - 3600 * 1_000_000_000


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    for name in ("a", "d/b", "d/e/c", "skip/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".dockerignore").write_text("skip\n.dockerignore\n")
    return root


def _settle(context: Path) -> None:
    """Let the clock move on, so that nothing counts as changed just now."""
    newest = max(path.lstat().st_ctime_ns for path in context.rglob("*"))
    while time.time_ns() < newest + 60_000_000:
        time.sleep(0.01)


def _digest(context: Path) -> tuple[str, int]:
    """Digest of the whole context, and how many files had to be read for it."""
    loaded = load_context(str(context), cache_file=str(context.parent / "checksums"))
    digest = loaded.root.digest().hex()
    loaded.save()
    return digest, loaded.hashed


def test_unchanged_files_are_not_read_again(context: Path) -> None:
    _settle(context)
    first, read = _digest(context)
    assert read == 3
    assert _digest(context) == (first, 0)


def test_files_that_were_changed_just_now_are_read_again(context: Path) -> None:
    (context / "a").write_text("now")
    first, _ = _digest(context)
    second, read = _digest(context)
    assert (second, read >= 1) == (first, True)


# What happens to the context, whether the digest changes, and how many files may be read for it.
CHANGES: dict[str, tuple[Callable[[Path], object], bool, int]] = {
    "nothing": (lambda _: None, False, 0),
    "other bytes": (lambda c: (c / "d/b").write_text("other"), True, 1),
    "equal size": (lambda c: (c / "d/b").write_text("D/B"), True, 1),
    "equal size and time": (lambda c: ((c / "a").write_text("A"), os.utime(c / "a", ns=(OLD, OLD))), True, 1),
    "touched": (lambda c: os.utime(c / "a"), False, 1),
    "a mode": (lambda c: (c / "a").chmod(0o600), True, 1),
    "a directory's mode": (lambda c: (c / "d/e").chmod(0o700), True, 0),
    "a new file": (lambda c: (c / "d/new").write_text("n"), True, 1),
    "a new empty directory": (lambda c: (c / "d/new").mkdir(), True, 0),
    "a removed file": (lambda c: (c / "d/e/c").unlink(), True, 0),
    "a renamed file": (lambda c: (c / "a").rename(c / "z"), True, 1),
    "a file replaced by another": (lambda c: (c / "d/b").rename(c / "a"), True, 1),
    "a link": (lambda c: (c / "l").symlink_to("a"), True, 1),
    "an ignored file": (lambda c: (c / "skip/x").write_text("other"), False, 0),
    "a new ignored file": (lambda c: (c / "skip/y").write_text("other"), False, 0),
    "other ignore rules": (lambda c: (c / ".dockerignore").write_text("d\n.dockerignore\n"), True, 4),
    "other ignore rules of the same effect": (lambda c: (c / ".dockerignore").write_text("skip\n.dockerignore\nnone\n"), False, 3),
    "a file becomes a directory": (lambda c: ((c / "a").unlink(), (c / "a").mkdir()), True, 0),
}


@pytest.mark.parametrize(("change", "differs", "read"), CHANGES.values(), ids=CHANGES.keys())
def test_changes(context: Path, change: Callable[[Path], object], differs: bool, read: int) -> None:
    os.utime(context / "a", ns=(OLD, OLD))
    _settle(context)
    before, _ = _digest(context)
    change(context)
    after, hashed = _digest(context)
    assert (after != before) == differs
    assert hashed <= read
    fresh = load_context(str(context))
    assert fresh.root.digest().hex() == after


def test_only_what_is_asked_for_is_read(context: Path) -> None:
    loaded = load_context(str(context))
    loaded.root.entries()["a"].digest()
    assert loaded.hashed == 1


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x93\x01\x80"])
def test_a_damaged_cache_only_costs_time(context: Path, damage: bytes) -> None:
    first, _ = _digest(context)
    (context.parent / "checksums").write_bytes(damage)
    assert _digest(context)[0] == first


def test_a_cache_that_cannot_be_written_is_no_error(context: Path) -> None:
    loaded: BuildContext = load_context(str(context), cache_file=str(context / "no/such/directory/file"))
    loaded.root.digest()
    loaded.save()
