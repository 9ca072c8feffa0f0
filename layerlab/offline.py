"""The offline folder: what ``fetch`` stored, for a classroom without a network.

``LAYERLAB_OFFLINE`` names it; ``./lab --offline`` sets that. While it is set no registry is asked: a base image that the store lacks is
taken from the folder, and npm in a RUN installs from the folder's packages.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from layerlab.errors import UsageError

VARIABLE: Final = "LAYERLAB_OFFLINE"
LIST: Final = "fetched.json"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a folder. ``images``: canonical name to an OCI layout; ``packages``: an npm cache; ``lock``: digest of the app's lock
    file that filled it; ``stand_ins``: names for which each machine makes a stand-in. Paths are relative to the folder."""

    images: dict[str, str]
    packages: str
    lock: str
    stand_ins: tuple[str, ...] = ()
    schema: int = 1


class OfflineFolder(msgspec.Struct, frozen=True):
    """A folder with its list."""

    path: Path
    fetched: Fetched

    @property
    def packages(self) -> str:
        """The npm cache's directory."""
        return str(self.path / self.fetched.packages)

    def image(self, canonical: str) -> str | None:
        """The OCI layout of an image, if it is there."""
        found = self.fetched.images.get(canonical)
        return str(self.path / found) if found is not None else None


def offline_folder() -> OfflineFolder | None:
    """The folder that ``LAYERLAB_OFFLINE`` names. Raises ``UsageError`` for one that ``fetch`` did not fill."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    try:
        fetched = msgspec.json.decode((Path(name) / LIST).read_bytes(), type=Fetched)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{VARIABLE}={name}: there is no offline folder: {error}", remedy="Make it, with a network: ./lab fetch"
        ) from error
    return OfflineFolder(Path(name).resolve(), fetched)
