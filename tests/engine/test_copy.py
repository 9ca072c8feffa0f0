"""What COPY and ADD do (fsutil's rules), as tables of a Dockerfile and what the image then holds."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Lab


def _fill(lab: Lab) -> None:
    for path in ("a.txt", "b.txt", "c.md", "d/x", "d/sub/y", "e/x"):
        lab.file(path, path)
    lab.file("tool.sh", "#!/bin/sh\necho tool\n", 0o755)
    (lab.context / "link").symlink_to("d")
    (lab.context / "links").mkdir()
    (lab.context / "links/to").symlink_to("/")
    (lab.context / "d/inner").symlink_to("x")
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo("in/f")
            info.size, info.mode = 3, 0o640
            archive.addfile(info, io.BytesIO(b"abc"))
        lab.file(f"p.{suffix}", buffer.getvalue())


# Steps after FROM; then what must be there: path to content, ``None`` for what must not be.
COPIES: dict[str, tuple[str, dict[str, str | None]]] = {
    "a file to a name": ("COPY a.txt /x", {"/x": "a.txt"}),
    "a file into a directory": ("COPY a.txt /x/", {"/x/a.txt": "a.txt"}),
    "a file into a directory that is there": ("COPY a.txt /etc", {"/etc/a.txt": "a.txt"}),
    "a file to a relative name": ("WORKDIR /w\nCOPY a.txt n/x", {"/w/n/x": "a.txt"}),
    "a file to here": ("WORKDIR /w\nCOPY a.txt .", {"/w/a.txt": "a.txt"}),
    "over a file": ("COPY a.txt /x\nCOPY b.txt /x", {"/x": "b.txt"}),
    "the contents of a directory": ("COPY d /x", {"/x/x": "d/x", "/x/sub/y": "d/sub/y", "/x/d": None}),
    "the contents, with a slash": ("COPY d/ /x/", {"/x/x": "d/x", "/x/sub/y": "d/sub/y"}),
    "two directories into one": ("COPY d e /x/", {"/x/x": "e/x", "/x/sub/y": "d/sub/y"}),
    "several files": ("COPY a.txt b.txt /x/", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
    "a pattern": ("COPY *.txt /x/", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt", "/x/c.md": None}),
    "a pattern with classes": ("COPY [b-c].* /x/", {"/x/b.txt": "b.txt", "/x/c.md": "c.md", "/x/a.txt": None}),
    "a pattern of directories": ("COPY [de] /x/", {"/x/x": "e/x", "/x/sub/y": "d/sub/y"}),
    "a pattern that matches nothing": ("COPY none* /x/\nRUN true", {"/x/none": None}),
    "a link as the source is followed": ("COPY link /x", {"/x/x": "d/x"}),
    "a link inside stays one": ("COPY d /x\nRUN test -L /x/inner", {"/x/inner": "d/x"}),
    "into a directory through a link": ("RUN mkdir /real && ln -s real /to\nCOPY a.txt /to/", {"/real/a.txt": "a.txt"}),
    "contents into a directory through a link": ("RUN mkdir /real && ln -s /real /to\nCOPY d /to", {"/real/x": "d/x"}),
    "through a link upwards": ("RUN mkdir /real && ln -s ../../../real /to\nCOPY a.txt /to/", {"/real/a.txt": "a.txt"}),
    "through a link to the root": ("RUN ln -s / /to\nCOPY a.txt /to", {"/a.txt": "a.txt"}),
    "through a link to the root that was copied": ("COPY links /\nCOPY a.txt /to\nCOPY d /to", {"/a.txt": "a.txt", "/sub/y": "d/sub/y"}),
    "a heredoc through a link to the root": ("RUN ln -s / /to\nCOPY <<EOF /to\none\nEOF", {"/EOF": "one\n"}),
    "with parents over a link to the root": ("RUN ln -s / /d\nCOPY --parents d/x /", {"/x": "d/x"}),
    "a heredoc": ("COPY <<EOF /x\none\nEOF", {"/x": "one\n"}),
    "a heredoc with a variable": ("ENV V=1\nCOPY <<EOF /x\n$V\nEOF", {"/x": "1\n"}),
    "a quoted heredoc": ("ENV V=1\nCOPY <<'EOF' /x\n$V\nEOF", {"/x": "$V\n"}),
    "two heredocs": ("COPY <<one <<two /x/\n1\none\n2\ntwo", {"/x/one": "1\n", "/x/two": "2\n"}),
    "with exclusions": ("COPY --exclude=*.md --exclude=d . /x", {"/x/a.txt": "a.txt", "/x/c.md": None, "/x/d/x": None}),
    "exclusions with an exception": ("COPY --exclude=d --exclude=!d/sub . /x", {"/x/d/sub/y": "d/sub/y", "/x/d/x": None}),
    "with parents": ("COPY --parents d/sub/y a.txt /x/", {"/x/d/sub/y": "d/sub/y", "/x/a.txt": "a.txt"}),
    "with parents from a pivot": ("COPY --parents d/./sub/y /x/", {"/x/sub/y": "d/sub/y", "/x/d": None}),
    "with parents, at any depth": ("COPY --parents **/y /x/", {"/x/d/sub/y": "d/sub/y", "/x/d/x": None}),
    "with parents, at any depth below": ("COPY --parents d/**/y d/**/x /x/", {"/x/d/sub/y": "d/sub/y", "/x/d/x": "d/x"}),
    "with parents, all that is below": ("COPY --parents d/** /x/", {"/x/d/sub/y": "d/sub/y", "/x/d/x": "d/x", "/x/a.txt": None}),
    "with parents from any pivot": ("COPY --parents d*/./**/y /x/", {"/x/sub/y": "d/sub/y", "/x/d": None}),
    "linked": ("COPY --link a.txt /etc/x", {"/etc/x": "a.txt"}),
    "linked into a directory that is not there": ("COPY --link d /n/m", {"/n/m/x": "d/x"}),
    "from a stage": ("RUN mkdir /s && echo hi > /s/f\nFROM base:1\nCOPY --from=0 /s /x", {"/x/f": "hi\n"}),
    "from a stage, relative": ("WORKDIR /s\nRUN echo hi > f\nFROM base:1\nCOPY --from=0 s/f /x", {"/x": "hi\n"}),
    "from a stage through a link": ("RUN mkdir /s && echo hi > /s/f && ln -s /s /l\nFROM base:1\nCOPY --from=0 /l /x", {"/x/f": "hi\n"}),
    "from an image": ("COPY --from=base:1 /etc/hosts /x", {"/x": "127.0.0.1\tlocalhost\n"}),
    **{f"an archive, {suffix}": (f"ADD p.{suffix} /x", {"/x/in/f": "abc"}) for suffix in ("tar", "tar.gz", "tar.bz2", "tar.xz")},
    "an archive by COPY stays one": ("COPY p.tar /x/", {"/x/in/f": None}),
    "a plain file by ADD": ("ADD a.txt /x", {"/x": "a.txt"}),
}


@pytest.mark.parametrize(("steps", "expected"), COPIES.values(), ids=COPIES.keys())
def test_where_things_go(lab: Lab, steps: str, expected: dict[str, str | None]) -> None:
    _fill(lab)
    checks = " && ".join(
        f"test ! -e {path}"
        if content is None
        else f"test \"$(cat {path}; echo .)\" = \"$(printf '%b.' '{content.encode('unicode_escape').decode()}')\""
        for path, content in expected.items()
    )
    lab.build(f"FROM base:1\n{steps}\nRUN {checks}\n")


_EXCLUDED = "RUN mkdir -p /s/k && touch /s/k/x && chmod 710 /s/k\n"
# Steps after FROM, and modes of what is in the last layer.
MODES = {
    "kept": ("COPY tool.sh a.txt /x/", {"x": 0o755, "x/tool.sh": 0o755, "x/a.txt": 0o644}),
    "octal": ("COPY --chmod=4711 a.txt /x", {"x": 0o4711}),
    "octal for a tree": ("COPY --chmod=700 d /x", {"x/sub": 0o700, "x/x": 0o700}),
    "symbolic": ("COPY --chmod=u=rwX,go=rX tool.sh a.txt /x/", {"x/tool.sh": 0o755, "x/a.txt": 0o644}),
    "symbolic, added": ("COPY --chmod=+x a.txt /x", {"x": 0o755}),
    "symbolic, taken": ("COPY --chmod=go-r a.txt /x", {"x": 0o600}),
    "symbolic on a directory": ("COPY --chmod=a=rX d /x", {"x/sub": 0o555, "x/x": 0o444}),
    "a heredoc": ("COPY <<EOF /x\nEOF", {"x": 0o644}),
    "a heredoc with a mode": ("COPY --chmod=755 <<EOF /x\nEOF", {"x": 0o755}),
    "an archive's own": ("ADD p.tar /x", {"x/in/f": 0o640}),
    "an existing directory keeps its own": ("RUN mkdir -m 1770 /x\nCOPY a.txt /x/", {"x": 0o1770, "x/a.txt": 0o644}),
    "an existing directory, contents": ("RUN mkdir -m 1770 /x\nCOPY d /x", {"x": 0o1770, "x/sub": 0o755}),
    "an archive's directory, whatever --chmod says": ("ADD --chmod=700 p.tar /x/", {"x": 0o755, "x/in/f": 0o640}),
    "an excluded directory above what is not": (
        f"{_EXCLUDED}FROM base:1\nCOPY --from=0 --exclude=k --exclude=!k/x /s /x",
        {"x/k": 0o710, "x/k/x": 0o644},
    ),
    "an excluded directory that is there": (
        f"{_EXCLUDED}FROM base:1\nRUN mkdir -p /x/k\nCOPY --from=0 --chmod=666 --exclude=k --exclude=!k/x /s /x",
        {"x/k": 0o710, "x/k/x": 0o666},
    ),
    "the image's own /tmp": ("COPY a.txt /tmp/", {"tmp": 0o1777}),
}


@pytest.mark.parametrize(("steps", "expected"), MODES.values(), ids=MODES.keys())
def test_modes(each_lab: Lab, steps: str, expected: dict[str, int]) -> None:
    lab = each_lab
    _fill(lab)
    layer = lab.layers(lab.build(f"FROM base:1\n{steps}\n"))[-1]
    assert {path: oct(layer[path].mode) for path in expected} == {path: oct(mode) for path, mode in expected.items()}


def test_hard_links_are_kept_within_one_source(each_lab: Lab) -> None:
    lab = each_lab
    counts = "stat -c %h /one/h1 /one/h2 /two/h1 /two/h2"
    lab.build(
        "FROM base:1 AS s\nRUN mkdir /d && echo 1 > /d/h1 && ln /d/h1 /d/h2\n"
        f"FROM base:1\nCOPY --from=s /d /one\nCOPY --from=s /d/h1 /d/h2 /two/\nRUN {counts}\n"
    )
    assert lab.output.split() == ["2", "2", "1", "1"]


def test_copying_ten_times_the_files_takes_about_ten_times_as_long(lab: Lab) -> None:
    """A tree, and a pattern that names each of its files. A square would take a hundred times as long."""
    for folder, count in (("few", 300), ("many", 3000)):
        for number in range(count):
            lab.file(f"{folder}/{number % 30}/{number}", str(number))

    def seconds(source: str) -> float:
        # The quickest of three: the machine may be busy with something else.
        return min(lab.build(f"FROM base:1\nCOPY {source} /{number}/\n").steps[-1].seconds for number in range(3))

    for few, many in (("few", "many"), ("few/*/*", "many/*/*")):
        assert seconds(many) < 40 * max(seconds(few), 0.02)
