"""A small registry for this machine, by the OCI distribution specification: to see what a push sends and a pull fetches.

``storage`` keeps blobs and manifests in a directory, ``handler`` speaks HTTP, ``server`` listens. It knows nothing of engines.
"""

from layerlab.registry_server.server import LocalRegistry

__all__ = ["LocalRegistry"]
