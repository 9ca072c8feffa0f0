"""The learner's working copy of the app: made from ``node-app``, restored on request, never a tracked file."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Final

from layerlab.engines.data_directory import default_store
from layerlab.errors import UsageError
from layerlab.fsutil import remove_tree
from layerlab.lesson.demo import INSTALLED, find_app

VARIABLE: Final = "LAYERLAB_WORK"
# The learner writes these two in the course; what a build leaves on the host is never wanted.
_NOT_COPIED: Final = ("Dockerfile.optimized", ".dockerignore", "node_modules", "dist", "*.db", "*.db-journal")
# The recipe is in the build context like any other file, and with COPY . . its own edits would count. The course comes to that, but
# not in its first minutes.
_FIRST_IGNORE: Final = "Dockerfile*\n.dockerignore\n"
_MADE_AGAIN: Final = ("node_modules", "dist")


def work_directory() -> Path:
    """Where working copies are: ``LAYERLAB_WORK``, else ``work`` beside the course's app, or beside the store where that is installed.

    Raises ``UsageError`` without an app.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    app = find_app(None).resolve()
    return (Path(default_store()) if app == INSTALLED else app).parent / "work"


def working_copy() -> Path:
    """The working copy, made when it is not there. Raises ``UsageError`` where it cannot be made."""
    copy = work_directory() / "node-app"
    if copy.is_dir() and any(copy.iterdir()):
        return copy
    try:
        _fill(copy)
    except OSError as error:
        raise UsageError(
            f"the working copy {copy} cannot be made: {error.strerror or error}",
            remedy=f"Set {VARIABLE} to a directory that you can write to.",
        ) from error
    return copy


def reset() -> tuple[Path, Path | None]:
    """Restore the working copy. Returns it, and the archive that now holds what was in it (``None`` where nothing was lost).

    The directory itself stays, since a kernel or a terminal may be in it. Raises ``UsageError``.
    """
    copy = work_directory() / "node-app"
    kept = None
    try:
        if copy.is_dir() and any(copy.iterdir()):
            if _is_untouched(copy):
                return copy, None
            kept = pack(_archive_of_now(), last=True)
            for child in copy.iterdir():
                remove_tree(str(child))
        _fill(copy)
    except OSError as error:
        raise UsageError(f"the working copy {copy} cannot be restored: {error}", remedy="Close what uses it, and try again.") from error
    return copy, kept


def kept_archives() -> list[Path]:
    """The archives that ``reset`` and ``restore`` left, the newest first."""
    archives = (work_directory() / "kept").glob("node-app-*.zip")
    return sorted(archives, key=lambda archive: (archive.stat().st_mtime_ns, archive.name), reverse=True)


def restore(archive: Path) -> tuple[Path, Path | None]:
    """Bring back what an archive holds. Returns as ``reset`` does.

    Raises ``UsageError``: for an archive that cannot be read before anything is changed, and where the disk fails later with what there was
    in an archive of its own.
    """
    copy = work_directory() / "node-app"
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".restored-") as folder:
            _unpack(archive, Path(folder))
            kept = None
            if copy.is_dir() and any(copy.iterdir()):
                kept = pack(_archive_of_now(), last=True)
            copy.mkdir(parents=True, exist_ok=True)
            for child in copy.iterdir():
                remove_tree(str(child))
            for child in (Path(folder) / "node-app").iterdir():
                shutil.move(child, copy / child.name)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{archive.name} cannot be brought back: {error}", remedy="lab.restore() lists what else was kept.") from error
    return copy, kept


def _archive_of_now() -> Path:
    return work_directory() / "kept" / f"node-app-{time.strftime('%Y%m%d-%H%M%S')}.zip"


def _unpack(archive: Path, folder: Path) -> None:
    (folder / "node-app").mkdir()
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            # Names that lead elsewhere are made harmless by zipfile; modes it forgets.
            target = source.extract(member, folder)
            mode = stat.S_IMODE(member.external_attr >> 16)
            if mode and not member.is_dir():
                os.chmod(target, mode)


def pack(archive: Path, *, last: bool = False) -> Path:
    """Write the working copy to a zip archive, without what a build can make again.

    ``last``  it is removed afterwards: what its owner may not read is made readable, and a ``.git`` is packed, too. Raises ``OSError``.
    """
    left_out = _MADE_AGAIN if last else (*_MADE_AGAIN, ".git")
    copy = work_directory() / "node-app"
    archive.parent.mkdir(parents=True, exist_ok=True)
    while archive.exists():
        archive = archive.with_stem(archive.stem + "-2")
    descriptor, partial = tempfile.mkstemp(dir=archive.parent, prefix=".partial-")
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as target:
            for folder, folders, files in os.walk(copy):
                folders[:] = sorted(name for name in folders if name not in left_out)
                for name in folders if last else ():
                    # A learner's experiment with chmod may have shut it, for us too.
                    _permit(Path(folder, name), 0o700)
                for name in sorted(files):
                    path = Path(folder, name)
                    if last:
                        _permit(path, 0o400)
                    if path.is_file() and os.access(path, os.R_OK):
                        # A name from elsewhere may be no text; an archive knows only text.
                        inside = os.fsencode(path.relative_to(copy.parent)).decode("utf-8", "replace")
                        target.write(path, inside)
        os.rename(partial, archive)
    except BaseException:
        os.unlink(partial)
        raise
    return archive


def _fill(copy: Path) -> None:
    shutil.copytree(find_app(None), copy, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
    (copy / ".dockerignore").write_text(_FIRST_IGNORE, encoding="utf-8")


def _is_untouched(copy: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder))
        return _content(Path(folder)) == _content(copy)


def _content(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else b"")
        for path in directory.rglob("*")
    }


def _permit(path: Path, bits: int) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode) and mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)
