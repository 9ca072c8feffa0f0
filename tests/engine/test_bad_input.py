"""Bad input: each gives one clear message, loses nothing, and the next build works."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.builds.loop import Build
from layerlab.engines.embedded.engine import EmbeddedEngine, _silent
from layerlab.engines.embedded.rootfs.messages import Done, Remove
from layerlab.errors import DockerfileError, ExecutorError, LayerlabError, StoreError, UnsupportedError, UsageError

from .conftest import verdicts

if TYPE_CHECKING:
    from .conftest import Lab

IS_ROOT = os.getuid() == 0
GOOD = "FROM base:1\nCOPY good /\nRUN cat good\n"

# What makes no build at all: Dockerfile, exception, key words.
REFUSED = {
    "an unknown instruction": ("FROM base:1\nRUNN x\n", DockerfileError, "unknown instruction: RUNN (did you mean RUN?)"),
    "an empty file": ("", DockerfileError, "cannot be empty"),
    "an unknown base": ("FROM no-such:1\n", LayerlabError, "no-such:1"),
    "a tmpfs of more bytes than there are": (
        "FROM base:1\nRUN --mount=type=tmpfs,target=/t,size=18446744073709551615 true\n",
        DockerfileError,
        "invalid value for size",
    ),
    "another platform": ("FROM --platform=linux/s390x base:1\nRUN true\n", UnsupportedError, "is linux/s390x, this machine is"),
    "a platform that is none": ("FROM --platform=lunix base:1\n", DockerfileError, "unknown operating system or architecture"),
    "a platform in a variable that is not set": (
        "FROM --platform=$BUILDPLATFRM base:1\n",
        DockerfileError,
        "empty platform value from expression $BUILDPLATFRM",
    ),
    "an external frontend": ("# syntax=example.com/x\nFROM base:1\n", LayerlabError, "example.com/x"),
}


@pytest.mark.parametrize(
    "frontend",
    [
        *("docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1", "docker/dockerfile-upstream:master"),
        *("mirror.example.com:5000/docker/dockerfile:1", "mirror.example.com/hub/docker/dockerfile-upstream@sha256:" + "0" * 64),
    ],
)
def test_frontends_of_the_same_language(lab: Lab, frontend: str) -> None:
    """Nothing of them is fetched."""
    assert lab.build(f"# syntax={frontend}\nFROM base:1\nRUN true\n").failure is None


# What ends in a failed build: Dockerfile, kind, key words of the message.
FAILED = {
    "a source that is not there": ("FROM base:1\nCOPY nowhere /\n", "missing-source", '"/nowhere": not found'),
    "a source outside": ("FROM base:1\nCOPY ../outside /\n", "missing-source", '"/outside": not found'),
    "a source behind a link that leads outside": ("FROM base:1\nCOPY out /\n", "missing-source", '": not found'),
    "a source that is a loop of links": ("FROM base:1\nCOPY loop /\n", "dockerfile", "too many links"),
    "a source missing in a stage": (
        "FROM base:1 AS a\nRUN true\nFROM base:1\nCOPY --from=a /nowhere /\n",
        "missing-source",
        '"/nowhere": not found',
    ),
    "a command that fails": ("FROM base:1\nRUN echo before; exit 3\n", "step-failed", "did not complete successfully: exit code: 3"),
    "a command that is not there": ("FROM base:1\nRUN nonesuch\n", "step-failed", "exit code: 127"),
    "a program that is not there": ('FROM base:1\nRUN ["nonesuch"]\n', "step-failed", "executable file not found in $PATH"),
    "an image without a shell": ("FROM scratch\nRUN true\n", "step-failed", "executable file not found"),
    "an unknown user": ("FROM base:1\nUSER nobody-here\nRUN true\n", "dockerfile", "unable to find user nobody-here"),
    "an unknown group": ("FROM base:1\nUSER 0:none-here\nRUN true\n", "dockerfile", "unable to find group none-here"),
    "a file over a directory": (
        "FROM base:1\nCOPY good /etc/good\nCOPY dir /x\nCOPY good /x/\nRUN true\nCOPY tree /x\n",
        "context",
        "/x/good",
    ),
    "a directory over a file": ("FROM base:1\nRUN echo > /f\nCOPY dir /f\n", "context", "is not a directory"),
    "a WORKDIR that is a file": ("FROM base:1\nWORKDIR /etc/passwd\n", "context", "is not a directory"),
    "a WORKDIR through a loop of links": ("FROM base:1\nRUN ln -s l /l\nWORKDIR /l/x\n", "dockerfile", "too many links (/l/x)"),
    "a COPY into a loop of links": ("FROM base:1\nRUN ln -s l /l\nCOPY good /l/x\n", "dockerfile", "too many links"),
    "a RUN in a loop of links": ("FROM base:1\nWORKDIR /a/b\nRUN rm -r /a && ln -s a /a\nRUN true\n", "dockerfile", "too many links"),
    "a WORKDIR that a mount hides": (
        "FROM base:1\nWORKDIR /t/w\nRUN --mount=type=bind,source=dir,target=/t true\n",
        "dockerfile",
        "there can be no working directory /t/w: it lies in a mount that is read-only",
    ),
    "a COPY to a name that is too long": (f"FROM base:1\nCOPY good /{'x' * 300}\n", "dockerfile", "File name too long"),
    "a here-document in a name that is too long": (f"FROM base:1\nCOPY <<E /{'x' * 300}/x\nE\n", "dockerfile", "File name too long"),
    "a program with a name that is too long": (f'FROM base:1\nRUN ["/{"x" * 300}/x"]\n', "dockerfile", "File name too long"),
    "a zero byte in a WORKDIR": ("FROM base:1\nWORKDIR /a\0b\n", "dockerfile", "zero byte"),
    "a zero byte in a COPY": ("FROM base:1\nCOPY good /a\0b\n", "dockerfile", "zero byte"),
    "a zero byte in a mount": ("FROM base:1\nRUN --mount=type=tmpfs,target=/a\0b true\n", "dockerfile", "/a\0b"),
    "a WORKDIR with a name that is too long": (f"FROM base:1\nWORKDIR /{'x' * 300}\n", "dockerfile", "File name too long"),
    "a secret that is required": ("FROM base:1\nRUN --mount=type=secret,id=s,required=true true\n", "dockerfile", "secret s: not found"),
    "a command killed": ("FROM base:1\nRUN kill -9 $$\n", "step-failed", "exit code: 137"),
    "an archive in a compression that is not read": (
        "FROM base:1\nADD a.tar.zst /x/\n",
        "context",
        "cannot unpack a.tar.zst: archives that are compressed with zstd are not supported",
    ),
    "an archive that is damaged": ("FROM base:1\nADD damaged.tar.gz /\n", "context", "damaged.tar.gz"),
}


def _fill(lab: Lab) -> None:
    lab.file("good", "good")
    lab.file("dir/f", "f")
    lab.file("tree/good/f", "f")
    (lab.context / "loop").symlink_to("loop")
    (lab.context / "out").symlink_to("../../../../../../../../../etc/passwd")
    lab.file("a.tar.zst", b"\x28\xb5\x2f\xfd\x04\x00")
    subprocess.run(["tar", "-C", "/usr/bin", "-czf", lab.context / "whole.tgz", "env"], check=True)
    lab.file("damaged.tar.gz", (lab.context / "whole.tgz").read_bytes()[:9000])


@pytest.mark.parametrize(("dockerfile", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_no_build(lab: Lab, dockerfile: str, error: type[LayerlabError], words: str) -> None:
    lab.file("good", "good")
    with pytest.raises(error) as caught:
        lab.try_build(dockerfile)
    assert words in caught.value.message
    lab.build(GOOD)


@pytest.mark.parametrize(("dockerfile", "kind", "words"), FAILED.values(), ids=FAILED.keys())
def test_a_failed_build(lab: Lab, dockerfile: str, kind: str, words: str) -> None:
    _fill(lab)
    lab.build(GOOD)
    record = lab.try_build(dockerfile)
    assert record.failure is not None
    assert record.image is None
    assert (record.failure.kind, words in record.failure.message) == (kind, True), record.failure
    assert record.failure.line is not None
    assert verdicts(record).count("failed") == 1
    assert lab.leftovers() == []
    assert verdicts(lab.build(GOOD)) == ["cached", "cached"]


# Wherever a Dockerfile or an ignore file may have a number.
NUMBERS = {
    "an owner": "FROM base:1\nCOPY --chown=%s:%s good /f\n",
    "a signed owner": "FROM base:1\nCOPY --chown=+%s:-%s good /f\n",
    "an owner of a link": "FROM base:1\nCOPY --link --chown=%s good /f\n",
    "the owner of a mount": "FROM base:1\nRUN --mount=type=cache,target=/c,uid=%s,gid=%s true\n",
    "the mode of a mount": "FROM base:1\nRUN --mount=type=cache,target=/c,mode=%s true\n",
    "the size of a mount": "FROM base:1\nRUN --mount=type=tmpfs,target=/t,size=%s true\n",
    "a mode": "FROM base:1\nCOPY --chmod=%s good /f\n",
    "a user": "FROM base:1\nUSER %s:%s\nRUN true\n",
    "a user of the image": "FROM base:1\nRUN echo 'x:x:%s:%s::/:/bin/sh' >>/etc/passwd\nUSER x\nRUN true\n",
    "a stage": "FROM base:1 AS a\nFROM base:1\nCOPY --from=%s /bin/sh /f\n",
    "a port": "FROM base:1\nEXPOSE %s-%s\n",
    "a signal": "FROM base:1\nSTOPSIGNAL %s\n",
    "a signal of the real-time ones": "FROM base:1\nSTOPSIGNAL RTMIN+%s\n",
    "retries": "FROM base:1\nHEALTHCHECK --retries=%s CMD true\n",
    "a duration": "FROM base:1\nHEALTHCHECK --interval=%ss --timeout=1.%sms CMD true\n",
    "a position of a variable": "FROM base:1\nENV A=b\nENV B=${A:%s:%s}\n",
    "the file descriptor of a here-document": "FROM base:1\nRUN cat %s<<E\nx\nE\n",
    "a digest": "FROM base@sha256:%s\n",
    "a tag": "FROM base:%s\n",
    "a checksum": "FROM base:1\nADD --checksum=sha256:%s http://127.0.0.1:9/f /f\n",
    "an address": "FROM base:1\nADD http://127.0.0.1:%s/f /f\n",
    "an option": "# check=error=%s\nFROM base:1\n",
}


@pytest.mark.parametrize("digits", ["9" * 5000, "0" * 5000 + "7", "1" * 400], ids=["nines", "zeros", "ones"])
@pytest.mark.parametrize("dockerfile", NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_may_have_more_digits_than_python_reads(lab: Lab, dockerfile: str, digits: str) -> None:
    """``int`` refuses more than 4,300, with an exception of its own."""
    lab.file("good", "x")
    with contextlib.suppress(LayerlabError):
        lab.try_build(dockerfile.replace("%s", digits))


@pytest.mark.parametrize("line", ["a\\d{%s}", "a\\x{%s}", "a\\%s", "a[0-%s]"])
def test_numbers_of_ignore_patterns_may_have_them_too(lab: Lab, line: str) -> None:
    lab.file(".dockerignore", line.replace("%s", "9" * 5000) + "\n")
    with contextlib.suppress(DockerfileError):
        lab.try_build("FROM base:1\nCOPY . /\n")


def test_no_context_and_no_dockerfile(lab: Lab, tmp_path: Path) -> None:
    lab.file("good", "good")
    with pytest.raises(UsageError, match="does not exist") as caught:
        lab.try_build(GOOD, context=str(tmp_path / "none"))
    assert caught.value.remedy
    with pytest.raises(UsageError, match="is not a directory"):
        lab.try_build(GOOD, context=str(lab.context / "good"))
    with pytest.raises(UsageError, match=r"failed to read dockerfile: .*no such file"):
        lab.try_build(file=str(tmp_path / "none"))
    with pytest.raises(UsageError, match="failed to read dockerfile"):
        lab.try_build(file=str(tmp_path))
    with pytest.raises(UsageError, match=r"target stage .x. could not be found"):
        lab.try_build(GOOD, target="x")
    lab.build(GOOD)


def test_an_ignore_file_that_leads_out_of_the_context_is_none(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("[f\n")
    lab.file("f", "x")
    for target in ("../../rules", str(tmp_path / "rules"), ".dockerignore"):
        for name in (".dockerignore", "Dockerfile.dockerignore"):
            (lab.context / name).symlink_to(target)
            lab.build("FROM base:1\nCOPY f /f\n")
            (lab.context / name).unlink()
    lab.file("rules", "f\n")
    for target in ("../../rules", "/rules", "rules"):
        (lab.context / ".dockerignore").symlink_to(target)
        assert lab.try_build("FROM base:1\nCOPY f /f\n").failure is not None
        (lab.context / ".dockerignore").unlink()


def test_a_link_out_of_the_context_shows_nothing_of_what_it_leads_to(lab: Lab, tmp_path: Path) -> None:
    name = "Dockerfile"
    (tmp_path / "secret").write_text("SECRET [words\n")
    (lab.context / name).symlink_to("../../secret")
    with pytest.raises(LayerlabError, match="leads out of the build context") as caught:
        lab.engine.build(BuildOptions(context=str(lab.context), offline=True))
    assert "SECRET" not in f"{caught.value.message} {caught.value.remedy}"
    (lab.context / name).unlink()
    lab.file(f"inside/{name}", "FROM base:1\n")
    (lab.context / name).symlink_to(f"inside/{name}")
    assert lab.engine.build(BuildOptions(context=str(lab.context), offline=True)).failure is None


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
def test_a_device_of_the_context_is_one_in_the_image_and_none_in_the_store(lab: Lab) -> None:
    os.mknod(lab.context / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    record = lab.build("FROM base:1\nCOPY zero /zero\n")
    assert lab.layers(record)[-1]["zero"].type == "char"
    for folder, _, names in os.walk(lab.engine.store_path):
        assert not any(stat.S_ISCHR(os.lstat(os.path.join(folder, name)).st_mode) for name in names)


def test_a_file_of_the_context_that_is_noted_as_a_device_is_a_file(lab: Lab) -> None:
    """The note is an attribute that everybody can give their files; the image would have a disk there, for who loads it as root."""
    lab.file("disk", "")
    os.setxattr(lab.context / "disk", "user.layerlab.device", b"block-8-0")
    record = lab.build("FROM base:1\nCOPY disk /disk\n")
    assert lab.layers(record)[-1]["disk"].type == "file"
    record = lab.build("FROM base:1\nCOPY . /all/\nCOPY --link disk /disk\n")
    assert {layer[name].type for layer in lab.layers(record) for name in layer if name.endswith("disk")} == {"file"}


# --- what a build context may hold ----------------------------------------------------------------------------------


def test_a_build_without_a_tag_below_a_path_that_is_long_as_a_name(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / ("ж" * 60)
    place.mkdir()
    (place / "Dockerfile").write_text("FROM base:1\nENV A=b\n", encoding="utf-8")
    record = lab.engine.build(BuildOptions(context=str(place), offline=True))
    assert record.failure is None
    assert record.image in {row.id for row in lab.engine.images(unnamed=True)}


def test_a_dockerfile_may_have_a_small_letter(lab: Lab) -> None:
    """As for Docker's clients: where there is no other, and for its ignore file, too."""
    lab.file("dockerfile", "FROM base:1\nCOPY . /x/\n")
    lab.file("dockerfile.dockerignore", "secret\n")
    lab.file("secret")
    options = BuildOptions(context=str(lab.context), offline=True)
    record = lab.engine.build(options)
    assert (record.failure, os.path.basename(record.dockerfile)) == (None, "dockerfile")
    assert lab.engine.plan(options).steps[-1].status == "cached"
    assert lab.engine.explain(options) is not None
    lab.file("another", "changes nothing that is sent\n")
    lab.file("dockerfile.dockerignore", "secret\nanother\n")
    assert lab.engine.plan(options).steps[-1].status == "executed"
    lab.file("Dockerfile", "FROM base:1\n")
    assert os.path.basename(lab.engine.build(options).dockerfile) == "Dockerfile"


def test_a_path_that_is_not_text_is_refused_before_anything_is_built(lab: Lab, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"not-text-\xff")
    place.mkdir()
    (place / "Dockerfile").write_text("FROM base:1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not-text-\ufffd is not UTF-8"):
        lab.engine.build(BuildOptions(context=str(place), offline=True))


def test_a_name_that_no_file_can_have_is_no_image(lab: Lab) -> None:
    with pytest.raises(LayerlabError, match="No such image"):
        lab.engine.image_row("/".join("a" * 120))
    with pytest.raises(LayerlabError, match="must not be more than 255 characters"):
        lab.engine.image_row("/".join("a" * 130))


def test_a_worker_that_was_killed_is_not_taken_for_a_closed_output(lab: Lab) -> None:
    worker = lab.engine.worker
    worker.ask(Remove(paths=[]))
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    with pytest.raises(ExecutorError, match="ended unexpectedly"):
        worker.ask(Remove(paths=[]))
    assert worker.ask(Remove(paths=[])) == Done()


def test_a_loop_of_links_is_plain_content(lab: Lab) -> None:
    (lab.context / "a").symlink_to("b")
    (lab.context / "b").symlink_to("a")
    layer = lab.layers(lab.build("FROM base:1\nCOPY . /d\n"))[0]
    assert (layer["d/a"].target, layer["d/b"].target) == ("b", "a")


def test_a_socket_is_left_out_and_a_pipe_is_content(each_lab: Lab) -> None:
    lab = each_lab
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(lab.context)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        os.mkfifo(lab.context / "pipe")
        layer = lab.layers(lab.build("FROM base:1\nCOPY . /d\nCOPY pipe /pipe\n"))[0]
    assert {path: entry.type for path, entry in layer.items()} == {"d": "dir", "d/pipe": "fifo"}


@pytest.mark.skipif(not IS_ROOT, reason="only root can make a device")
def test_a_device_is_content_for_root(lab: Lab) -> None:
    os.mknod(lab.context / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    layer = lab.layers(lab.build("FROM base:1\nCOPY . /d\n"))[0]
    assert (layer["d/device"].type, layer["d/device"].major, layer["d/device"].minor) == ("char", 1, 3)


@pytest.mark.skipif(IS_ROOT, reason="root can read every file")
@pytest.mark.parametrize("name", ["file", "directory"])
def test_what_cannot_be_read_is_named_unless_it_is_ignored(lab: Lab, name: str) -> None:
    lab.file("good", "good")
    lab.file("file", "x", 0)
    lab.file("directory/f", "x")
    (lab.context / "directory").chmod(0)
    try:
        record = lab.try_build(f"FROM base:1\nCOPY {name} /x\n")
        assert record.failure is not None
        assert (record.failure.kind, name in record.failure.message, "Permission denied" in record.failure.message) == (
            "context",
            True,
            True,
        )
        assert ".dockerignore" in (record.failure.remedy or "")
        lab.file(".dockerignore", "file\ndirectory\n")
        assert set(lab.layers(lab.build("FROM base:1\nCOPY . /d\n"))[0]) == {"d", "d/good", "d/.dockerignore"}
    finally:
        (lab.context / "directory").chmod(0o755)


def test_a_name_that_is_not_text_is_refused_unless_it_is_ignored(lab: Lab) -> None:
    Path(os.fsdecode(os.fsencode(lab.context) + b"/caf\xe9")).write_text("x")
    record = lab.try_build("FROM base:1\nCOPY . /d\n")
    assert record.failure is not None
    assert (record.failure.kind, "caf\\xe9" in record.failure.message) == ("context", True)
    lab.file(".dockerignore", "caf*\n.dockerignore\n")
    assert list(lab.layers(lab.build("FROM base:1\nCOPY . /d\n"))[0]) == ["d"]


def test_a_step_may_make_a_name_that_is_not_text_but_no_key_can_be_made_of_it(lab: Lab) -> None:
    make = "FROM base:1 AS a\nRUN mkdir /d && touch \"/d/$(printf 'caf\\351')\"\n"
    lab.build(make)
    record = lab.try_build(make + "FROM base:1\nCOPY --from=a /d /d\n")
    assert record.failure is not None
    assert "not UTF-8" in record.failure.message
    lab.build(make + "FROM base:1\nCOPY --from=a /etc /d\n")


def test_a_sparse_file_of_gigabytes_takes_neither_disk_nor_minutes(lab: Lab) -> None:
    size = 5 << 30
    with open(lab.context / "sparse", "wb") as stream:
        stream.truncate(size)
        stream.seek(size // 2)
        stream.write(b"in the middle")
    before = time.monotonic()
    record = lab.build("FROM base:1\nCOPY sparse /sparse\n")
    assert time.monotonic() - before < 120
    assert lab.layers(record)[0]["sparse"].size == size
    used = subprocess.run(["du", "-sk", lab.engine.store_path], capture_output=True, text=True, check=True).stdout
    assert int(used.split()[0]) < 100_000


def test_a_file_that_changes_while_it_is_read_never_makes_a_wrong_layer(lab: Lab) -> None:
    file = lab.file("good", "good")
    inputs = lab.engine._inputs(lab.options(GOOD))
    inputs.context.root.digest()
    file.write_text("evil")
    record = Build(lab.engine, lab.options(GOOD), inputs, _silent, time.monotonic()).run()
    assert record.failure is not None
    assert (record.failure.kind, "changed while" in record.failure.message) == ("context", True)
    lab.build(GOOD)
    assert lab.output == "evil"


# --- a RUN that fails -----------------------------------------------------------------------------------------------


def test_a_failed_run_tells_all_and_costs_nothing_else(each_lab: Lab) -> None:
    lab = each_lab
    dockerfile = "FROM base:1\nRUN echo one > /one\n\nRUN echo told; cat /one; sleep 0.3; exit 7\nRUN echo never\n"
    record = lab.try_build(dockerfile)
    assert record.failure is not None
    assert (record.failure.exit_status, record.failure.line) == (7, 4)
    assert verdicts(record) == ["executed", "failed", "skipped"]
    assert lab.output == "told\none\n"
    assert record.steps[2].log == "told\none\n"
    assert record.steps[2].seconds >= 0.3
    again = lab.try_build(dockerfile)
    assert verdicts(again) == ["cached", "failed", "skipped"]
    assert again.steps[2].cause is not None
    assert again.steps[2].cause.kind == "failed-before"
    assert verdicts(lab.build(dockerfile.replace("exit 7", "true"))) == ["cached", "executed", "executed"]


NETWORK_WORDS = [
    "wget: bad address 'registry'",
    "npm error code EAI_AGAIN",
    "curl: (6) Could not resolve host: x",
    "connect: Network is unreachable",
]


@pytest.mark.parametrize("words", NETWORK_WORDS)
def test_a_step_that_wants_the_network_is_told_that_there_is_none(lab: Lab, words: str) -> None:
    record = lab.try_build(f'FROM base:1\nRUN test "$(grep -c : /proc/net/dev)" = 1 && echo "{words}"; exit 1\n')
    assert record.failure is not None
    assert words in lab.output
    assert "network" in (record.failure.remedy or "")


LONG = " \\\n".join(["x" * 60_000] * 4)


@pytest.mark.parametrize("dockerfile", [f"FROM base:1\nRUN : {LONG}\n", "FROM base:1\nRUN echo a\0b\n"], ids=["too long", "zero byte"])
def test_a_command_that_no_system_can_run(lab: Lab, dockerfile: str) -> None:
    record = lab.try_build(dockerfile)
    assert record.failure is not None
    assert (record.failure.kind, "bwrap" in record.failure.message) == ("dockerfile", False)
    lab.file("good")
    lab.build(GOOD)


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_store_of_another_format(lab: Lab) -> None:
    lab.file("good")
    version = Path(lab.engine.store.path, "version")
    lab.engine.close()
    version.write_text("999")
    lab.engine = EmbeddedEngine(lab.engine.store_path)
    with pytest.raises(StoreError, match="has format '999'") as caught:
        lab.try_build(GOOD)
    assert "LAYERLAB_STORE" in (caught.value.remedy or "")


@pytest.mark.parametrize("name", ["blobs/sha256", "s", "layers", "records", "content", "images", "contexts", "mounts", "locks", "tmp"])
@pytest.mark.parametrize("damage", ["gone", "a file", "a pipe"])
def test_a_store_without_one_of_its_directories(lab: Lab, name: str, damage: str) -> None:
    """As after a backup that was not put back as a whole: it is made again where it is gone, and else named."""
    lab.file("good", "good")
    lab.build(GOOD)
    place = Path(lab.engine.store.path, name)
    lab.engine.close()
    place.rename(place.with_name("moved"))
    if damage == "gone":
        with EmbeddedEngine(lab.engine.store_path) as engine:
            # What is lost may be missed, and is then named.
            for act in (
                lambda: engine.verify(lambda _text: None),
                lambda: engine.build(lab.options("FROM base:1\nCOPY good /other\n")),
                lambda: engine.prune(0, lambda _text: None),
            ):
                with contextlib.suppress(LayerlabError):
                    act()
    else:
        place.write_text("") if damage == "a file" else os.mkfifo(place)
        with EmbeddedEngine(lab.engine.store_path) as engine, pytest.raises(StoreError, match=f"{name} is not a directory"):
            engine.build(lab.options(GOOD))


def test_a_pipe_in_the_place_of_what_a_store_knows_of_a_layer(lab: Lab) -> None:
    """Nobody waits for what will never be written."""
    lab.file("good", "good")
    lab.build(GOOD)
    store = Path(lab.engine.store.path)
    lab.engine.close()
    for folder in ("layers", "records", "images", "content"):
        for path in [path for path in (store / folder).iterdir() if path.is_file()]:
            path.unlink()
            os.mkfifo(path)
    with EmbeddedEngine(lab.engine.store_path) as engine:
        assert engine.images() == ()
        engine.verify(lambda _text: None)
        engine.prune(0, lambda _text: None)


def _read_only(path: str) -> Callable[[], None]:
    if IS_ROOT:
        mounted = subprocess.run(["mount", "--bind", path, path], capture_output=True, check=False).returncode == 0
        if not mounted:
            pytest.skip("root may not mount here")
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)

        def unmount() -> None:
            subprocess.run(["umount", path], check=True)

        return unmount
    for here, directories, _ in os.walk(path):
        os.chmod(here, 0o555)
        directories[:] = [name for name in directories if not name.isdigit()]

    def back() -> None:
        for here, _, _ in os.walk(path):
            os.chmod(here, 0o755)

    return back


def _said(engine: EmbeddedEngine, options: BuildOptions) -> tuple[str, str]:
    """Message and remedy of a store that cannot be used, whether there is a record of the build or not."""
    try:
        failure = engine.build(options).failure
    except StoreError as error:
        return error.message, error.remedy or ""
    assert failure is not None
    return failure.message, failure.remedy or ""


def test_a_read_only_store(lab: Lab) -> None:
    lab.file("good", "good")
    lab.build(GOOD)
    lab.engine.close()
    undo = _read_only(lab.engine.store_path)
    try:
        with EmbeddedEngine(lab.engine.store_path) as engine:
            message, remedy = _said(engine, lab.options("FROM base:1\nRUN echo other\n"))
        assert "read-only" in message.lower() or "cannot be written to" in message
        assert "LAYERLAB_STORE" in remedy
    finally:
        undo()
    with EmbeddedEngine(lab.engine.store_path) as engine:
        assert verdicts(engine.build(lab.options(GOOD))) == ["cached", "cached"]


@pytest.mark.skipif(not IS_ROOT, reason="only root can mount a small disk")
@pytest.mark.parametrize("filler", ["head -c 200m /dev/zero > /big", "head -c 200m /dev/zero > /big || true", "copy"])
def test_a_full_disk(make_lab: Callable[..., Lab], tmp_path: Path, filler: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        lab = make_lab(disk / "store")
        lab.file("good", "good")
        lab.file("big", os.urandom(1 << 20) * 64)
        record = lab.try_build("FROM base:1\nCOPY big /\n" if filler == "copy" else f"FROM base:1\nRUN {filler}\n")
        if "|| true" not in filler:
            assert record.failure is not None, lab.output
            assert (record.failure.kind, "is full" in record.failure.message) == ("store", True), (record.failure, lab.output)
        lab.build(GOOD)
        lab.engine.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
