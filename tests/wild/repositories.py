"""A repository, bare or with a work tree, as files in a scratch directory; and which of them are Dockerfiles.

A snapshot may lack large objects: such a file is there, and empty. Submodules are empty directories, as ``git clone`` leaves them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

_NAME: Final = re.compile(r"(?:docker|container)file(?:\.[^/]+)?\Z|[^/]+\.(?:docker|container)file\Z", re.IGNORECASE)
# What tells about a Dockerfile, or makes one, and is none.
_OTHER: Final = re.compile(
    r"\.(?:dockerignore|containerignore|md|rst|html|png|svg|go|py|rb|rs|js|ts|tsx|java|kt|c|h|php|pl|sh|bash|bats|json|ya?ml|toml|xml|patch|diff|lock|sha256|golden)\Z",
    re.IGNORECASE,
)


class Repository(msgspec.Struct, frozen=True):
    """A repository as it was checked out. ``commit`` is empty for files that no git knows."""

    name: str
    commit: str
    root: str
    dockerfiles: tuple[str, ...]


def check_out(place: Path, scratch: Path) -> Repository:
    """Write the newest commit of a git directory (or copy a directory) below ``scratch``. Raises ``CalledProcessError``, ``OSError``."""
    git = place / ".git" if (place / ".git").exists() else place
    name = _name(place)
    root = scratch / name
    if not (git / "objects").is_dir():
        shutil.copytree(place, root, symlinks=True)
        return Repository(name, "", str(root), find(root))
    root.mkdir(parents=True)
    commit = _git(git, "rev-parse", "HEAD").strip()
    index = scratch / f"{name}.index"
    environment = {**os.environ, "GIT_INDEX_FILE": str(index), "GIT_LFS_SKIP_SMUDGE": "1"}
    command = ["git", f"--git-dir={git}", f"--work-tree={root}", "-c", "core.hooksPath=/dev/null"]
    subprocess.run([*command, "read-tree", "HEAD"], env=environment, check=True, capture_output=True)
    # Objects that the snapshot lacks are errors, and leave the others alone.
    subprocess.run([*command, "checkout-index", "--all", "--quiet"], env=environment, check=False, capture_output=True, cwd=root)
    index.unlink()
    for row in _git(git, "ls-tree", "-r", "-z", "HEAD").split("\0"):
        meta, _, path = row.partition("\t")
        if not path or os.path.lexists(root / path):
            continue
        if meta.startswith("160000"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    return Repository(name, commit, str(root), find(root))


def find(root: Path) -> tuple[str, ...]:
    """The Dockerfiles below a directory, by path: regular files by name."""
    found = []
    for here, folders, names in os.walk(root):
        folders[:] = sorted(folder for folder in folders if folder != ".git")
        for name in names:
            path = Path(here, name)
            if _NAME.match(name) and not _OTHER.search(name) and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(root).as_posix())
    return tuple(sorted(found))


def _name(place: Path) -> str:
    """``owner+name`` of a mirror that lies in ``owner+name/repo``, else the directory's own name."""
    place = place.resolve()
    own = [part for part in place.parts if part not in (".git", "repo", "repo.git")]
    return own[-1].removesuffix(".git") if own else "repository"


def _git(git: Path, *words: str) -> str:
    done = subprocess.run(["git", f"--git-dir={git}", *words], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")
