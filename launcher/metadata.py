"""What an installer would write of this project into .venv: its version, and where its verbs are found.

Not an editable install: that asks a package index for the build backend, and writes a path that breaks when the clone moves.
"""

import glob
import os
import shutil

from launcher.places import ROOT, read, write


def version() -> str:
    for line in (read(os.path.join(ROOT, "layerlab", "version.py")) or b"").decode().splitlines():
        if line.startswith("__version__"):
            return line.split("=")[1].strip().strip("\"'")
    return "0"


def write_metadata(packages: str) -> None:
    """Write ``*.dist-info`` into that site-packages (packaging.python.org: recording installed projects; entry points)."""
    import tomllib

    project = tomllib.loads((read(os.path.join(ROOT, "pyproject.toml")) or b"").decode())["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    points = "\n".join(f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in names.items()) for group, names in groups.items())
    for old in glob.glob(os.path.join(glob.escape(packages), "layerlab-*.dist-info")):
        shutil.rmtree(old)
    folder = os.path.join(packages, f"layerlab-{version()}.dist-info")
    os.mkdir(folder)
    write(os.path.join(folder, "entry_points.txt"), points.encode())
    write(os.path.join(folder, "INSTALLER"), b"lab\n")
    write(os.path.join(folder, "METADATA"), f"Metadata-Version: 2.1\nName: layerlab\nVersion: {version()}\n".encode())
