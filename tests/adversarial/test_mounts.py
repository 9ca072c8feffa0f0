"""No mount of a RUN leads out of its sandbox, whatever links an image, a context, a cache or another build puts in its way.

A generator makes RUN instructions with random nests of mounts over a zoo of links that lead to a canary tree of this machine, while another
process keeps swapping directories of the caches for such links. Each RUN then reads, writes, deletes and changes what it finds at its mount
points. Afterwards the canary must be what it was, to the last attribute, and nothing of its text may have been printed.

    LAYERLAB_HOSTILE_MOUNTS=2000 LAYERLAB_SEED=… ./lab test tests/adversarial/test_mounts.py -q -s
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerlab.errors import LayerlabError
from tests.engine.conftest import Lab, MakeLab

SEED = os.environ.get("LAYERLAB_SEED") or secrets.token_hex(4)
CASES = int(os.environ.get("LAYERLAB_HOSTILE_MOUNTS", "120"))
RAN = "the attack ran"
TEXT = "canary-" + secrets.token_hex(8)
# What a build may end with: it was built, a mount was refused, or its command failed.
ENDS = ("", "dockerfile", "step-failed", "base-image", "context", "missing-source")

State = dict[str, tuple[int, int, int, int, int, bytes]]


class Canary:
    """A tree of this machine that nobody in a sandbox may read or change."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("secret", "d/f", "d/e/f", "open/f"):
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{TEXT} {name}\n", encoding="ascii")
        (place / "secret").chmod(0o600)
        (place / "open").chmod(0o777)
        self._before = self._state()

    def _state(self) -> State:
        found: State = {}
        for path in [self.place, *sorted(self.place.rglob("*"))]:
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, content)
        return found

    def check(self, said: str) -> None:
        assert self._state() == self._before
        assert TEXT not in said


def _ways_out(canary: Path, store: str) -> dict[str, str]:
    """Targets of links that lead to the canary or into the store for whoever has this machine's root before it."""
    up = "../" * 12
    ways: dict[str, str] = {}
    for name, path in (("canary", str(canary)), ("dir", f"{canary}/d"), ("file", f"{canary}/secret"), ("open", f"{canary}/open")):
        for prefix in ("", "/oldroot", "/newroot/../oldroot", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../..", up.rstrip("/")):
            ways[f"{name}{len(ways)}"] = f"{prefix}{path}"
    for name in ("mounts", "s", "root", ""):
        ways[f"store{len(ways)}"] = f"/oldroot{store}/{name}"
        ways[f"store{len(ways)}"] = f"{up}{store.lstrip('/')}/{name}"
    return {
        **ways,
        "hostetc": "/oldroot/etc",
        "up": up,
        "slash": "/",
        "oldroot": "/oldroot",
        "loop": "loop",
        "here": ".",
        "hostdev": "/dev",
        "hostproc": "/proc",
        "hostsys": "/sys",
        "nowhere": "/no/such/place",
    }


class Zoo:
    """A context with links and folders to mount from, and the names of caches that hold such links, too."""

    def __init__(self, lab: Lab, canary: Canary) -> None:
        self.links = _ways_out(canary.place, lab.engine.store.path)
        self.names = sorted(self.links)
        self.caches = ("c0", "c1", "c2")
        zoo = lab.context / "zoo"
        # A link with a folder's name would be followed by this very process.
        assert not {"sub", "etc", "dev", "real", "plain"} & self.links.keys()
        for folder in ("", "sub", "sub/deep", "etc", "dev"):
            (zoo / folder).mkdir(parents=True, exist_ok=True)
            (zoo / folder / "real").mkdir(exist_ok=True)
            (zoo / folder / "plain").write_text("text\n", encoding="ascii")
            for name, target in self.links.items():
                (zoo / folder / name).symlink_to(target)
        for name in ("etc/hosts", "etc/resolv.conf", "dev/null", "dev/.switch-user", "dev/shm", "dev/pts"):
            (zoo / name).symlink_to(f"/oldroot{canary.place}/secret")

    def dockerfile(self, draws: random.Random) -> str:
        """A build: a stage with the zoo, sometimes a first RUN that plants links in caches, and the RUN that is the attack."""
        mounts, targets = self._mounts(draws)
        lines = ["FROM base:1 AS a", "COPY zoo /zoo", "FROM base:1", *self._planting(draws)]
        if draws.random() < 0.4:
            lines.append(f"COPY --from=a /zoo{draws.choice(('', '/sub', '/etc'))} {draws.choice(('/t0', '/', '/t1', '/etc'))}")
        if draws.random() < 0.2:
            lines.append(f"WORKDIR {draws.choice(targets)}/{draws.choice(self.names)}")
        if draws.random() < 0.2:
            lines.append("USER 1000:1000")
        # The same text twice is cached. Where nothing ends it, a pipe or a device may keep it waiting for ever.
        attack = "; ".join(_touches(target) for target in [*targets, "/etc/hosts", "/etc/resolv.conf", "/dev/null"])
        command = f"echo {RAN}; (sleep 8; kill -9 -1) & : {draws.getrandbits(64):x}; {attack}; true"
        return "\n".join([*lines, f"RUN {' '.join(mounts)} {command}", ""])

    def _planting(self, draws: random.Random) -> Iterator[str]:
        if draws.random() < 0.3:
            name, cache = draws.choice(self.names), draws.choice(self.caches)
            yield f"RUN --mount=type=cache,id={cache},target=/c ln -sfn {self.links[name]} /c/{name}; mkdir -p /c/real; : {draws.random()}"

    def _mounts(self, draws: random.Random) -> tuple[list[str], list[str]]:
        found, targets = [], [draws.choice(("/t0", "/t1", "/etc", "/dev/x", "/run/secrets", "/zoo"))]
        # One refused mount ends the build before the others could do harm: in half of the builds few places are odd.
        odd = draws.choice((0.05, 0.4))
        for _ in range(draws.randint(1, 6)):
            target = self._target(draws, targets, odd)
            kind = draws.choice(("bind", "bind", "bind", "stage", "cache", "cache", "tmpfs", "secret"))
            source = draws.choice(
                ("/zoo", "/zoo/sub", "/zoo/etc", "/zoo/dev", "/zoo/real")
                if draws.random() > odd / 2
                else (f"/zoo/{draws.choice(self.names)}", "/zoo/plain")
            )
            write = draws.choice(("", ",rw"))
            cache = f"type=cache,id={draws.choice(self.caches)},target={target},sharing={draws.choice(('shared', 'locked', 'private'))}"
            found.append(
                "--mount="
                + {
                    "bind": f"type=bind,source={source[1:]},target={target}{write}",
                    "stage": f"type=bind,from=a,source={source},target={target}{write}",
                    "cache": cache + draws.choice(("", ",ro", f",from=a,source={source}")),
                    "tmpfs": f"type=tmpfs,target={target}",
                    "secret": f"type=secret,id=s,target={target}",
                }[kind]
            )
            targets.append(target)
        return found, targets

    def _target(self, draws: random.Random, targets: list[str], odd: float) -> str:
        """A new place, most often below an earlier one, by a link or by a plain name; or one of the kernel's and ours."""
        if draws.random() < odd / 5:
            return draws.choice(
                ("/dev", "/proc", "/sys", "/", "/dev/.switch-user", "/etc/hosts", "/etc", "/proc/self/root", "/dev/shm", "/oldroot")
            )
        place = draws.choice(targets)
        for _ in range(draws.randint(1, 2)):
            place += "/" + draws.choice(self.names if draws.random() < odd else ("real", "sub", "new", "..", "etc", "dev", "d/e"))
        return place


def _touches(target: str) -> str:
    """A command that reads, writes, deletes and changes whatever is at a place."""
    return (
        f"(T='{target}'; for F in $T $T/* $T/*/* $T/*/*/f; do [ -f $F ] && head -c 300 $F; done; ls -la $T/; echo pwned > $T; "
        "echo pwned > $T/pwned; mkdir $T/made; chmod 777 $T $T/f $T/secret; ln -s x $T/link; rm -rf $T/d/f $T/secret; "
        "echo pwned > $T/secret) 2>/dev/null"
    )


@pytest.fixture
def swapper(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Starts a process that keeps swapping directories below a folder for links to a place."""
    program = """
import os, sys
store, target = sys.argv[1:]
while True:
    for cache in os.listdir(store):
        try:
            os.chdir(os.path.join(store, cache))
        except OSError:
            continue
        for _ in range(50):
            for step in (lambda: os.symlink(target, "swap"), lambda: os.rename("real", "kept"), lambda: os.rename("swap", "real"),
                         lambda: os.rename("real", "swap"), lambda: os.rename("kept", "real")):
                try:
                    step()
                except OSError:
                    pass
"""
    running: list[subprocess.Popen[bytes]] = []

    def start(folder: str, target: str) -> None:
        running.append(subprocess.Popen([sys.executable, "-c", program, folder, target]))

    yield start
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.wait()


# What once led out, one of each class. @SECRET@ is a file of the canary, @DIR@ a folder of it, @STORE@ the store.
ESCAPES = {
    "reading: a target below another mount, with a link on the way": """\
FROM base:1 AS a
RUN mkdir -p /B /D && ln -s /oldroot/etc /B/l && ln -s /oldroot@SECRET@ /D/resolv.conf
FROM base:1
RUN --mount=type=bind,from=a,source=/B,target=/a --mount=type=bind,from=a,source=/D,target=/a/l cat /etc/resolv.conf
""",
    "writing: the folder of the caches is shadowed": """\
FROM base:1 AS a
RUN mkdir -p /B /D && ln -s /oldroot@STORE@/mounts /B/l && for n in $(seq 9); do ln -sfn /oldroot@DIR@ /D/69c0fc3f8c9d66084915f60c; done
FROM base:1
RUN --mount=type=bind,from=a,source=/B,target=/a --mount=type=bind,from=a,source=/D,target=/a/l --mount=type=cache,target=/z,id=q \
    echo written > /z/pwned; cat /z/f
""",
    "overwriting: a folder over /dev": """\
FROM base:1 AS a
RUN mkdir -p /B/shm /B/pts && ln -s /oldroot@SECRET@ /B/.switch-user && touch /B/null
FROM base:1
RUN --mount=type=bind,from=a,source=/B,target=/dev,rw true
""",
    "the same by a link to /dev": """\
FROM base:1 AS a
RUN mkdir -p /B/shm /B/pts && ln -s /oldroot@SECRET@ /B/.switch-user && touch /B/null
FROM base:1
RUN ln -s /dev /d
RUN --mount=type=bind,from=a,source=/B,target=/d,rw echo pwned > /dev/.switch-user; true
""",
    "a link in a cache": """\
FROM base:1
RUN --mount=type=cache,target=/c ln -sfn /oldroot@DIR@ /c/l
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/c/l/via-cache true
RUN --mount=type=cache,target=/c --mount=type=cache,id=x,target=/c/l true
""",
    "a folder over /etc": """\
FROM base:1 AS a
RUN mkdir /B && ln -s /oldroot@SECRET@ /B/hosts && ln -s /oldroot@SECRET@ /B/resolv.conf
FROM base:1
RUN --mount=type=bind,from=a,source=/B,target=/etc,rw cat /etc/hosts /etc/resolv.conf; echo pwned > /etc/hosts; true
""",
    "a link to the root": """\
FROM base:1
RUN ln -s / /rootl && ln -s . /here && ln -s /dev /d && ln -s /proc /p && ln -s /sys /s
RUN --mount=type=cache,target=/c,id=k mkdir -p /c/dev /c/tmp /c/etc; ln -sfn /oldroot@DIR@ /c/proc; ln -sfn /oldroot@DIR@ /c/sys
RUN --mount=type=cache,target=/rootl,id=k : > /proc/f; cat /f
""",
    "links to what the kernel has": """\
FROM base:1
RUN ln -s /dev /d && ln -s /proc /p && ln -s /sys /s && ln -s . /here
RUN --mount=type=tmpfs,target=/p/z true
""",
    "our file for the user": """\
FROM base:1
RUN rm -f /etc/hosts /etc/resolv.conf; ln -s /dev/.switch-user /etc/hosts; ln -s /dev/.switch-user /etc/resolv.conf
RUN cat /etc/hosts; true
""",
    "a folder over the root": """\
FROM base:1
RUN --mount=type=bind,source=.,target=/ true
""",
}


@pytest.mark.parametrize("link", ["/rootl", "/here", "/here/here", "/d", "/p", "/s", "/p/z", "/s/kernel", "/d/../here"])
@pytest.mark.parametrize("mount", ["type=tmpfs", "type=cache,id=k", "type=bind,source=d"])
def test_by_a_link_too_nothing_covers_what_the_sandbox_has_of_its_own(link: str, mount: str, make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.file("d/f", "f")
    links = "ln -s / /rootl; ln -s . /here; ln -s /dev /d; ln -s /proc /p; ln -s /sys /s; ln -s /etc /e"
    kind, said = _built(lab, f"FROM base:1\nRUN {links}\nRUN --mount={mount},target={link} true\n")
    assert kind == "dockerfile", said
    assert "its root, /dev, /proc or /sys" in said or "the sandbox has its own" in said


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES.keys())
def test_what_once_led_out_does_not(escape: str, walled_lab: Lab, tmp_path: Path) -> None:
    lab = walled_lab
    canary = Canary(tmp_path / "canary")
    filled = escape.replace("@SECRET@", f"{canary.place}/secret").replace("@DIR@", f"{canary.place}/d")
    kind, said = _built(lab, filled.replace("@STORE@", lab.engine.store.path))
    assert kind in ENDS, said
    canary.check(said)
    lab.build("FROM base:1\nRUN echo still works\n")


# What BuildKit takes and harms nobody: each prints what it must.
NESTED = {
    "a tmpfs below a bind mount": (
        "--mount=type=bind,source=d,target=/a,rw --mount=type=tmpfs,target=/a/new",
        "echo x > /a/new/x; ls /a",
        "f\nnew\n",
    ),
    "a cache below a cache": ("--mount=type=cache,target=/c --mount=type=cache,id=i,target=/c/in", "touch /c/in/x; ls /c/in", "x\n"),
    "a file below a mount": ("--mount=type=tmpfs,target=/t --mount=type=bind,source=d/f,target=/t/f", "cat /t/f", "f"),
    "parents after their children": ("--mount=type=bind,source=d/f,target=/t/f --mount=type=tmpfs,target=/t", "cat /t/f", "f"),
    "a secret below a mount": ("--mount=type=tmpfs,target=/t --mount=type=secret,id=s,target=/t/s", "cat /t/s", "a secret\n"),
    "shared memory of another size": (
        "--mount=type=tmpfs,target=/dev/shm,size=1m",
        "df -k /dev/shm | tail -1 | awk '{print $2}'",
        "1024\n",
    ),
    "a tmpfs that is read-only": ("--mount=type=tmpfs,ro,target=/t", "touch /t/x 2>/dev/null || echo stays; ls /t", "stays\n"),
    "by a link of the image": ("--mount=type=bind,source=d,target=/link/d", "ls /tmp/d", "f\n"),
}


@pytest.mark.parametrize(("mounts", "command", "says"), NESTED.values(), ids=NESTED.keys())
def test_mounts_in_mounts(mounts: str, command: str, says: str, walled_lab: Lab) -> None:
    lab = walled_lab
    lab.file("d/f", "f")
    record = lab.build(f"FROM base:1\nRUN ln -s /tmp /link\nRUN {mounts} {command}\n", secrets={"s": b"a secret\n"})
    assert lab.output == says
    layer = lab.layers(record)[-1]
    assert not [path for path in layer if path.split("/")[0] in ("a", "c", "t") and "/" in path], layer


def test_the_same_layer_twice(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.file("f", "f")
    record = lab.build("FROM base:1\nCOPY f /f\nCOPY f /f\nRUN cat /f\nCOPY f /f\nRUN cat /f /f\n")
    assert lab.output == "fff"
    assert record.image


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_mount_leads_out(walled_lab: Lab, tmp_path: Path, swapper: Callable[[str, str], None]) -> None:
    lab = walled_lab
    snapshotter = lab.engine.host.snapshotter
    canary = Canary(tmp_path / "canary")
    zoo = Zoo(lab, canary)
    swapper(os.path.join(lab.engine.store.path, "mounts"), str(canary.place / "d"))
    print(f"\nLAYERLAB_SEED={SEED} LAYERLAB_HOSTILE_MOUNTS={CASES}, {snapshotter}")
    ends: Counter[str] = Counter()
    ran = 0
    cases = CASES if snapshotter == "overlay" else CASES // 4
    for number in range(cases):
        dockerfile = zoo.dockerfile(random.Random(f"{SEED}-{snapshotter}-{number}"))
        kind, said = _built(lab, dockerfile)
        assert kind in ENDS, f"{number}: {said}\n{dockerfile}"
        canary.check(said)
        ends[kind] += 1
        ran += f"{RAN}\n" in said
    print(f"{ran} ran;", ", ".join(f"{kind or 'built'} {count}" for kind, count in ends.most_common()))
    # A generator that only makes nonsense proves nothing.
    assert ran > cases // 10
    assert ends["dockerfile"] > cases // 20
    lab.build("FROM base:1\nRUN echo still works\n")
    shutil.rmtree(lab.context)


def _built(lab: Lab, dockerfile: str) -> tuple[str, str]:
    """The kind of error that a build ended with, empty for none, and all that was said."""
    try:
        record = lab.try_build(dockerfile, secrets={"s": b"a secret\n"})
    except LayerlabError as error:
        return error.kind, error.message
    if record.failure is None:
        return "", lab.output
    return record.failure.kind, f"{lab.output}\n{record.failure.message}"
