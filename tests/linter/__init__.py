"""Build checks, judged by what Docker says to the same files. ``cases.json`` has the files and, under ``docker``, its answers."""
