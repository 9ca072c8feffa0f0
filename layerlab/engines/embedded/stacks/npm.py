"""Lending an npm cache to one command: it can install from it without a network, and can do it no harm.

npm rewrites the index even when it only reads. Where there are overlays, the command gets one over the cache. Elsewhere the index is a
copy, made anew each time, and the packages themselves are the cache's, read-only; they are reached by links, so that
``npm cache clean``, which many write behind their install, can remove what it sees.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Final, NamedTuple

from layerlab.engines.embedded.executors.base import BindMount, Mount, OverlayMount

# Below /dev, which is made anew for every command, so nothing of it can end in a layer.
NPM_CACHE: Final = "/dev/.npm-cache"
# Where packages lie that a lent cache has links to.
PACKAGES: Final = "/dev/.npm-packages"
INDEX: Final = "index-v5"
CONTENT: Final = "content-v2"
OFFLINE: Final = {"npm_config_offline": "true", "npm_config_logs_max": "0", "npm_config_audit": "false", "npm_config_fund": "false"}


class LentCache(NamedTuple):
    """What a command gets. ``place``: the directory that was made for it, which the caller removes."""

    place: str
    environment: dict[str, str]
    mounts: tuple[Mount, ...]


def make_lendable(cache: str) -> None:
    """Prepare a filled cache for overlays. Raises ``OSError``.

    Below an overlay, a step with another user than root needs the permissions; the directory itself keeps others on this machine out.
    """
    os.chmod(cache, 0o700)
    _open_to_all(cache)


def _open_to_all(directory: str) -> None:
    """What is in a directory, not the directory itself."""
    for folder, folders, files in os.walk(directory):
        for name in folders:
            os.chmod(os.path.join(folder, name), 0o777)
        for path in (os.path.join(folder, name) for name in files):
            if not os.path.islink(path):
                os.chmod(path, 0o666)


def lend(cache: str, directory: str | None = None, *, overlay: bool = False) -> LentCache:
    """Lend a filled cache; what the command writes, and a copy of the index where there is one, is in ``directory``.

    ``overlay``  the executor can mount one there, and the cache was made lendable. Raises ``OSError``.
    """
    place = tempfile.mkdtemp(prefix="npm-", dir=directory)
    environment = {"npm_config_cache": NPM_CACHE, **OFFLINE}
    try:
        if overlay:
            upper, work = os.path.join(place, "upper"), os.path.join(place, "work")
            os.mkdir(upper)
            # The root of an overlay has the mode of the upper directory.
            os.chmod(upper, 0o777)
            os.mkdir(work)
            return LentCache(place, environment, (OverlayMount(source=cache, target=NPM_CACHE, upper=upper, work=work),))
        shutil.copytree(os.path.join(cache, "_cacache", INDEX), os.path.join(place, "_cacache", INDEX))
        for name in ("tmp", CONTENT):
            os.mkdir(os.path.join(place, "_cacache", name))
        _open_to_all(place)
        os.chmod(place, 0o777)
        packages = os.path.join(cache, "_cacache", CONTENT)
        for name in os.listdir(packages):
            os.symlink(f"{PACKAGES}/{name}", os.path.join(place, "_cacache", CONTENT, name))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    # npm checks the digest of each package that it takes, so where an executor has no read-only mounts no copy is needed.
    mounts = (
        BindMount(source=place, target=NPM_CACHE, readonly=False),
        BindMount(source=packages, target=PACKAGES, readonly=True, checked=True),
    )
    return LentCache(place, environment, mounts)
