"""Where layerlab keeps what it keeps."""

from __future__ import annotations

import os


def default_store() -> str:
    """``LAYERLAB_STORE``, else ``$XDG_DATA_HOME/layerlab/store``."""
    chosen = os.environ.get("LAYERLAB_STORE")
    if chosen:
        return os.path.abspath(chosen)
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "layerlab", "store")
