"""Images travel: to a real registry and back, with skopeo as the other client; to archives that skopeo, umoci and Docker read."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.images.archives import export_layer
from layerlab.engines.embedded.rootfs.tar_reader import TarReader
from layerlab.errors import BaseImageError, StoreError, UsageError
from layerlab.oci.registry import RegistryError
from tests.conformance import bases


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {name}")
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the registry keeps its files."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(place: Path) -> Iterator[str]:
    """``HOST:PORT`` of Debian's docker-registry on loopback."""
    program = _tool("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {place}/data\nhttp:\n  addr: 127.0.0.1:{port}\n"
    (place / "config.yml").write_text(settings, encoding="utf-8")
    process = subprocess.Popen([program, "serve", str(place / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail("docker-registry did not start")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    base = next(base for base in bases.bases() if base.name == "base:1")
    bases.write_layout(base, tmp_path / "base")
    with EmbeddedEngine(str(tmp_path / "store")) as opened:
        opened.import_layout(str(tmp_path / "base"), "base:1")
        yield opened


def _build(engine: EmbeddedEngine, place: Path, tag: str, text: str) -> str:
    place.mkdir(exist_ok=True)
    (place / "f").write_text("payload\n", encoding="utf-8")
    (place / "Dockerfile").write_text(text, encoding="utf-8")
    record = engine.build(BuildOptions(context=str(place), tag=tag, network="none"))
    assert record.failure is None, record.failure
    assert record.image is not None
    return record.image


def _silent(_text: str) -> None:
    """Nobody watches."""


def test_a_pushed_image_is_pulled_again_with_the_same_id_and_runs(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/course/app:1"
    image = _build(engine, tmp_path / "app", name, "FROM base:1\nCOPY f /f\nRUN cat /f /f > /g && rm /f\n")
    engine.push(name, _silent)

    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other:
        row = other.pull(name, _silent)
        assert row.config == image
        output: list[bytes] = []
        with other.container(name, command=("/bin/sh", "-c", "cat /g; ls /f")) as running:
            running.wait(output.append)
        assert b"".join(output).startswith(b"payload\npayload\n")
        assert b"No such file" in b"".join(output) or b"cannot access" in b"".join(output)
        assert other.verify(_silent).damaged == ()


def test_a_plan_asks_for_the_configuration_of_a_base_and_fetches_no_layer(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    """Triggers and variables are in the configuration; what only a layer says stays undecided."""
    name = f"{registry}/course/base:1"
    _build(engine, tmp_path / "app", name, "FROM base:1\nENV FILE=f\nONBUILD COPY f /taken\nRUN echo 1 > /made\n")
    engine.push(name, _silent)
    place = tmp_path / "child"
    place.mkdir()
    (place / "f").write_text("x", encoding="utf-8")
    (place / "Dockerfile").write_text(f"FROM {name}\nCOPY $FILE /copied\nCOPY --from={name} /made /m\n", encoding="utf-8")

    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other:
        plan = other.plan(BuildOptions(context=str(place), network="none"))
        assert [(step.instruction, step.status) for step in plan.steps[1:]] == [
            ("ONBUILD COPY f /taken", "executed"),
            ("COPY f /copied", "executed"),
            (f"COPY --from={name} /made /m", "undecided"),
        ]
        assert plan.stand_in == ()
        assert other.images() == ()
        assert os.listdir(os.path.join(other.store.path, "s")) == []
        built = other.build(BuildOptions(context=str(place), network="none"))
        assert [step.status for step in built.steps[1:]] == ["executed"] * 3
        assert {step.status for step in other.plan(BuildOptions(context=str(place), network="none")).steps[1:]} == {"cached"}


def test_a_plan_says_of_a_base_that_nobody_answers_for_that_it_is_unknown(tmp_path: Path) -> None:
    place = tmp_path / "app"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM node:alpine\nWORKDIR /app\nRUN true\n", encoding="utf-8")
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        plan = engine.plan(BuildOptions(context=str(place), offline=True))
        assert [step.status for step in plan.steps] == ["base", "executed", "executed"]
        assert len(plan.stand_in) == 1
        assert "node:alpine could not be looked at (--offline was given)" in plan.stand_in[0]
        assert engine.images() == ()


def test_of_two_images_with_a_common_prefix_only_what_is_missing_is_sent(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    prefix = "FROM base:1\nCOPY f /f\nRUN head -c 300000 /dev/urandom > /big\n"
    one, two = f"{registry}/course/one:1", f"{registry}/course/one:2"
    _build(engine, tmp_path / "one", one, prefix)
    _build(engine, tmp_path / "one", two, prefix + "RUN echo little > /little\n")

    first, second, again = engine.push(one, _silent), engine.push(two, _silent), engine.push(two, _silent)

    assert all(layer.sent for layer in first.layers)
    assert first.sent > 300_000
    assert [layer.sent for layer in second.layers] == [False] * len(first.layers) + [True]
    assert second.sent < 10_000
    assert again.sent == 0


def test_a_layer_that_another_repository_of_the_registry_has_is_not_sent_again(
    engine: EmbeddedEngine, registry: str, tmp_path: Path
) -> None:
    prefix = "FROM base:1\nCOPY f /f\nRUN head -c 300000 /dev/urandom > /big\n"
    parent, child = f"{registry}/course/parent", f"{registry}/other/child"
    _build(engine, tmp_path / "one", parent, prefix)
    _build(engine, tmp_path / "one", child, prefix + "RUN echo little > /little\n")

    first, second = engine.push(parent, _silent), engine.push(child, _silent)

    assert [layer.sent for layer in second.layers] == [False] * len(first.layers) + [True]
    assert second.sent < 10_000
    engine.untag(child)
    engine.prune(0, _silent)
    assert engine.pull(child, _silent).config


def test_what_skopeo_pushed_is_pulled_and_built_upon(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    skopeo = _tool("skopeo")
    target = f"docker://{registry}/from/skopeo:2"
    subprocess.run(
        [skopeo, "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{tmp_path}/base", target], check=True, capture_output=True
    )
    _build(engine, tmp_path / "app", "mine", f"FROM {registry}/from/skopeo:2\nCOPY f /f\nRUN cat /f\n")
    # A layer that came from elsewhere is sent on as it came.
    name = f"{registry}/from/layerlab:1"
    engine.tag("mine", name)
    engine.push(name, _silent)
    seen = subprocess.run([skopeo, "inspect", "--tls-verify=false", f"docker://{name}"], check=True, capture_output=True, text=True)
    assert len(json.loads(seen.stdout)["Layers"]) == 3


def test_a_pull_that_fails_says_why(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not found on"):
        engine.pull(f"{registry}/no/such:1", _silent)
    with pytest.raises(RegistryError, match="cannot be reached"):
        engine.pull("127.0.0.1:9/no/such:1", _silent)
    with pytest.raises(UsageError, match="invalid reference format"):
        engine.pull("Not A Name", _silent)


def test_bytes_that_are_not_what_the_digest_says_are_refused(engine: EmbeddedEngine, registry: str, place: Path, tmp_path: Path) -> None:
    name = f"{registry}/course/forged:1"
    _build(engine, tmp_path / "app", name, "FROM base:1\nRUN echo forged-layer > /x\n")
    done = engine.push(name, _silent)
    digest = done.layers[-1].digest[7:]
    # The registry serves what lies there without looking.
    blob = place / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256" / digest[:2] / digest / "data"
    blob.write_bytes(bytes(blob.stat().st_size))
    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other, pytest.raises(BaseImageError, match="other bytes than the digest"):
        other.pull(name, _silent)


def test_an_archive_is_a_layout_that_skopeo_and_umoci_read_and_loads_back_the_same(engine: EmbeddedEngine, tmp_path: Path) -> None:
    image = _build(engine, tmp_path / "app", "travels:1", "FROM base:1\nCOPY f /f\nRUN rm /f && mkdir -p /a/b\nUSER node\n")
    archive, again = tmp_path / "image.tar", tmp_path / "again.tar"
    engine.save(("travels:1",), str(archive))
    engine.save(("travels:1",), str(again))
    assert archive.read_bytes() == again.read_bytes()

    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other:
        assert other.load(str(archive)) == ["travels:1"]
        assert other.image_row("travels:1").config == image
        assert other.verify(_silent).damaged == ()

    layout = tmp_path / "layout"
    with tarfile.open(archive) as opened:
        opened.extractall(layout)
    if skopeo := shutil.which("skopeo"):
        seen = subprocess.run([skopeo, "inspect", "--config", f"oci:{layout}:travels:1"], check=True, capture_output=True, text=True)
        assert json.loads(seen.stdout)["config"]["User"] == "node"
    if umoci := shutil.which("umoci"):
        command = [umoci, "unpack", "--rootless", "--image", f"{layout}:travels:1", str(tmp_path / "bundle")]
        subprocess.run(command, check=True, capture_output=True)
        assert (tmp_path / "bundle" / "rootfs" / "a" / "b").is_dir()
        assert not (tmp_path / "bundle" / "rootfs" / "f").exists()


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_two_images_of_one_tag_in_an_archive_are_both_loaded(tmp_path: Path, named: bool) -> None:
    merged = tmp_path / "merged"
    (merged / "blobs" / "sha256").mkdir(parents=True)
    entries, ids = [], []
    for name, base in zip("ab", bases.bases()[1:], strict=True):
        bases.write_layout(base, tmp_path / name)
        shutil.copytree(tmp_path / name, merged, dirs_exist_ok=True)
        entry = json.loads((merged / "index.json").read_bytes())["manifests"][0]
        blob = (merged / "blobs" / "sha256" / entry["digest"][7:]).read_bytes()
        ids.append(json.loads(blob)["config"]["digest"])
        # As Docker writes since version 25; without annotations where images were named by their IDs.
        del entry["annotations"], entry["platform"]
        if named:
            entry["annotations"] = {
                "io.containerd.image.name": f"docker.io/library/{name}:latest",
                "org.opencontainers.image.ref.name": "latest",
            }
        # What cannot run here does not count.
        entries += [{**entry, "digest": f"sha256:{0:064}", "platform": {"os": "unknown", "architecture": "unknown"}}, entry]
    (merged / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}), encoding="utf-8")
    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        archive.add(merged, ".")

    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        names = engine.load(str(tmp_path / "two.tar"))
        assert [engine.image_row(name).config for name in names] == ids
        assert names == (["a:latest", "b:latest"] if named else [f"loaded:{entry['digest'][7:19]}" for entry in entries[1::2]])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_a_layer_that_an_archive_names_again_by_a_link_is_loaded(tmp_path: Path, kind: bytes) -> None:
    with EmbeddedEngine(str(tmp_path / "store")) as engine, tarfile.open(tmp_path / "old.tar", "w") as archive:
        # As Docker before version 25 writes: a folder for each layer of each image, and no blobs.
        entries = []
        for number, base in enumerate(bases.bases()[1:]):
            bases.write_layout(base, tmp_path / base.name.replace(":", "-"))
            row = engine.import_layout(str(tmp_path / base.name.replace(":", "-")), base.name)
            config = json.loads(engine.store.blob(row.config))
            layers = []
            for position, diff_id in enumerate(config["rootfs"]["diff_ids"]):
                layers.append(f"{number}-{position}/layer.tar")
                archive.add(export_layer(engine.store, engine.worker, diff_id, str(tmp_path / "tar")), layers[-1])
            # The same layer once more, on top.
            link = tarfile.TarInfo(f"{number}-again/layer.tar")
            link.type, link.linkname = kind, f"../{layers[0]}" if kind == tarfile.SYMTYPE else layers[0]
            archive.addfile(link)
            config["rootfs"]["diff_ids"].append(config["rootfs"]["diff_ids"][0])
            config["history"].append({"created_by": "again"})
            (tmp_path / "config").write_text(json.dumps(config), encoding="utf-8")
            archive.add(tmp_path / "config", f"{number}.json")
            entries.append({"Config": f"{number}.json", "RepoTags": [f"old:{number}"], "Layers": [*layers, link.name]})
        outside = tarfile.TarInfo("0-evil/layer.tar")
        outside.type, outside.linkname = kind, "../../../etc/passwd"
        archive.addfile(outside)
        (tmp_path / "manifest").write_text(json.dumps(entries), encoding="utf-8")
        archive.add(tmp_path / "manifest", "manifest.json")

    with EmbeddedEngine(str(tmp_path / "other")) as engine:
        assert engine.load(str(tmp_path / "old.tar")) == ["old:0", "old:1"]
        for number in (0, 1):
            diff_ids = engine.image_config(f"old:{number}")["rootfs"]["diff_ids"]
            assert diff_ids[0] == diff_ids[-1]
        assert engine.verify(_silent).damaged == ()


def _damaged(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes(byte ^ 0xFF for byte in packed[middle : middle + 64]) + packed[middle + 64 :]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_an_archive_that_is_damaged_inside_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        (tmp_path / "noise").write_text(os.urandom(1 << 18).hex(), encoding="ascii")
        archive.add(tmp_path / "noise", "blobs/noise")
    (tmp_path / "bad.tar").write_bytes(_damaged(pack((tmp_path / "plain.tar").read_bytes())))
    with EmbeddedEngine(str(tmp_path / "store")) as engine, pytest.raises(UsageError, match="is not an archive of images"):
        engine.load(str(tmp_path / "bad.tar"))


def test_a_store_that_has_no_room_for_what_comes_in_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(__file__, "index.json")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        Path(engine.store.path, "downloads").write_text("in the way", encoding="utf-8")
        with pytest.raises(StoreError, match="cannot be used"):
            engine.pull("127.0.0.1:9/some/image:1", _silent)
        monkeypatch.setattr(TarReader, "write", full)
        with pytest.raises(StoreError, match="is full"):
            engine.load(str(tmp_path / "some.tar"))


def test_a_reader_of_the_report_who_has_gone_is_no_matter_of_the_store(tmp_path: Path) -> None:
    def gone(_text: str) -> None:
        raise BrokenPipeError

    with EmbeddedEngine(str(tmp_path / "store")) as engine, pytest.raises(BrokenPipeError):
        engine.pull("127.0.0.1:9/some/image:1", gone)


def test_a_layer_whose_directory_is_gone_is_damage(engine: EmbeddedEngine) -> None:
    (layer,) = engine.store.layer_rows()
    shutil.rmtree(os.path.join(engine.store.path, "s", str(layer.number)))
    (damage,) = engine.verify(_silent).damaged
    assert (damage.what, damage.digest, damage.found, damage.images) == ("layer", layer.diff_id, "", ("base:1",))


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x1f\x8b\x08broken"], ids=["empty", "text", "broken-gzip"])
def test_what_is_no_archive_of_images_is_refused_in_one_message(engine: EmbeddedEngine, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.tar"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is not an archive of images"):
        engine.load(str(file))


def test_layers_say_what_each_one_did_and_what_is_wasted(engine: EmbeddedEngine, tmp_path: Path) -> None:
    text = "FROM base:1\nRUN head -c 100000 /dev/zero > /big && echo keep > /kept\nRUN rm /big && echo changed > /kept\n"
    _build(engine, tmp_path / "app", "wasteful", text)

    view = engine.view("wasteful")

    made, removed = view.layers[-2:]
    assert {"big", "kept"} <= set(made.added)
    assert (removed.changed, removed.removed) == (("kept",), ("big",))
    assert made.wasted == 100_000 + len("keep\n")
    assert view.origin["kept"] == removed.number
    assert "big" not in view.origin


@pytest.mark.parametrize("name", ["../x", "a b", ".x/y", "-a:1/b", "UPPER", "a//b", "host:port/x", "x:", "[::1/x"])
def test_a_name_that_is_none_is_refused_before_anything_is_built(engine: EmbeddedEngine, tmp_path: Path, name: str) -> None:
    _build(engine, tmp_path / "app", "app", "FROM base:1\nRUN echo 1 > /one\n")
    with pytest.raises(UsageError, match="invalid reference format"):
        engine.tag("app", name)
    (tmp_path / "app" / "Dockerfile").write_text("FROM base:1\nRUN echo never > /never\n", encoding="utf-8")
    with pytest.raises(UsageError, match="invalid reference format"):
        engine.build(BuildOptions(context=str(tmp_path / "app"), tag=name))
    assert engine.plan(BuildOptions(context=str(tmp_path / "app"))).steps[1].status == "executed"


def test_names_come_and_go_and_prune_keeps_what_an_image_needs(engine: EmbeddedEngine, tmp_path: Path) -> None:
    image = _build(engine, tmp_path / "app", "first", "FROM base:1\nRUN echo 1 > /one\n")
    engine.tag("first", "second:v2")
    assert engine.inspect("second:v2")["RepoTags"] == ["first:latest", "second:v2"]
    assert engine.inspect(image[7:19])["Id"] == image

    assert engine.untag("first") == ("first:latest", False)
    engine.prune(0, _silent)
    assert engine.image_row("second:v2").config == image
    assert engine.verify(_silent).damaged == ()

    assert engine.untag("second:v2") == ("second:v2", True)
    assert engine.prune(0, _silent).layers == 1
    with pytest.raises(UsageError, match="No such image"):
        engine.image_row("second:v2")
    assert _build(engine, tmp_path / "app", "first", "FROM base:1\nRUN echo 1 > /one\n")


def test_an_image_that_lost_its_name_to_another_is_found_by_its_id_until_prune(engine: EmbeddedEngine, tmp_path: Path) -> None:
    old = _build(engine, tmp_path / "app", "app", "FROM base:1\nRUN echo 1 > /one\n")
    new = _build(engine, tmp_path / "app", "app", "FROM base:1\nRUN echo 2 > /two\n")

    assert engine.image_row("app").config == new != old
    assert engine.inspect(old)["RepoTags"] == []
    assert {row.id for row in engine.images(unnamed=True)} - {row.id for row in engine.images()} == {old}
    again = _build(engine, tmp_path / "app", "app", "FROM base:1\nRUN echo 1 > /one\n")
    assert again == old
    assert [row.name for row in engine.images(unnamed=True) if row.id == old] == ["app:latest"]

    engine.prune(0, _silent)
    with pytest.raises(UsageError, match="No such image"):
        engine.image_row(new)
    assert engine.untag("app") == ("app:latest", True)


def test_prune_takes_the_results_of_builds_without_a_tag(engine: EmbeddedEngine, tmp_path: Path) -> None:
    place = tmp_path / "app"
    _build(engine, place, "kept", "FROM base:1\nRUN echo kept > /k\n")
    (place / "Dockerfile").write_text("FROM base:1\nRUN echo nameless > /n\n", encoding="utf-8")
    assert engine.build(BuildOptions(context=str(place), network="none")).failure is None
    assert len(engine.images(unnamed=True)) == len(engine.images()) + 1

    assert engine.prune(0, _silent).layers == 1

    assert len(engine.images(unnamed=True)) == len(engine.images())
    assert engine.verify(_silent).damaged == ()


def test_prune_takes_the_blobs_that_no_image_and_no_layer_needs(engine: EmbeddedEngine, registry: str, tmp_path: Path) -> None:
    before = engine.verify(_silent).blobs
    for name in ("kept", "gone"):
        _build(engine, tmp_path / name, f"{registry}/prune/{name}", f"FROM base:1\nCOPY f /f\nRUN echo {name} > /name\n")
        engine.push(f"{registry}/prune/{name}", _silent)
    unfinished = Path(engine.store.path) / "downloads" / "far%2Faway" / "blobs" / "sha256"
    unfinished.mkdir(parents=True)
    (unfinished / ("0" * 64)).write_bytes(b"half a lay")
    both = engine.verify(_silent).blobs

    engine.untag(f"{registry}/prune/gone")
    done = engine.prune(0, _silent)

    # Its configuration, its manifest, the packed form of its own layer; and what was left of a pull.
    assert engine.verify(_silent).blobs == both - 3 > before
    assert (done.blobs, done.layers) == (4, 1)
    assert done.blob_bytes > 10
    assert not unfinished.exists()
    # All that an image needs is still here, its packed layers included.
    assert [layer.sent for layer in engine.push(f"{registry}/prune/kept", _silent).layers].count(True) == 0
    archive = tmp_path / "kept.tar"
    engine.save((f"{registry}/prune/kept",), str(archive))
    engine.untag(f"{registry}/prune/kept")
    engine.prune(0, _silent)
    assert engine.verify(_silent).blobs == before
    engine.load(str(archive))
    assert engine.verify(_silent).damaged == ()
    assert engine.prune(0, _silent).blobs == 0
