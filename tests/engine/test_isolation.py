"""Nothing that an image, an archive or a Dockerfile says reaches the host; and nothing of the host reaches the image."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from layerlab.engines.embedded.executors.bwrap import BwrapExecutor
from layerlab.errors import BaseImageError
from layerlab.platform import ARCHITECTURE

from .conftest import verdicts

if TYPE_CHECKING:
    from .conftest import Lab

SECRET = "correct-horse-battery"

# Links that an image plants, and the step that then meets them. VICTIM is a directory of the host.
PLANTED = {
    "resolv.conf to the host": ("rm -f /etc/resolv.conf; ln -s /oldroot$V/x /etc/resolv.conf", "RUN true"),
    "resolv.conf to an absolute path": ("rm -f /etc/resolv.conf; ln -s $V/x /etc/resolv.conf", "RUN true"),
    "hosts upwards": ("rm -f /etc/hosts; ln -s ../../../../../..$V/x /etc/hosts", "RUN true"),
    "etc itself": ("mv /etc /etc2; ln -s /oldroot$V /etc", "RUN true"),
    "proc": ("rm -rf /proc 2>/dev/null; ln -s /oldroot$V/p /proc", "RUN true"),
    "a working directory": ("ln -s $V /w", "WORKDIR /w/made"),
    "a working directory upwards": ("ln -s ../../../../../..$V /w", "WORKDIR /w/made"),
    "a copy's destination": ("ln -s $V /w", "COPY f /w/made"),
    "a copy onto a link": ("ln -s $V/x /w", "COPY f /w"),
    "a copy of a tree over a link": ("mkdir /w; ln -s $V /w/d", "COPY d /w/d"),
    "a copy with exclusions over a link": ("mkdir /w; ln -s $V /w/d", "COPY --exclude=d --exclude=!d/f . /w"),
    "a copy with parents over a link": ("ln -s $V /d", "COPY --parents d/f /"),
    "a heredoc": ("ln -s $V /w", "COPY <<EOF /w/made\ntext\nEOF"),
    "an archive's destination": ("ln -s $V /w", "ADD a.tar /w/"),
    "a mount point": ("ln -s $V /w", "RUN --mount=type=cache,target=/w/made true"),
    "a bind mount point": ("ln -s $V /w", "RUN --mount=type=bind,source=f,target=/w/made true"),
    "passwd": ("rm /etc/passwd; ln -s /oldroot/etc/passwd /etc/passwd", "COPY --chown=root f /made"),
}


def _host_directory(lab: Lab) -> Path:
    victim = lab.directory / "victim"
    victim.mkdir()
    (victim / "kept").write_text("kept")
    victim.chmod(0o755)
    return victim


def _archive(*members: tuple[str, bytes | str | None, dict[str, Any]]) -> bytes:
    """A tar; content ``None`` makes a directory, text a link, bytes a file. The settings go into the member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, settings in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o777
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            for key, value in settings.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) and info.isreg() else None)
    return buffer.getvalue()


def _unharmed(victim: Path) -> bool:
    return sorted(path.name for path in victim.iterdir()) == ["kept"] and victim.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(("plant", "step"), PLANTED.values(), ids=PLANTED.keys())
def test_links_of_an_image_lead_nowhere_on_the_host(each_lab: Lab, plant: str, step: str) -> None:
    lab = each_lab
    victim = _host_directory(lab)
    lab.file("f", "f")
    lab.file("d/f", "f")
    lab.file("a.tar", _archive(("made", b"x", {})))
    lab.try_build(f"FROM base:1\nRUN V={victim}; {plant}; true\n{step}\n")
    assert _unharmed(victim)
    lab.build("FROM base:1\nRUN echo still works\n")


def test_a_link_in_place_of_a_kernel_directory_is_refused_as_runc_does(lab: Lab) -> None:
    lab.file("root/etc/x", "")
    (lab.context / "root/proc").symlink_to("/tmp/elsewhere")
    record = lab.try_build("FROM scratch\nCOPY root /\nCOPY --from=base:1 /bin /bin\nRUN true\n")
    assert record.failure is not None
    assert "symbolic link at /proc" in record.failure.message


def test_what_bwrap_cannot_begin_is_no_failure_of_the_step(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where bubblewrap itself fails, under load for example, the step did not run."""
    if lab.engine.host.executor != "bwrap":
        pytest.skip("needs bwrap")
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: cannot fork'\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    executor = lab.engine.make_executor()
    assert isinstance(executor, BwrapExecutor)
    monkeypatch.setattr(executor, "binary", str(tmp_path / "bwrap"))
    monkeypatch.setattr(lab.engine, "make_executor", lambda: executor)
    record = lab.try_build("FROM base:1\nRUN true\n")
    assert record.failure is not None
    assert (record.failure.kind, "bwrap could not begin the command: bwrap: cannot fork" in record.failure.message) == ("executor", True)


def test_the_environment_of_a_step_does_not_act_on_the_sandbox_program(lab: Lab) -> None:
    victim = _host_directory(lab)
    lab.build(f"FROM base:1\nENV LD_DEBUG=libs LD_DEBUG_OUTPUT={victim}/trace LD_PRELOAD={victim}/evil.so\nRUN true\n")
    assert _unharmed(victim)


def test_a_step_cannot_change_the_kernel_or_its_mounts(lab: Lab) -> None:
    writes = "".join(
        f"if [ -e {path} ] && (cat {path} > /tmp/v && cat /tmp/v > {path}) 2>/dev/null; then echo WROTE {path}; fi; "
        for path in (
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/overcommit_memory",
            "/sys/kernel/uevent_helper",
        )
    )
    lab.build(
        f"FROM base:1\nRUN {writes} : > /dev/null; (umount /sys || mount -t tmpfs x /mnt || mount -o remount,rw /proc/sys) 2>/dev/null "
        "&& echo MOUNTED; (mknod /disk b 8 0 && cat /disk) >/dev/null 2>&1 && echo DEVICE; true\n"
    )
    assert lab.output == ""


def test_a_step_sees_neither_the_hosts_files_nor_processes_nor_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_ONLY", "leaked")
    monkeypatch.setenv("HOME", "/home/of-the-host")
    victim = _host_directory(lab)
    look = f"env | sort; cat /proc/sys/kernel/hostname; ls {victim} /oldroot 2>/dev/null; ls /proc | grep -c '^[0-9]'; cat"
    lab.build(f"FROM base:1\nENV A=1\nRUN {look}\n")
    lines = [line for line in lab.output.splitlines() if not line.startswith(("SHLVL=", "_=", "OLDPWD=", "PWD="))]
    assert lines[:4] == ["A=1", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "buildkitsandbox"]
    assert int(lines[4]) < 8
    assert str(os.getpid()) not in lab.output


def test_a_secret_is_nowhere_but_in_the_step(each_lab: Lab) -> None:
    lab = each_lab
    dockerfile = (
        "FROM base:1\nRUN --mount=type=secret,id=s --mount=type=secret,id=e,env=TOKEN "
        'test "$(cat /run/secrets/s)" = "$TOKEN" && test ${#TOKEN} = ' + str(len(SECRET)) + "\nRUN ! test -e /run/secrets/s\n"
    )
    record = lab.build(dockerfile, secrets={"s": SECRET.encode(), "e": SECRET.encode()})
    assert lab.layers(record) == [{}, {}]
    assert verdicts(lab.try_build(dockerfile, secrets={"s": b"another", "e": b"another"})) == ["cached", "cached"]
    for here, _, names in os.walk(lab.engine.store_path):
        for name in names:
            path = Path(here, name)
            if path.is_file() and not path.is_symlink():
                assert SECRET.encode() not in path.read_bytes(), path
    assert not [path for path in Path("/dev/shm").glob("layerlab-secret-*") if path.owner() == Path.home().owner()]


def test_the_way_to_the_network_is_in_no_key_layer_or_configuration(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = lab.directory / "company.pem"
    bundle.write_text("certificates of the company")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    dockerfile = "FROM base:1\nRUN echo $HTTPS_PROXY; cat $SSL_CERT_FILE; env > /dev/null\n"
    first = lab.build(dockerfile, network="default")
    assert lab.output.splitlines() == ["http://proxy.invalid:1", "certificates of the company"]
    assert lab.layers(first) == [{}]
    assert "proxy.invalid" not in json.dumps(lab.config(first))
    monkeypatch.setenv("HTTPS_PROXY", "http://other.invalid:2")
    monkeypatch.delenv("SSL_CERT_FILE")
    assert verdicts(lab.build(dockerfile, network="default")) == ["cached"]


def test_other_users_of_the_machine_cannot_reach_into_the_store(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN cp /bin/sh /rootshell && chmod 4755 /rootshell\n")
    assert os.stat(lab.engine.store.path).st_mode & 0o077 == 0


# --- archives -------------------------------------------------------------------------------------------------------

OPEN = {"mode": 0o777}
Members = tuple[tuple[str, bytes | str | None, dict[str, Any]], ...]

# In names and targets, VICTIM is a directory of the host. In a layer these are links within the image.
LINKS: dict[str, Members] = {
    "a member through a link": (("l", "VICTIM", {}), ("l/x", b"x", {})),
    "a member through a link upwards": (("l", "../../../../../..VICTIM", {}), ("l/x", b"x", {})),
    "a link in place of a directory": (("d", None, OPEN), ("d", "VICTIM", {})),
    "a link in place of a parent": (("d", None, OPEN), ("d/victim", None, OPEN), ("d", "VICTIM/..", {})),
}
# What ADD takes for plain files.
NO_ARCHIVES: dict[str, Members] = {
    "an absurd time": (("f", b"x", {"pax_headers": {"mtime": "9" * 40}}),),
    "a header without end": (("f", b"x", {"pax_headers": {"comment": "x" * (3 << 20)}}),),
}
# Members of an archive, and whether it is refused.
ARCHIVES: dict[str, tuple[Members, bool]] = {
    "a member upwards": ((("../../../../../..VICTIM/x", b"x", {}),), True),
    "a member with an absolute path": ((("/VICTIM/x", b"x", {}),), False),
    **{name: (members, name != "a member through a link") for name, members in LINKS.items()},
    "a hard link to the host": ((("h", b"", {"type": tarfile.LNKTYPE, "linkname": "VICTIM/kept"}),), True),
    "a hard link upwards": ((("h", b"", {"type": tarfile.LNKTYPE, "linkname": "../../../../..VICTIM/kept"}),), True),
    "a file through a hard link to a link": (
        (("l", "VICTIM/x", {}), ("h", b"", {"type": tarfile.LNKTYPE, "linkname": "l"}), ("h", b"x", {})),
        False,
    ),
    "an absurd owner": ((("f", b"x", {"uid": 1 << 60}),), True),
    **{name: (members, False) for name, members in NO_ARCHIVES.items()},
}
LAYERS: dict[str, tuple[Members, bool]] = {
    **ARCHIVES,
    **{name: (members, False) for name, members in LINKS.items()},
    **{name: (members, True) for name, members in NO_ARCHIVES.items()},
    "a whiteout of the parent": ((("d", None, OPEN), ("d/.wh...", b"", {})), True),
    "a whiteout of everything": (((".wh...", b"", {}),), True),
    "a whiteout of the directory itself": (((".wh..", b"", {}),), True),
    "a whiteout without a name": (((".wh.", b"", {}),), True),
    "an overlay attribute": ((("d", None, {"pax_headers": {"SCHILY.xattr.user.overlay.redirect": "VICTIM"}}),), False),
    "a trusted attribute": ((("d", None, {"pax_headers": {"SCHILY.xattr.trusted.overlay.opaque": "y"}}),), False),
}


def _with_victim(members: Members, victim: Path) -> bytes:
    filled = []
    for name, content, settings in members:
        text = content.replace("VICTIM", str(victim)) if isinstance(content, str) else content
        settings = {key: value.replace("VICTIM", str(victim)) if isinstance(value, str) else value for key, value in settings.items()}
        filled.append((name.replace("VICTIM", str(victim)), text, settings))
    return _archive(*filled)


@pytest.mark.parametrize(("members", "refused"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_hostile_archive_in_the_context(each_lab: Lab, members: Members, refused: bool) -> None:
    lab = each_lab
    victim = _host_directory(lab)
    lab.file("a.tar", _with_victim(members, victim))
    record = lab.try_build("FROM base:1\nADD a.tar /to/\n")
    assert _unharmed(victim)
    assert (record.failure is not None) == refused, record.failure
    if record.failure is not None:
        assert record.failure.kind == "context"
    lab.build("FROM base:1\nRUN echo still works\n")


def _layout(directory: Path, layer: bytes, **changes: Any) -> Path:
    """An OCI layout of one layer, with changes to the documents."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    described = put(layer, "application/vnd.oci.image.layer.v1.tar")
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": changes.get("diff_ids", [described["digest"]])},
    }
    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": changes.get("layers", [described]),
    }
    if "without" in changes:
        del manifest[changes["without"]]
    (directory / "index.json").write_text(
        json.dumps({"manifests": [put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")]})
    )
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": changes.get("version", "1.0.0")}))
    return directory


@pytest.mark.parametrize(("members", "refused"), LAYERS.values(), ids=LAYERS.keys())
def test_a_hostile_layer_of_a_base_image(lab: Lab, members: Members, refused: bool) -> None:
    victim = _host_directory(lab)
    layout = _layout(lab.directory / "layout", _with_victim(members, victim))
    bystander = Path(lab.engine.store.path, lab.engine.store.scratch(), "bystander")
    bystander.mkdir()
    if refused:
        with pytest.raises(BaseImageError) as caught:
            lab.engine.import_layout(str(layout), "evil:1")
        assert caught.value.message
    else:
        lab.engine.import_layout(str(layout), "evil:1")
    assert _unharmed(victim)
    assert [path.name for path in bystander.parent.iterdir()] == ["bystander"]
    lab.build("FROM base:1\nRUN echo still works\n")


def _damage(kind: str) -> Callable[[Path], None]:
    def damage(layout: Path) -> None:
        blobs = sorted((layout / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
        blob = blobs[-1] if kind == "layer" else next(blob for blob in blobs if kind.encode() in blob.read_bytes())
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)

    return damage


@pytest.mark.parametrize("what", ["layer", "rootfs", "schemaVersion"])
def test_a_damaged_blob(lab: Lab, what: str) -> None:
    layout = _layout(lab.directory / "layout", _archive(("f", b"x" * 5000, {})))
    _damage(what)(layout)
    with pytest.raises(BaseImageError, match="damaged"):
        lab.engine.import_layout(str(layout), "damaged:1")
    with pytest.raises(BaseImageError, match="damaged:1"):
        lab.try_build("FROM damaged:1\n")


@pytest.mark.parametrize(
    "changes",
    [{"diff_ids": ["../../../x"]}, {"diff_ids": ["sha256:" + "0" * 64]}, {"diff_ids": []}, {"layers": [{}]}, {"layers": 5}]
    + [{"without": name} for name in ("config", "layers")]
    + [{"version": "7"}],
    ids=str,
)
def test_an_image_that_is_not_one(lab: Lab, changes: dict[str, Any]) -> None:
    with pytest.raises(BaseImageError):
        lab.engine.import_layout(str(_layout(lab.directory / "layout", _archive(("f", b"x", {})), **changes)), "odd:1")


@pytest.mark.parametrize("damage", ["truncated", "garbage"])
def test_a_compressed_layer_that_is_damaged_inside(lab: Lab, damage: str) -> None:
    import gzip

    data = gzip.compress(_archive(("f", os.urandom(5000), {})))
    layer = data[: len(data) // 2] if damage == "truncated" else data[:20] + b"\xff" * 100 + data[120:]
    with pytest.raises(BaseImageError, match="damaged"):
        lab.engine.import_layout(str(_layout(lab.directory / "layout", layer)), "odd:1")


def test_a_passwd_that_is_not_a_file_is_not_waited_for(lab: Lab) -> None:
    os.mkfifo(lab.context / "pipe")
    lab.build("FROM base:1\nRUN rm /etc/passwd /etc/group\nCOPY pipe /etc/passwd\nCOPY pipe /etc/group\nUSER 5\nRUN true\n")


def test_what_stands_for_an_engine_of_prisma_does_not_wait_for_input(lab: Lab) -> None:
    """Its install script asks for a version with an open pipe; BusyBox's shell, which Alpine has, reads commands from that."""
    command = 'sleep 3 | timeout 2 "$PRISMA_SCHEMA_ENGINE_BINARY" --version > /dev/null; echo $?'
    lab.build(f"FROM base:1\nRUN {command}\n", offline=True, network="default")
    assert lab.output == "0\n"
