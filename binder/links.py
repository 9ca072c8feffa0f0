"""Writes the Binder badge and one link for each notebook into README.md; ``--check`` only says whether they are right.

Where the repository is hosted is one setting: ``[tool.layerlab] binder`` in pyproject.toml.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Final
from urllib.parse import quote

ROOT: Final = Path(__file__).resolve().parent.parent
_HUB: Final = "https://mybinder.org"
_BEGIN: Final = "<!-- Binder: written by binder/links.py -->"
_END: Final = "<!-- end of Binder -->"
_BLOCK: Final = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)


def repository(root: Path = ROOT) -> str:
    """``OWNER/NAME/REF``. Raises ``ValueError`` where the setting has another form."""
    setting = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["layerlab"]["binder"]
    if re.fullmatch(r"[\w.-]+/[\w.-]+/[\w./-]+", setting) is None:
        raise ValueError(f"[tool.layerlab] binder = {setting!r} is not OWNER/NAME/REF")
    return str(setting)


def link(notebook: str, root: Path = ROOT) -> str:
    """Where a notebook of the course opens in JupyterLab on Binder."""
    owner, name, reference = repository(root).split("/", 2)
    return f"{_HUB}/v2/gh/{owner}/{name}/{quote(reference, safe='')}?labpath={quote(f'course/{notebook}', safe='')}"


def block(root: Path = ROOT) -> str:
    """The part of README.md that is written here."""
    notebooks = sorted(path.name for path in (root / "course").glob("*.ipynb"))
    lines = [f"[![Launch on Binder]({_HUB}/badge_logo.svg)]({link(notebooks[0], root)})", ""]
    lines += [f"- [{_title(root / 'course' / name)}]({link(name, root)})" for name in notebooks]
    return "\n".join([_BEGIN, *lines, _END])


def _title(path: Path) -> str:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        found = re.search(r"^# (.+)$", "".join(cell["source"]), re.MULTILINE)
        if cell["cell_type"] == "markdown" and found:
            return found[1]
    return path.stem


def main(arguments: list[str]) -> int:
    """Write or check. Returns 1 where ``--check`` found something else than it would write, or there is no place for it."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if _BLOCK.search(text) is None:
        print(f"binder/links.py: README.md has no lines {_BEGIN} and {_END}", file=sys.stderr)
        return 1
    wanted = _BLOCK.sub(lambda _: block(), text)
    if wanted == text:
        return 0
    if arguments == ["--check"]:
        print(
            "binder/links.py: the Binder links in README.md are not those of pyproject.toml; run: python binder/links.py", file=sys.stderr
        )
        return 1
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
