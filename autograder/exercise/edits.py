"""Edits of the app, drawn from a seed: the same seed gives the same edits on any machine, and no answer can know them beforehand."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from autograder.exercise.puzzle import Puzzle, draw_puzzle, name
from layerlab.errors import UsageError

_GREETING: Final = re.compile(r'(const GREETING = ")([^"]*)(";)')
_KINDS: Final = ("greeting", "route", "new-file", "two-files")
_SEND: Final = re.compile(r"(send\(`\$\{greeting\})(\\n`\))")

SOURCES: Final = "src/"
INDEX: Final = "src/index.ts"
ROUTES: Final = "src/routes.ts"
SCHEMA: Final = "prisma/schema.prisma"
MANIFEST: Final = "package.json"
LOCK: Final = "package-lock.json"
README: Final = "README.md"
NEEDED: Final = (INDEX, ROUTES, SCHEMA, MANIFEST, LOCK, README)


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A change of some files of the app. ``files``: path to its whole new text, in order. ``what``: in words."""

    what: str
    files: tuple[tuple[str, str], ...]


class Edits(msgspec.Struct, frozen=True, kw_only=True):
    """All edits of one grading. ``answer``: what the app says on ``/`` after ``source``; ``port``: where it is asked to listen.

    ``marker``  a string literal of the edited source, which compiled code has too and ``answer`` has verbatim. ``erased``: names of types
                in the edited source, which no compiled code has. ``value``: what its program comes to, a part of ``answer``, where
                the environment has ``environment``.
    """

    source: Edit
    dependency: Edit
    schema: Edit
    readme: Edit
    modules: Edit
    answer: str
    marker: str
    erased: tuple[str, ...]
    value: str
    environment: dict[str, str]
    port: int


def draw(seed: str, app: Mapping[str, str], nonce: str = "", salt: str = "") -> Edits:
    """Draw the edits. ``app``: path to text, with at least the paths of ``NEEDED``, and all sources.

    ``salt``  of the answer: the seed decides what kind of edit is made, for all alike, and both together the program (``puzzle``) whose
              result the image must serve. Whoever has read it in the feedback, and writes it into another answer, is asked for another.

    ``nonce`` (letters and digits) makes edits that no cache can know. It goes into most of them as words that mean nothing. Sources get
    another program, and a file more, of some length: what a step could make of them, be it how many lines they have when comments are
    taken out, is not what it made of those without a nonce, which were built before. And all of them are edited: a step that reads one
    runs again, whichever it is.
    Raises ``UsageError`` where the app lacks the lines that an edit changes.
    """
    missing = [path for path in NEEDED if path not in app]
    if missing:
        raise UsageError(f"the app has no {', '.join(missing)}: the edits of the grading change them")
    puzzle = draw_puzzle(_generator(f"{seed}\0{salt}\0{nonce}" if nonce else f"{seed}\0{salt}", "puzzle"))
    draws = _generator(seed, "source")
    kind = draws.choice(_KINDS)
    if nonce:
        draws = _generator(f"{seed}\0{nonce}", "source")
    source, answer = _source(kind, draws, puzzle, app)
    if nonce:
        others = [path for path in sorted(app) if path.startswith(SOURCES) and path not in dict(source.files)]
        more = [(path, f"{app[path].rstrip()}\n\nexport const {name(draws)} = {draws.getrandbits(31)};\n") for path in others]
        source = msgspec.structs.replace(source, files=(*source.files, *more, _one_more(draws)))
    return Edits(
        source=source,
        dependency=_dependency(_generator(seed, "dependency"), app, nonce),
        schema=_schema(_generator(seed, "schema"), app, nonce),
        readme=_readme(_generator(seed, "readme"), app, nonce),
        modules=_modules(_generator(seed, "modules"), nonce),
        answer=answer,
        marker=puzzle.marker,
        erased=puzzle.erased,
        value=puzzle.value,
        environment={puzzle.variable: puzzle.given},
        port=20000 + _generator(seed, "port").getrandbits(12),
    )


def _generator(seed: str, purpose: str) -> random.Random:
    # Each purpose has its own, so that one more draw for one edit leaves the others as they are.
    digest = hashlib.sha256(f"{purpose}\0{seed}".encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - repeatable on purpose


def _one_more(draws: random.Random) -> tuple[str, str]:
    """A file that nobody imports; longer than what two programs differ by."""
    lines = [f"export const {name(draws)} = {draws.getrandbits(draws.randrange(8, 31))};\n" for _ in range(draws.randrange(40, 80))]
    return f"src/{name(draws)}.ts", "".join(lines)


def _source(kind: str, draws: random.Random, puzzle: Puzzle, app: Mapping[str, str]) -> tuple[Edit, str]:
    found = _GREETING.search(app[INDEX])
    if found is None or not _SEND.search(app[ROUTES]):
        raise UsageError(f'{INDEX} needs a line const GREETING = "…"; and {ROUTES} a line that sends `${{greeting}}\\n`')
    constant = name(draws)
    if kind == "greeting":
        text = _greeting(app[INDEX], puzzle.expression, puzzle.code)
        return Edit(what=f"{INDEX}: another greeting", files=((INDEX, text),)), puzzle.value
    if kind == "route":
        # Behind the routes: what is declared there is there before anybody asks.
        text = f"{_sent(app[ROUTES], constant)}\n{puzzle.code}const {constant} = {puzzle.expression};\n"
        return Edit(what=f"{ROUTES}: another answer", files=((ROUTES, text),)), f"{found[2]} {puzzle.value}"
    first, second = f"src/{name(draws)}.ts", f"src/{name(draws)}.ts"
    if kind == "new-file":
        module = f"{puzzle.code}export const {constant}: string = {puzzle.expression};\n"
        user = f"{_import(constant, first)}{_sent(app[ROUTES], constant)}"
        return Edit(what=f"a new file {first}, used by {ROUTES}", files=((first, module), (ROUTES, user))), f"{found[2]} {puzzle.value}"
    other = name(draws).capitalize()
    types = f"export interface {other} {{ text(): string }}\nexport type {other}s = readonly {other}[];\n"
    module = f"import type {{ {other}, {other}s }} from {_from(first)};\n{puzzle.code}"
    module += f"const made: {other} = {{ text: () => {puzzle.expression} }};\nexport const {constant}: {other}s = [made];\n"
    user = f"{_import(constant, second)}{_greeting(app[INDEX], f'{constant}[0]!.text()')}"
    edit = Edit(what=f"new files {first} and {second}, used by {INDEX}", files=((first, types), (second, module), (INDEX, user)))
    return edit, puzzle.value


def _from(path: str) -> str:
    """How a module of the same folder is named: as what it is compiled to."""
    return f'"./{path.removeprefix("src/").removesuffix(".ts")}.js"'


def _import(constant: str, path: str) -> str:
    return f"import {{ {constant} }} from {_from(path)};\n"


def _greeting(text: str, expression: str, before: str = "") -> str:
    """The app's first file with another greeting."""
    return _GREETING.sub(lambda _: f"{before}const GREETING: string = {expression};", text)


def _sent(text: str, constant: str) -> str:
    """The routes, which send the value of a constant too."""
    return _SEND.sub(lambda match: f"{match[1]} ${{{constant}}}{match[2]}", text)


def _dependency(draws: random.Random, app: Mapping[str, str], nonce: str) -> Edit:
    manifest, lock = json.loads(app[MANIFEST]), json.loads(app[LOCK])
    direct = {*manifest.get("dependencies", {}), *manifest.get("devDependencies", {})}
    # A package that is in the tree already: the edit is real, and needs nothing that the prepared npm cache lacks.
    known = sorted(
        (path.removeprefix("node_modules/"), row["version"])
        for path, row in lock["packages"].items()
        if path.startswith("node_modules/")
        and path.count("node_modules/") == 1
        and not {"dev", "optional", "peer", "devOptional", "link"} & row.keys()
        and path.removeprefix("node_modules/") not in direct
    )
    if not known:
        raise UsageError(f"{LOCK} has no package that could become a direct dependency")
    package, version = draws.choice(known)
    for place in (manifest, lock["packages"][""]):
        place["dependencies"] = dict(sorted({**place.get("dependencies", {}), package: version}.items()))
    if nonce:
        manifest["description"] = nonce
    files = ((MANIFEST, json.dumps(manifest, indent=2) + "\n"), (LOCK, json.dumps(lock, indent=2) + "\n"))
    return Edit(what=f"{MANIFEST} and {LOCK}: {package} {version} as a dependency", files=files)


def _schema(draws: random.Random, app: Mapping[str, str], nonce: str) -> Edit:
    model = name(draws).capitalize()
    text = f"{app[SCHEMA].rstrip()}\n\nmodel {model} {{\n  id Int @id @default(autoincrement())\n}}\n" + (f"// {nonce}\n" if nonce else "")
    return Edit(what=f"{SCHEMA}: a new model {model}", files=((SCHEMA, text),))


def _readme(draws: random.Random, app: Mapping[str, str], nonce: str) -> Edit:
    return Edit(what=f"{README}: one more line", files=((README, f"{app[README]}\n{name(draws)} {nonce}\n"),))


def _modules(draws: random.Random, nonce: str) -> Edit:
    package = name(draws)
    path = f"node_modules/{package}"
    files = (
        (f"{path}/package.json", json.dumps({"name": package, "version": "1.0.0"}) + "\n"),
        (f"{path}/index.js", f'module.exports = "{name(draws)} {nonce}";\n'),
    )
    return Edit(what=f"{path} on the host", files=files)
