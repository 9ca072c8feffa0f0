"""What COPY and ADD take, and where they put it: sources, destinations, owners, modes and what is left out."""

from __future__ import annotations

from typing import Final

from .context import Context
from .dice import Dice

_SOURCES: Final = (
    "*.ts",
    "src/*",
    "src/*.ts",
    "*/",
    "[ab]*",
    "*",
    "l*",
    "docs/?.md",
    "src/*/x",
    "*/*.ts",
    "s*",
    "no*thing",
    "x*",
    "${V:-a}",
)
_ODD_SOURCES: Final = ("nothing", "$V", "lib/..", "dirlink/util.ts", "dirlink/", "missing/x", "/", "..", "a/", "lib/./one.js")
_PATTERNS: Final = (
    *(
        "[a-c]*",
        "[^a]*",
        "src/[^d]*",
        "\\a",
        "sr\\c/*",
        "?",
        "*.t[sx]",
        "**",
        "src/**",
        "**/*.ts",
        "src/d*/*",
        "[a-b].txt",
        "[[]a]",
        "a\\*b",
    ),
    *("./*.ts", "*/../a", "src//*.ts", "src/./*", "*/one.*", "docs/[!a].md", "*/deep", "*/deep/*", "s?c/index.ts"),
)
_ODD_PATTERNS: Final = ("[", "src/[d-a]*", "a\\", "[]a]")
_BEHIND_LINKS: Final = ("/*", "/*.ts", "/deep", "/index.ts", "/*/x", "/no*", "*", "/../a", "/d*", "/")
_DESTS: Final = (
    *(
        "/x",
        "/x/",
        ".",
        "./",
        "x",
        "d/",
        "/d/e/f",
        "/d/e/",
        "/app/",
        "/app/",
        "$D/",
        "${D:-/z}",
        "/x/.",
        "../up/",
        "/app/src",
        "/tmp/t",
        "/ln/",
    ),
)
_ODD_DESTS: Final = ("/etc/x", "/ln", "${D}", "/etc/passwd", "/x/y/z", "../up", "/bin/", "//x//", "/x/../y/", "/app/./")
_OWNERS: Final = ("1000", "1000:1000", "node", "node:node", "007:1", "${U:-3}", "12:node")
_ROOT: Final = ("root", "0", "0:0", "root:root", "0:root", "root:0")
_ODD_OWNERS: Final = ("nobody", "$U", "1:", "node:nogroup", "-1")
_NUMBERS: Final = ("755", "0644", "4755", "600", "1777")
_MODES: Final = (*_NUMBERS, "u+x", "a=rX", "go-rwx", "${M:-640}")
_MORE_MODES: Final = ("u=rwx,g=rx,o=", "+x", "0", "02755", "ug+s", "a+t", "u+rw,go=u")
_ODD_MODES: Final = ("9", "$M", "10000", "rwx", "u+q")
_EXCLUDES: Final = ("*.ts", "src/deep", "**/x", "a", "src/*", "deep", "index.ts", "lib/")
_ODD_EXCLUDES: Final = (
    *(
        "*",
        "**",
        "!a",
        "src",
        "!src/index.ts",
        "**/*.js",
        "[a-b]*",
        "[^a]*",
        "!src/deep/er",
        "./a",
        "/a",
        "*/x",
        "deep/er",
        "nothing",
    ),
)


def source(dice: Dice, context: Context) -> str:
    """A file, a directory or a pattern of the context; seldom nothing that is there."""
    if dice.theme("links", 0.3) and (links := context.links()):
        return f"{dice.one(links)}{dice.one(('', '', *_BEHIND_LINKS))}"
    if dice.theme("patterns", 0.4):
        pattern: str = dice.right(_PATTERNS, _ODD_PATTERNS)
        return pattern
    if dice.chance(0.25):
        return "."
    if dice.chance(0.6):
        path: str = dice.one(sorted(context.entries))
        # A directory of its way, or the file itself.
        above = path.split("/")
        around = "src/../" if any(name.startswith("src/") for name in context.entries) else ""
        before: str = dice.one(("", "", "./", around, "/"))
        return before + "/".join(above[: dice.number(1, len(above))])
    other: str = dice.right(_SOURCES, _ODD_SOURCES, often=0.25)
    return other


def destination(dice: Dice, *, several: bool) -> str:
    """Where to; several sources mostly go into a directory."""
    place: str = dice.right(_DESTS, _ODD_DESTS)
    if dice.theme("platforms", 0.2):
        place = dice.one(("/$TARGETARCH/", "/${TARGETOS:-os}", "/p-$BUILDPLATFORM"))
    return place + "/" if several and not place.endswith(("/", ".")) and dice.chance(0.8) else place


def owner(dice: Dice, chance: float) -> list[str]:
    """--chown, or nothing."""
    if dice.theme("owners", 0.5):
        return [f"--chown={dice.one((*_OWNERS, *_ROOT, *_ROOT))}"]
    return [f"--chown={dice.right(_OWNERS, _ODD_OWNERS)}"] if dice.chance(chance) else []


def mode(dice: Dice, chance: float) -> list[str]:
    """--chmod, or nothing."""
    if not dice.chance(0.5 if dice.theme("chmods") else chance):
        return []
    modes = _NUMBERS if dice.older else (*_MODES, *_MORE_MODES) if dice.theme("chmods") else _MODES
    return [f"--chmod={dice.one(modes) if dice.older else dice.right(modes, _ODD_MODES)}"]


def excluded(dice: Dice) -> list[str]:
    """--exclude, or nothing."""
    if not dice.theme("excludes", 0.6):
        return []
    if dice.theme("errors", 0.1):
        return [f"--exclude={dice.one(('[', 's' + chr(92) + 'rc', '', '!'))}"]
    flags = [f"--exclude={dice.one(_EXCLUDES, _ODD_EXCLUDES, often=0.35)}" for _ in range(dice.one((1, 1, 2, 2, 3)))]
    # What is left out and what is let in again, beside each other.
    return [*flags, *(["--exclude=src", "--exclude=!src/index.ts"] if dice.chance(0.15) else [])]
