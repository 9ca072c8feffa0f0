"""A notebook that is opened again shows its widgets as stills where the kernel that they lived in is gone.

JupyterLab prefers the live view of an output whenever the notebook has one, and shows an error where it finds no such widget. What a
widget showed is in the notebook as HTML besides (``LabWidget``), with the process of its kernel: where that does not run any more, the
view is left out of what the server hands to the page. ``jupyter-config/jupyter_config.py`` puts this in the place of Jupyter's own.
"""

from __future__ import annotations

from typing import Any, Final

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

_VIEW: Final = "application/vnd.jupyter.widget-view+json"
# In the metadata of an output.
MARK: Final = "layerlab"


class StillsWithoutKernel(AsyncLargeFileManager):
    """Jupyter's contents manager for files, with the outputs of dead kernels as stills."""

    async def get(self, path: str, content: bool = True, *words: Any, **options: Any) -> Any:
        """The model of a file or folder; see ``ContentsManager.get``."""
        model = await super().get(path, content, *words, **options)  # type: ignore[no-untyped-call]
        if content and model.get("type") == "notebook":
            stills(model["content"], await self._running(path.strip("/")))
        return model

    async def _running(self, path: str) -> frozenset[int]:
        """The processes of the kernels that this notebook has."""
        found = set()
        sessions = getattr(self.parent, "session_manager", None)
        kernels = getattr(self.parent, "kernel_manager", None)
        for session in await sessions.list_sessions() if sessions is not None else ():
            if session.get("path") == path and kernels is not None and session["kernel"]["id"] in kernels:
                found.add(_process(kernels.get_kernel(session["kernel"]["id"])))
        return frozenset(found)


def _process(kernel: Any) -> int:
    """The process of a kernel, 0 where it is on another machine: then its views count as gone, and no notebook fails to open."""
    return getattr(getattr(kernel, "provisioner", None), "pid", None) or 0


def stills(notebook: Any, running: frozenset[int]) -> None:
    """Leave the live views of our widgets out of a notebook where they have a still, and their kernel does not run."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data, mark = output.get("data", {}), output.get("metadata", {}).get(MARK)
            if _VIEW in data and "text/html" in data and isinstance(mark, dict) and mark.get("process") not in running:
                del data[_VIEW]
