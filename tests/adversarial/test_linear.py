"""Time that grows with the length of a text and not with a power of it: each reader of what strangers write, at two sizes.

``python -m tests.adversarial.test_linear`` prints the table of sizes against times.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from typing import Final

import pytest

from autograder.quiz.prediction import read_prediction
from autograder.quiz.question import base_image
from autograder.submission.notebook_reader import Rejected, collect
from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.select import compile_glob
from layerlab.dockerfile import expand, parse, parse_duration, parse_mount
from layerlab.engines.embedded.rootfs.unpack import ArchiveError, unpack
from layerlab.errors import LayerlabError
from layerlab.fsutil import remove_tree
from layerlab.linter.check import check
from layerlab.solver.explain import edits_between, likeness
from layerlab.solver.graph import build_graph
from tests.autograder.material import ps1

_PATH: Final = "folder/" * 20 + "b" * 200


def _ignore(pattern: str) -> None:
    IgnoreRules(parse_ignore_file(pattern.encode())).ignores(_PATH)


def _long_path(pattern: str, size: int) -> None:
    IgnoreRules(parse_ignore_file(pattern.encode())).match("a" * size, b"")


def _build(text: str) -> None:
    build_graph(parse(text), base_image, build_args={})


def _check(text: str) -> None:
    check(text.encode(), "Dockerfile", base_image, lambda _: True)


def _numbered(form: str, size: int) -> str:
    return " ".join(form.replace("#", str(n)) for n in range(size))


def _notebook(source: object) -> None:
    collect(json.dumps({"nbformat": 4, "cells": source}).encode(), ps1(), "ann")


def _tar(members: list[str | tuple[str, bytes, str]], *, layer: bool = False) -> None:
    """Unpack an archive of members: a name, of an empty file, or (name, type, target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            name, kind, target = (member, tarfile.REGTYPE, "") if isinstance(member, str) else member
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, target
            header.uid = 1
            archive.addfile(header)
    # In memory where there is such a place: what a disk takes hides what we take.
    with tempfile.TemporaryDirectory(prefix="layerlab-linear-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        root = os.path.join(place, "root")
        os.mkdir(root)
        with open(os.path.join(place, "tar"), "w+b") as stream:
            stream.write(buffer.getvalue())
            stream.seek(0)
            try:
                unpack(stream, root, "/", layer=layer, real_ids=False)
            finally:
                # Whatever its depth.
                remove_tree(root)


def _replaced(size: int, *, layer: bool = False) -> None:
    """Directories, and then a file in the place of each."""
    names = [f"{'a' * 250}/{'b' * 250}/{n}" for n in range(size)]
    _tar([*((name, tarfile.DIRTYPE, "") for name in names), *names], layer=layer)


def _far(size: int, start: str, links: int, *, layer: bool = False) -> None:
    """Files whose names lead through links to links, each by a way that goes in and out of a directory."""
    chain = [(f"l{n}", tarfile.SYMTYPE, start + "d/../" * size + (f"l{n + 1}" if n < links - 1 else "d")) for n in range(links)]
    _tar([("d", tarfile.DIRTYPE, ""), *chain, *(f"l0/f{n}" for n in range(size))], layer=layer)


# What does it, and the smaller of two sizes; the other is four times as large.
READERS: Final[dict[str, tuple[Callable[[int], object], int]]] = {
    "ignore: **/ repeated": (lambda size: _ignore("**/" * size), 5_000),
    "ignore: stars and letters": (lambda size: _ignore("*?**?" * size + "!"), 2_000),
    "ignore: classes": (lambda size: _ignore("[a-c]*" * size), 2_000),
    "ignore: different letters": (lambda size: _ignore("".join(f"*{chr(300 + n)}" for n in range(size))), 2_000),
    "ignore: alternatives": (lambda size: _ignore("*a|" * size + "b"), 100),
    "ignore: names of classes": (lambda size: _ignore("[[:alpha:][:]*" * size), 2_000),
    "ignore: quotations": (lambda size: _ignore("\\Qa\\E*" * size), 2_000),
    "ignore: alternatives, a long path": (lambda size: _long_path("*a*|*b*c|x", size), 10_000),
    "ignore: many lines": (lambda size: _ignore("a*b\n" * size), 2_000),
    "ignore: three stars, a long path": (lambda size: _long_path("*a*a*b", size), 10_000),
    "ignore: four folders, a long path": (lambda size: _long_path("x**/a**/a**/a**/b", size), 10_000),
    "glob: stars and letters": (lambda size: compile_glob("*a" * size + "b").match("a" * 255), 5_000),
    "glob: open classes": (lambda size: compile_glob("[" * size), 10_000),
    "Dockerfile: blanks in a directive": (lambda size: parse("# syntax=a" + " " * size + "b\nFROM a\n"), 10_000),
    "Dockerfile: continued lines": (lambda size: parse("FROM a\nRUN a" + " \\\n  b" * size + "\n"), 5_000),
    "Dockerfile: here-documents": (lambda size: parse("FROM a\n" + "RUN <<A\nx\nA\n" * size), 2_000),
    "Dockerfile: flags": (lambda size: parse("FROM a\nCOPY " + "--exclude=a " * size + "a b\n"), 2_000),
    "Dockerfile: quotes": (lambda size: parse("FROM a\nENV A=" + "'\"" * size + "\n"), 10_000),
    "Dockerfile: an unknown word": (lambda size: parse("FROM a\n" + "X" * size + " a\n"), 10_000),
    "Dockerfile: variables": (lambda size: _build("FROM a\nENV " + " ".join(f"a{n}=b" for n in range(size)) + "\n"), 2_000),
    "Dockerfile: ports": (lambda size: _build("FROM a\nEXPOSE" + " 1-65535" * size + "\n"), 100),
    "Dockerfile: expansions": (lambda size: _build(f"FROM a\nENV A={'x' * 60_000}\nENV {' '.join(f'b{n}=$A' for n in range(size))}\n"), 20),
    "Dockerfile: lines of variables": (lambda size: _build("FROM a\n" + "".join(f"ENV a{n}=b\n" for n in range(size))), 1_000),
    "check: one argument again and again": (lambda size: _check("FROM a\nARG" + " a=b" * size + "\n"), 2_000),
    "check: arguments": (lambda size: _check(f"FROM a\nARG {_numbered('a#=$a', size)}\n"), 2_000),
    "check: arguments, and then lines": (lambda size: _check(f"FROM a\nARG {_numbered('a#', size)}\n" + "USER a\n" * size), 1_000),
    "check: arguments of the file": (lambda size: _check("ARG a=b\n" * size + "FROM a\n" + "USER a\n" * size), 1_000),
    "check: variables that nobody set": (
        lambda size: _check(f"FROM a\nENV {_numbered('a#=b', size)}\nENV {_numbered('b=$c#', size)}\n"),
        500,
    ),
    "check: a long name that nobody set": (lambda size: _check(f"FROM a\nENV {'a' * size}=b\nENV c=${'b' * size}\n"), 500),
    "check: base images that nobody set": (
        lambda size: _check("".join(f"ARG a{n}=b\n" for n in range(size)) + f"FROM a{_numbered('$b#', size)}\n".replace(" $", "$")),
        500,
    ),
    "variables: a prefix": (lambda size: expand("${A#*a*b}", {"A": "a" * size}), 20_000),
    "variables: a suffix": (lambda size: expand("${A%%b*a*a}", {"A": "a" * size}), 20_000),
    "variables: all replaced": (lambda size: expand("${A//a*ab/x}", {"A": "a" * size}), 20_000),
    "variables: each replaced": (lambda size: expand("${A//?b/x}", {"A": "ab\n" * size}), 10_000),
    "variables: nested": (lambda size: expand("${A:-" * size + "}" * size, {}), 100),
    "causes: two long commands": (lambda size: likeness("/a" * size, "/a" * (size - 1)), 2_000),
    "causes: a step again and again": (lambda size: edits_between(["a", "b"] * size, ["b", "c", "a"] * size), 1_000),
    "causes: steps that all changed": (lambda size: edits_between([f"a{n}" for n in range(size)], [f"b{n}" for n in range(size)]), 1_000),
    "durations: digits": (lambda size: parse_duration("1" * size + ".."), 10_000),
    "mounts: quotes": (lambda size: parse_mount('"' + '""' * size + "x"), 10_000),
    "quiz: blanks behind step": (lambda size: read_prediction("step" + " " * size + "x", [1]), 10_000),
    "quiz: marks": (lambda size: read_prediction("1" + " .-_" * size, [1]), 10_000),
    "quiz: lines": (lambda size: read_prediction("x\n" * size, [1]), 10_000),
    "notebook: brackets in strings": (lambda size: _notebook(["[" * size]), 50_000),
    "notebook: depth": (lambda size: collect(b"[" * size, ps1(), "ann"), 50_000),
    "notebook: cells": (lambda size: _notebook([{"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "x"}}}] * size), 2_000),
    "tar: members": (lambda size: _tar([f"d{n}" for n in range(size)]), 500),
    "tar: files in the place of directories": (_replaced, 2_000),
    "tar: far links": (lambda size: _far(size, "", 8), 80),
    "tar: far links from the root": (lambda size: _far(size, "/", size), 60),
    "layer: files in the place of directories": (lambda size: _replaced(size, layer=True), 1_000),
    "layer: far links": (lambda size: _far(size, "/", size, layer=True), 40),
    "tar: one long name": (lambda size: _tar(["/".join("a" * size)]), 400),
}


def seconds(work: Callable[[int], object], size: int) -> float:
    """The shortest of three times. An input may be refused; that is an answer, too."""
    found = []
    # How often garbage is looked for, and how long, goes by all that other tests have left in this process.
    gc.disable()
    try:
        for _ in range(3):
            started = time.process_time()
            with contextlib.suppress(LayerlabError, Rejected, ValueError, ArchiveError, OSError):
                work(size)
            found.append(time.process_time() - started)
    finally:
        gc.enable()
    return min(found)


@pytest.mark.parametrize("name", READERS)
def test_four_times_the_text_takes_about_four_times_as_long(name: str) -> None:
    """A square would take sixteen times as long; what takes next to no time is quick enough whatever it does."""
    work, size = READERS[name]
    for _ in range(3):
        small, large = seconds(work, size), seconds(work, 4 * size)
        # What is square is so each time; a busy machine is not.
        if large < max(0.15, 12 * small):
            break
    assert large < max(0.15, 12 * small), f"{size}: {small:.3f} s, {4 * size}: {large:.3f} s"


def table() -> str:
    """Sizes against times, for people."""
    head = f"{'reader':36}{'size':>8}{'s':>9}{'size':>9}{'s':>9}"
    rows = (
        f"{name:36}{size:8}{seconds(work, size):9.4f}{4 * size:9}{seconds(work, 4 * size):9.4f}" for name, (work, size) in READERS.items()
    )
    return "\n".join([head, *rows])


if __name__ == "__main__":
    print(table())
