"""Settings for every Jupyter program in .venv: ``./lab`` links them there, so that ``jupyter nbconvert`` reads them in any folder.

What a widget shows is in the notebook twice: as a live view, and as a still or a table for where there is no kernel. A page that nbconvert
makes prefers the view as soon as a notebook has the saved state of its widgets, and then shows nothing without scripts from a network.
Here the still comes first. Widgets that have none keep their view. A notebook that is opened again without its kernel is handed out with
the still, too (``layerlab/notebook/reopened.py``).
"""

c = get_config()  # noqa: F821 - given by traitlets

c.WidgetsDataTypeFilter.display_data_priority = [
    "application/javascript",
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/vnd.mermaid",
    "text/latex",
    "image/png",
    "image/jpeg",
    "application/vnd.jupyter.widget-view+json",
    "text/plain",
]

c.ServerApp.contents_manager_class = "layerlab.notebook.reopened.StillsWithoutKernel"
