"""Settings for every Jupyter program in .venv: ``./lab`` links them there, so that ``jupyter nbconvert`` reads them in any folder.

What a widget shows is in the notebook twice: as a live view, and as a table for where there is no kernel. A page that nbconvert makes
prefers the view as soon as a notebook has the saved state of its widgets, and then shows nothing without scripts from a network. Here
the table comes first. Widgets that have no table keep their view.
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
