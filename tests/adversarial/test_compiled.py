"""Code is told from disguised source by running it where no compiler is: every drawn program, and what tries to get at a compiler."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from autograder.exercise.edits import draw
from autograder.exercise.puzzle import draw_puzzle
from autograder.exercise.workspace import read_app
from autograder.judge.compiled_code import Runner
from autograder.judge.prepare import Prepared, prepare
from autograder.sandbox.sandbox import Sandbox
from autograder.sandbox.timing import Clock
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from tests.autograder.material import APP, COURSE, ps1

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]

_TRANSFORM: Final = """FROM {base}
COPY src /src
RUN node -e 'const fs = require("fs"), m = require("module"); fs.mkdirSync("/out"); for (const name of fs.readdirSync("/src")) \\
 fs.writeFileSync("/out/" + name, m.stripTypeScriptTypes(fs.readFileSync("/src/" + name, "utf8"), {{ mode: "transform" }}))'
"""
_STRIP: Final = 'getBuiltinModule("module").stripTypeScriptTypes(TEXT, { mode: "transform" })'
# Each is JavaScript that parses, has the source in it, and compiles it if it can. TEXT stands for it as a string literal.
_REACHING: Final = {
    "a text": "export const all = TEXT;",
    "node's compiler": 'import { stripTypeScriptTypes as s } from "node:module"; eval(s(TEXT, { mode: "transform" }));',
    "node's compiler, without an import": f"new Function(process.{_STRIP})();",
    "a file of its own": 'import fs from "node:fs"; fs.writeFileSync("/judge/files/x.ts", TEXT); await import("/judge/files/x.ts");',
    "the module of a text": 'await import("data:text/typescript," + encodeURIComponent(TEXT));',
    "the world outside, by an error": f"""await import("x").catch((error) => {{
        const Outside = error.constructor.constructor, process = Outside("return process")();
        exports.made = Outside("exports", process.{_STRIP})(exports); }});""",
    "the world outside, by a trace": f"""await import("x").catch((error) => {{
        error.constructor.prepareStackTrace = (_, frames) => {{ for (const frame of frames) {{
          const found = frame.getFunction();
          if (found) exports.made = found.constructor("exports", found.constructor("return process")().{_STRIP})(exports); }} }};
        new error.constructor("x").stack; }});""",
    "the world outside, by what is inherited": f"""const Outside = globalThis.constructor && globalThis.constructor.constructor;
        exports.made = Outside("exports", Outside("return process")().{_STRIP})(exports);""",
    "the world outside, by the object that all others have": """const promise = import("x");
        let top = await promise.catch((error) => error);
        for (const start of [top, promise, import.meta, await import("node:fs")]) {
          top = start;
          while (top && Object.getPrototypeOf(top)) top = Object.getPrototypeOf(top);
          for (const name of ["channel", "then", "stdout", "_events", "toJSON"]) {
            try {
              Object.defineProperty(top, name, { configurable: true, get() {
                if (typeof this.reallyExit !== "function") return undefined;
                exports.made = this.mainModule.require("module").stripTypeScriptTypes(TEXT, { mode: "transform" });
                this.kill(this.ppid, 15);
              }, set(value) { Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true }); } });
            } catch {}
          }
        }""",
    "an end of all": 'process.kill(process.ppid, 9); const found = await import("node:process"); found.kill(found.ppid, 9); TEXT;',
    "an endless loop": "export const all = TEXT; for (;;) {}",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A grader's place."""
    place = tmp_path_factory.mktemp("compiled") / "grading"
    yield prepare(COURSE, ps1(), place, lambda _text: None)
    with EmbeddedEngine(str(place / "store")) as engine:
        engine.worker.ask(Remove(paths=["s"]))


@pytest.mark.parametrize("number", range(8))
def test_compiled_code_comes_to_the_value_and_nothing_else_does(prepared: Prepared, tmp_path: Path, number: int) -> None:
    """Whatever kind of edit and of program is drawn."""
    seed = f"{random.SystemRandom().getrandbits(64):x}"
    print(f"seed {seed}")
    edits = draw(seed, read_app(APP))
    source = next(text for _, text in edits.source.files if edits.marker in text)
    (tmp_path / "build" / "src").mkdir(parents=True)
    (tmp_path / "build" / "src" / "file").write_text(source, encoding="utf-8")
    (tmp_path / "build" / "Dockerfile").write_text(_TRANSFORM.format(base=ps1().base), encoding="utf-8")
    with Sandbox(prepared.cache) as sandbox, sandbox.engine(prepared.store) as engine:
        record = engine.build(BuildOptions(context=str(tmp_path / "build"), offline=True))
        diff_id = record.steps[-1].diff_id
        assert diff_id is not None, record.failure
        code = Path(engine.store.path, engine.store.layer_path(diff_id), "out", "file").read_bytes()

        def run(*contents: bytes, value: str = edits.value, environment: dict[str, str] = edits.environment) -> tuple[bool, ...]:
            return Runner(engine, Clock(ps1().limits), ps1().base, tmp_path / "run", value, environment)(contents)

        assert run(code, source.encode(), code) == (True, False, True)
        assert run(code, value="nothing says this") == (False,)
        # What somebody ran beforehand, and wrote down.
        assert run(code, environment={}) == (False,)
        if number:
            return
        puzzle = draw_puzzle(random.Random(seed))
        program = json.dumps(f"{puzzle.code}exports.made = {puzzle.expression};\n")
        disguises = [text.replace("TEXT", program).encode() for text in _REACHING.values()]
        found = {
            name: run(one, value=puzzle.value, environment={puzzle.variable: puzzle.given})[0]
            for name, one in zip(_REACHING, disguises, strict=True)
        }
        assert found == dict.fromkeys(_REACHING, False)
        # As many as are looked at, and no more.
        assert run(*(b"%d" % at for at in range(8)), code)[-1] is False
