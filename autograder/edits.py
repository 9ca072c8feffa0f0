"""Edits of the app, drawn from a seed: the same seed gives the same edits on any machine, and no answer can know them beforehand."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from layerlab.errors import UsageError

_WORDS: Final = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "harbor", "iris", "juniper", "kestrel", "lagoon")
_GREETING: Final = re.compile(r'(const GREETING = ")([^"]*)(";)')
_SEND: Final = re.compile(r"(send\(`\$\{greeting\})(\\n`\))")

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
    """All edits of one grading. ``answer``: what the app says on ``/`` after ``source``, with the drawn ``words`` in it; ``port``: where
    it is asked to listen."""

    source: Edit
    dependency: Edit
    schema: Edit
    readme: Edit
    modules: Edit
    answer: str
    words: str
    port: int


def draw(seed: str, app: Mapping[str, str], nonce: str = "", salt: str = "") -> Edits:
    """Draw the edits. ``app``: path to text, with at least the paths of ``NEEDED``.

    ``salt``  of the answer: the seed decides what kind of edit is made, for all alike, and both together the words that the image must
              serve. Whoever has read them in the feedback, and writes them into another answer, is asked for other words.

    ``nonce`` (letters and digits) goes into every edit as words that mean nothing: the same edit, and yet one that no cache can know.
    Raises ``UsageError`` where the app lacks the lines that an edit changes.
    """
    missing = [path for path in NEEDED if path not in app]
    if missing:
        raise UsageError(f"the app has no {', '.join(missing)}: the edits of the grading change them")
    words = _words(_generator(f"{seed}\0{salt}", "words"))
    source, answer = _source(_generator(seed, "source"), words, app)
    if nonce:
        source = msgspec.structs.replace(source, files=tuple((path, f"{text}// {nonce}\n") for path, text in source.files))
    return Edits(
        source=source,
        dependency=_dependency(_generator(seed, "dependency"), app, nonce),
        schema=_schema(_generator(seed, "schema"), app, nonce),
        readme=_readme(_generator(seed, "readme"), app, nonce),
        modules=_modules(_generator(seed, "modules"), nonce),
        answer=answer,
        words=words,
        port=20000 + _generator(seed, "port").getrandbits(12),
    )


def _generator(seed: str, purpose: str) -> random.Random:
    # Each purpose has its own, so that one more draw for one edit leaves the others as they are.
    digest = hashlib.sha256(f"{purpose}\0{seed}".encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - repeatable on purpose


def _name(draws: random.Random) -> str:
    return f"{draws.choice(_WORDS)}{draws.getrandbits(32):08x}"


def _words(draws: random.Random) -> str:
    return f"{draws.choice(_WORDS)} {draws.choice(_WORDS)} {draws.getrandbits(64):016x}"


def _source(draws: random.Random, words: str, app: Mapping[str, str]) -> tuple[Edit, str]:
    found = _GREETING.search(app[INDEX])
    if found is None or not _SEND.search(app[ROUTES]):
        raise UsageError(f'{INDEX} needs a line const GREETING = "…"; and {ROUTES} a line that sends `${{greeting}}\\n`')
    kind = draws.choice(("greeting", "route", "new-file"))
    if kind == "greeting":
        text = _GREETING.sub(lambda match: match[1] + words + match[3], app[INDEX])
        return Edit(what=f"{INDEX}: another greeting", files=((INDEX, text),)), words
    if kind == "route":
        text = _SEND.sub(lambda match: f"{match[1]} {words}{match[2]}", app[ROUTES])
        return Edit(what=f"{ROUTES}: another answer", files=((ROUTES, text),)), f"{found[2]} {words}"
    name = _name(draws)
    routes = _SEND.sub(lambda match: f"{match[1]} ${{WORDS}}{match[2]}", app[ROUTES])
    files = ((f"src/{name}.ts", f'export const WORDS = "{words}";\n'), (ROUTES, f'import {{ WORDS }} from "./{name}.js";\n{routes}'))
    return Edit(what=f"a new file src/{name}.ts, used by {ROUTES}", files=files), f"{found[2]} {words}"


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
    name, version = draws.choice(known)
    for place in (manifest, lock["packages"][""]):
        place["dependencies"] = dict(sorted({**place.get("dependencies", {}), name: version}.items()))
    if nonce:
        manifest["description"] = nonce
    files = ((MANIFEST, json.dumps(manifest, indent=2) + "\n"), (LOCK, json.dumps(lock, indent=2) + "\n"))
    return Edit(what=f"{MANIFEST} and {LOCK}: {name} {version} as a dependency", files=files)


def _schema(draws: random.Random, app: Mapping[str, str], nonce: str) -> Edit:
    name = _name(draws).capitalize()
    text = f"{app[SCHEMA].rstrip()}\n\nmodel {name} {{\n  id Int @id @default(autoincrement())\n}}\n" + (f"// {nonce}\n" if nonce else "")
    return Edit(what=f"{SCHEMA}: a new model {name}", files=((SCHEMA, text),))


def _readme(draws: random.Random, app: Mapping[str, str], nonce: str) -> Edit:
    return Edit(what=f"{README}: one more line", files=((README, f"{app[README]}\n{_name(draws)} {nonce}\n"),))


def _modules(draws: random.Random, nonce: str) -> Edit:
    name = _name(draws)
    path = f"node_modules/{name}"
    files = (
        (f"{path}/package.json", json.dumps({"name": name, "version": "1.0.0"}) + "\n"),
        (f"{path}/index.js", f'module.exports = "{_name(draws)} {nonce}";\n'),
    )
    return Edit(what=f"{path} on the host", files=files)
