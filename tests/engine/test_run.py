"""What a RUN gets: user, shell, mounts; and which of it ends in the layer."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.fsutil import exchange

from .conftest import verdicts

if TYPE_CHECKING:
    from layerlab.model import BuildRecord

    from .conftest import Lab

MOUNT = "RUN --mount=type="
# Steps after FROM, what the last build prints, and the paths of the last layer.
RUNS: dict[str, tuple[str, str, set[str]]] = {
    "the shell form": ("RUN echo a   b", "a b\n", set()),
    "the exec form": ('RUN ["echo", "a   b"]', "a   b\n", set()),
    "an empty command": ("RUN true", "", set()),
    "a user by name": ("USER node\nRUN id -u; id -g; echo $HOME", "1000\n1000\n/home/node\n", set()),
    "a user by numbers": ("USER 1000:1000\nRUN id -u; id -g", "1000\n1000\n", set()),
    "a user nobody knows": ("USER 4321\nRUN id -u; id -g; echo $HOME", "4321\n0\n/\n", set()),
    "another shell": ('SHELL ["/bin/sh", "-e", "-c"]\nRUN case $- in *e*) echo e; esac; echo b', "e\nb\n", set()),
    "a heredoc": ("RUN <<EOF\necho one\necho two\nEOF", "one\ntwo\n", set()),
    "a heredoc with its own interpreter": ("RUN <<EOF\n#!/bin/cat\nbody\nEOF", "#!/bin/cat\nbody\n", set()),
    "a heredoc fed to a command": ("RUN cat <<EOF\nbody\nEOF", "body\n", set()),
    "the working directory": ("WORKDIR /w/x\nRUN pwd", "/w/x\n", set()),
    "no standard input": ("RUN cat; echo end", "end\n", set()),
    "umask": ("RUN umask", "0022\n", set()),
    "a cache": (f"{MOUNT}cache,target=/c echo 1 > /c/f\n{MOUNT}cache,target=/c cat /c/f; ls -d /c", "1\n/c\n", set()),
    "a cache under two names": (f"{MOUNT}cache,id=i,target=/c echo 1 > /c/f\n{MOUNT}cache,id=i,target=/e cat /e/f", "1\n", set()),
    "a cache is not in the image": (f"{MOUNT}cache,target=/c/d echo 1 > /c/d/f\nRUN ls /c 2>&1 | wc -l", "1\n", set()),
    "a private cache": (f"{MOUNT}cache,target=/c,sharing=private echo 1 > /c/f && cat /c/f", "1\n", set()),
    "a cache of another user": (f"USER node\n{MOUNT}cache,target=/c,uid=1000,mode=700 touch /c/f && ls /c", "f\n", set()),
    "a tmpfs": (f"{MOUNT}tmpfs,target=/t echo 1 > /t/f && cat /t/f", "1\n", set()),
    "a bound file": (f"{MOUNT}bind,source=f,target=/b cat /b", "f", set()),
    "a bound directory": (f"{MOUNT}bind,source=d,target=/b cat /b/x", "d/x", set()),
    "the bound context": (f"{MOUNT}bind,target=/b ls /b", "d\nf\n", set()),
    "bound from a stage": (f"FROM base:1 AS a\nRUN echo s > /s\nFROM base:1\n{MOUNT}bind,from=a,source=/s,target=/b cat /b", "s\n", set()),
    "bound and written to": (f"{MOUNT}bind,source=d,target=/b,rw echo 1 > /b/x && cat /b/x && echo > /b/new", "1\n", set()),
    "bound, read only": (f"{MOUNT}bind,source=d,target=/b (echo 1 > /b/x) 2>/dev/null || echo no", "no\n", set()),
    "a relative target": (f"WORKDIR /w\n{MOUNT}bind,source=f,target=b cat /w/b", "f", set()),
    "a mount in a mount": (
        "RUN --mount=type=tmpfs,target=/t --mount=type=bind,source=f,target=/t/f cat /t/f && touch /t/g && ls /t",
        "ff\ng\n",
        set(),
    ),
    "a mount in a mount, written the other way round": (
        "RUN --mount=type=bind,source=f,target=/t/f --mount=type=tmpfs,target=/t cat /t/f",
        "f",
        set(),
    ),
    "a WORKDIR below a tmpfs": ("WORKDIR /t/w\nRUN --mount=type=tmpfs,target=/t pwd && touch f && ls /t/w", "/t/w\nf\n", set()),
    "a WORKDIR in /dev": ("WORKDIR /dev/w\nRUN pwd", "/dev/w\n", set()),
    "a WORKDIR in /proc": ("WORKDIR /proc/sys\nRUN ls kernel/ostype", "kernel/ostype\n", set()),
    "a command that comes with a mount": ('RUN --mount=type=bind,from=base:1,source=/bin,target=/b ["/b/echo", "hi"]', "hi\n", set()),
    "a secret in a file": (f"{MOUNT}secret,id=s cat /run/secrets/s", "shh", set()),
    "a secret elsewhere": (f"{MOUNT}secret,id=s,target=/etc/s,mode=0440 cat /etc/s; stat -c %a /etc/s", "shh440\n", set()),
    "a secret as a variable": (f"{MOUNT}secret,id=s,env=S echo $S", "shh\n", set()),
    "a secret that is not given": (f"{MOUNT}secret,id=none ls /run/secrets 2>/dev/null; echo none", "none\n", set()),
    "a secret for a user": (f"USER node\n{MOUNT}secret,id=s,uid=1000 cat /run/secrets/s", "shh", set()),
    "what is left beside a mount": (f"{MOUNT}tmpfs,target=/t echo 1 > /t/f; echo 2 > /left", "", {"left"}),
}


@pytest.mark.parametrize(("steps", "output", "left"), RUNS.values(), ids=RUNS.keys())
def test_a_run(each_lab: Lab, steps: str, output: str, left: set[str]) -> None:
    lab = each_lab
    lab.file("f", "f")
    lab.file("d/x", "d/x")
    record = lab.build(f"FROM base:1\n{steps}\n", secrets={"s": b"shh"})
    assert lab.output == output
    # A mount point that the image lacks is no content: BuildKit's layers have it, cache verdicts do not depend on it.
    assert set(lab.layers(record)[-1]) == left


def test_an_ordinary_users_image_has_owners_all_the_same(each_lab: Lab) -> None:
    lab = each_lab
    lab.build("FROM base:1\nRUN touch /f && chown 1000:1000 /f && chmod 600 /f && cat /f\nUSER node\nRUN test -w /tmp && touch /tmp/x\n")


FRESH: dict[str, tuple[dict[str, Any], list[str]]] = {
    "again": ({}, ["cached", "cached", "cached"]),
    "no cache": ({"no_cache": True}, ["executed", "executed", "executed"]),
    "no cache for a stage": ({"no_cache_filter": ("a",)}, ["executed", "cached", "cached"]),
    "no cache for another": ({"no_cache_filter": ("b",)}, ["cached", "executed", "executed"]),
}


@pytest.mark.parametrize(("options", "expected"), FRESH.values(), ids=FRESH.keys())
def test_ignoring_the_cache(lab: Lab, options: dict[str, Any], expected: list[str]) -> None:
    dockerfile = "FROM base:1 AS a\nRUN echo 1 > /f\nFROM base:1 AS b\nCOPY --from=a /f /f\nRUN cat /f\n"
    lab.build(dockerfile)
    assert verdicts(lab.build(dockerfile, **options)) == expected
    assert verdicts(lab.build(dockerfile)) == ["cached"] * 3


def test_a_stage_is_read_by_content(lab: Lab) -> None:
    dockerfile = "FROM base:1 AS a\nRUN echo {} > /log; echo same > /f\nFROM base:1\nCOPY --from=a /f /f\nRUN cat /f\n"
    lab.build(dockerfile.format(1))
    assert verdicts(lab.build(dockerfile.format(2))) == ["executed", "cached", "cached"]
    assert verdicts(lab.build(dockerfile.format(2).replace("same", "other"))) == ["executed", "executed", "executed"]


@pytest.mark.parametrize("sharing", ["shared", "locked", "private"])
def test_a_cache_that_is_emptied_stays_with_the_command_that_has_it(lab: Lab, sharing: str) -> None:
    """``--no-cache`` of another build empties it for those that come after."""
    mount = f"{MOUNT}cache,target=/c,sharing={sharing}"
    busy, look = lab.directory / "busy", lab.directory / "look"
    busy.write_text(f"FROM base:1\n{mount} mkdir -p /c/d && echo 1 > /c/f && sleep 2 && cat /c/f && echo 2 > /c/d/g\n")
    look.write_text(f"FROM base:1\n{mount} ls /c | wc -l\n")
    mounts = Path(lab.engine.store.path, "mounts")
    found: list[BuildRecord] = []

    def build() -> None:
        with EmbeddedEngine(lab.engine.store_path) as other:
            found.append(other.build(lab.options(file=str(busy))))

    thread = threading.Thread(target=build)
    thread.start()
    deadline = time.monotonic() + 20
    while not list(mounts.glob("*/f")) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(2):
        lab.build(file=str(look), no_cache=True)
        assert lab.output.split() == ["0"]
        thread.join()
    assert found[0].failure is None, found[0].failure
    assert [path.name for path in mounts.iterdir() if ".old-" in path.name] == []


def test_directories_change_names_or_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system cannot do it at once, and where it cannot be done."""

    def content() -> dict[str, list[str]]:
        return {path.name: sorted(os.listdir(path)) for path in sorted(tmp_path.iterdir())}

    for name in ("a", "b"):
        (tmp_path / name / f"of-{name}").mkdir(parents=True)
    exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert content() == {"a": ["of-b"], "b": ["of-a"]}
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_more: object())
    exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert content() == {"a": ["of-a"], "b": ["of-b"]}
    with pytest.raises(FileNotFoundError):
        exchange(str(tmp_path / "nowhere"), str(tmp_path / "b"))
    assert {name: inside for name, inside in content().items() if inside} == {"a": ["of-a"], "b": ["of-b"]}
