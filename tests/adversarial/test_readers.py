"""Whatever a stranger writes, each reader takes or refuses it with an error of ours. How long that takes is in ``test_linear``."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autograder.quiz.prediction import read_prediction
from autograder.quiz.question import base_image
from autograder.submission.notebook_reader import Rejected, collect
from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.select import compile_glob
from layerlab.dockerfile import parse, parse_duration, parse_mount
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.unpack import ArchiveError, unpack
from layerlab.errors import LayerlabError
from layerlab.fsutil import scratch_directory
from layerlab.solver.graph import build_graph
from tests.autograder.material import notebook, ps1

DIGITS = st.sampled_from(["0", "7", "65535", "65536", "9" * 5000, "1" * 20, "-1", "\u00b2", "\u0663", "1.5", "1s", "08"])
WORDS = st.one_of(
    DIGITS,
    st.text(st.sampled_from("aB1 $\\{}'\"/.*?[]:-+#%,=@<>\u00e9\u00b2\t"), max_size=12),
    st.sampled_from(["$A", "${A}", "${A:-b}", "${A#*}", "${A//a/b}", "..", "/", ".", "node:alpine", "a", "x:y", "1-65535", "http://a"]),
)
LINES = st.one_of(
    st.builds("ENV A={} B={}".format, WORDS, WORDS),
    st.builds("ARG A={}".format, WORDS),
    st.builds("EXPOSE {} {}".format, WORDS, WORDS),
    st.builds("STOPSIGNAL {}".format, WORDS),
    st.builds("USER {}:{}".format, WORDS, WORDS),
    st.builds("WORKDIR {}".format, WORDS),
    st.builds("COPY --from={} --chown={}:{} {} {}".format, WORDS, WORDS, WORDS, WORDS, WORDS),
    st.builds("COPY --parents --exclude={} {} {}".format, WORDS, WORDS, WORDS),
    st.builds("ADD --chmod={} {} {}".format, WORDS, WORDS, WORDS),
    st.builds("RUN --mount=type=cache,target={},mode={},uid={} {}".format, WORDS, DIGITS, DIGITS, WORDS),
    st.builds("RUN --mount=type=bind,from={},source={},target={} {}".format, WORDS, WORDS, WORDS, WORDS),
    st.builds("HEALTHCHECK --interval={} --retries={} CMD {}".format, DIGITS, DIGITS, WORDS),
    st.builds("ONBUILD RUN {}".format, WORDS),
    st.builds("FROM {} AS {}".format, WORDS, WORDS),
    st.builds("COPY <<E {}\n{}\nE".format, WORDS, WORDS),
    st.builds("LABEL {}={}".format, WORDS, WORDS),
    st.builds("VOLUME {}".format, WORDS),
    st.builds("SHELL [{}]".format, WORDS),
)


@given(
    st.lists(LINES, max_size=6), st.sampled_from(["FROM a", "ARG A=b\nFROM $A", "FROM scratch", "FROM a AS x\nONBUILD COPY . .\nFROM x"])
)
@example(["STOPSIGNAL " + "1" * 5000], "FROM a")
@example(["EXPOSE " + "1" * 5000], "FROM a")
@example(["COPY --from=\u00b2 a b"], "FROM a")
@example(["COPY --chown=" + "1" * 5000 + " a b"], "FROM a")
@settings(max_examples=400, deadline=None)
def test_any_dockerfile_is_resolved_or_refused(lines: list[str], start: str) -> None:
    """From text to steps, as a plan and grading do before anything runs."""
    with contextlib.suppress(LayerlabError):
        build_graph(parse("\n".join([start, *lines]) + "\n"), base_image, build_args={"A": "1"})


@given(WORDS)
@settings(max_examples=400, deadline=None)
def test_any_duration_and_mount_is_read_or_refused(word: str) -> None:
    """A duration with ``ValueError``, as the caller expects."""
    with contextlib.suppress(ValueError):
        parse_duration(word)
    for text in (word, f"type=tmpfs,target=/x,size={word}", f"type=cache,target=/x,mode={word}", f"type={word},target=/x"):
        with contextlib.suppress(LayerlabError):
            parse_mount(text)


PATTERNS = st.text(st.sampled_from("ab*?/[]^-!\\.{}#\u00e9\n "), max_size=20)


@given(PATTERNS, st.lists(st.text(st.sampled_from("ab/.\u00e9"), min_size=1, max_size=12), max_size=5))
@settings(max_examples=400, deadline=None)
def test_any_pattern_matches_or_is_refused(pattern: str, paths: list[str]) -> None:
    """In ignore files and in the sources of COPY; asking for many paths in turn answers as asking for one."""
    with contextlib.suppress(LayerlabError):
        rules = IgnoreRules(parse_ignore_file(pattern.encode()))
        for path in paths:
            assert rules.ignores(path) == IgnoreRules(parse_ignore_file(pattern.encode())).ignores(path)
    with contextlib.suppress(LayerlabError):
        expression = compile_glob(pattern)
        for path in paths:
            expression.match(path)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("[a-c]", "abc", "d-"),
        ("[^a-c]", "d-", "abc"),
        ("[[-?]", "", "[?-a"),
        ("[^[-?]", "[?a", ""),
        ("[b-ac-d]", "cd", "abe"),
        ("[\\]\\-]", "]-", "\\a"),
        ("[&&~~||]", "&~|", "a"),
    ],
)
def test_classes_of_characters(pattern: str, yes: str, no: str) -> None:
    """``path.Match`` of Go: a range that ends before it begins has nothing in it."""
    expression = compile_glob(pattern)
    assert [character for character in yes + no if expression.match(character)] == list(yes)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["code", "dockerfile"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["cells", "nbformat", "source", "metadata", "nbgrader", "grade_id", "cell_type", "manifests", "layers", "config"]
            )
            | st.sampled_from(["digest", "size", "annotations", "platform", "Config", "Layers", "RepoTags", "mediaType"]),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
@example(b"[" * 100_000)
@example(b'{"nbformat": 4, "cells": [], "x": ' + b"9" * 5000 + b"}")
@settings(max_examples=400, deadline=None)
def test_any_notebook_is_collected_or_rejected(data: bytes) -> None:
    """Whatever lies there under its name."""
    with contextlib.suppress(Rejected):
        collect(data, ps1(), "ann")


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_damaged_notebook_is_collected_or_rejected(place: int, noise: bytes) -> None:
    """A good one with other bytes somewhere."""
    good = json.dumps(notebook()).encode()
    place %= len(good)
    with contextlib.suppress(Rejected):
        collect(good[:place] + noise + good[place + len(noise) :], ps1(), "ann")


@given(st.text(st.sampled_from("12 step#.:-=cachedruns\n\t\u00b2"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_prediction_is_read(text: str) -> None:
    """What cannot be read is told, and is no prediction."""
    assert read_prediction(text, [1, 2]).given.keys() <= {1, 2}


NAMES = st.sampled_from(
    ["a", "a/b", "a/b/c", "../x", "/x", "./a", "a/../../x", "", ".", ".wh.a", ".wh..wh..opq", "a\0b", "x" * 300, "/".join("d" * 3000)]
)
MEMBERS = st.tuples(
    NAMES,
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"x", b"L"]
    ),
    NAMES,
    st.integers(0, 3000),
    st.sampled_from([0, 1000, 2**31, 2**32]),
)


def _tar(members: list[tuple[str, bytes, str, int, int]]) -> bytes:
    buffer = io.BytesIO()
    for name, kind, link, size, owner in members:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.uid = kind, link, size, owner
        with contextlib.suppress(ValueError):
            buffer.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
            buffer.write(b"7 a=b\n".ljust(-(-size // 512) * 512, b"\0"))
    return buffer.getvalue() + bytes(1024)


@given(st.one_of(st.lists(MEMBERS, max_size=6).map(_tar), st.binary(max_size=1200)), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_archive_is_unpacked_or_refused(data: bytes, layer: bool) -> None:
    """A refusal of the file system (a name too long, a device without the right to make one) is one, too; outside nothing changes."""
    with scratch_directory("layerlab-tar-") as place:
        root, outside = Path(place) / "root", Path(place) / "x"
        root.mkdir()
        outside.write_text("as it was", encoding="utf-8")
        with contextlib.suppress(ArchiveError, OSError):
            unpack(io.BytesIO(data), str(root), "/", layer=layer, real_ids=False)
        assert outside.read_text(encoding="utf-8") == "as it was"
        assert {path.name for path in Path(place).iterdir()} == {"root", "x"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """An engine on an empty store."""
    with EmbeddedEngine(str(tmp_path_factory.mktemp("store"))) as found:
        yield found


@given(st.sampled_from(["index.json", "manifest.json"]), JSON)
@example("index.json", {"manifests": [{"digest": 1}]})
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_is_loaded_or_refused(engine: EmbeddedEngine, name: str, value: Any) -> None:
    """Of an archive of images, as ``load`` reads it."""
    with scratch_directory("layerlab-manifest-") as place:
        path = Path(place) / "archive.tar"
        data = json.dumps(value).encode()
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        with contextlib.suppress(LayerlabError):
            engine.load(str(path))
