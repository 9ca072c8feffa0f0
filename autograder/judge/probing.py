"""Which files the served answer comes from: the image is started with some of them changed, and the answer must change with them.

Nothing that runs in the image is asked. Every copy of code that was made of the edited sources gets another ``marker``, and a line that
adds a header to every answer; of each package that the sources import one file, which nobody knows beforehand, gets such a line, too. An
answer with the other marker was computed by that code; one with the headers, by a process that loaded it and those packages. A server
that reads the sources, a list of words or packages of its own shows neither.
"""

from __future__ import annotations

import io
import posixpath
import random
import re
import secrets
import string
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from autograder.judge.loaded_modules import Loaded, package_of
from autograder.judge.step_roles import LayerFound, LayerReader, looks_compiled
from layerlab.oci.tar_entries import LayerEntry

_IMPORT: Final = re.compile(r'^import\s+(?!type\b)[^;]*?\bfrom\s+"([^".][^"]*)";', re.MULTILINE)
# ``process.getBuiltinModule`` is there in CommonJS and in modules alike (Node 20.16, 22.3). A line of its own, whatever stands before.
_HEADER: Final = """
;(() => {{ const {a} = process.getBuiltinModule({http}).ServerResponse.prototype, {b} = {a}.writeHead, {c} = {header};
{a}.writeHead = function (...{d}) {{ if (!this.headersSent) this.setHeader({c}, "1"); return {b}.apply(this, {d}); }}; }})();
"""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A file that can be seen in an image: its path, and the layer that it comes from."""

    path: str
    diff_id: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What of the app stands in an image. ``files``: those that the app loads, by tail; ``compiled``: made of the edited sources."""

    files: Mapping[str, tuple[Place, ...]]
    compiled: tuple[Place, ...]


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed in an image. ``marker``: the new one; ``code``: the header that compiled code adds; ``headers``: by package, the
    header that it adds; ``archive``: a tar of the changed files; ``missing``: packages that no file of stands in the image."""

    marker: str
    code: str
    headers: Mapping[str, str]
    archive: bytes
    missing: tuple[str, ...]


def imported(sources: Iterable[str], loaded: Loaded) -> tuple[str, ...]:
    """Names of the packages that sources (texts) import to run, and that the running app loads, sorted."""
    names = {name for text in sources for name in _IMPORT.findall(text)}
    packages = {package_of(file.tail) for file in loaded.files}
    return tuple(sorted(packages & {package_of(name) for name in names}))


def picture_of(layers: Sequence[str], origin: Mapping[str, int], found: Mapping[str, LayerFound]) -> Picture:
    """See an image. ``layers``: diff IDs, lowest first; ``origin``: the layer, from 1, that each visible path comes from; ``found``: what
    is in each layer that is to be looked at."""
    files: dict[str, list[Place]] = {}
    compiled = []
    for number, diff_id in enumerate(layers, start=1):
        if diff_id not in found:
            continue
        for tail, paths in found[diff_id].files.items():
            files.setdefault(tail, []).extend(Place(path=path, diff_id=diff_id) for path in paths if origin.get(path) == number)
        compiled += [Place(path=path, diff_id=diff_id) for path, _ in found[diff_id].compiled if origin.get(path) == number]
    return Picture(files={tail: tuple(places) for tail, places in files.items() if places}, compiled=tuple(compiled))


def make_probes(picture: Picture, packages: Iterable[str], reader: LayerReader, marker: str, erased: Iterable[str]) -> Probes:
    """Draw what is changed. ``packages``: of each, one file. Raises ``OSError``, ``StoreError``."""
    draws = random.SystemRandom()
    other = marker[:-16] + secrets.token_hex(8)
    headers, missing = {}, []
    code = _letters(draws)
    changed: dict[Place, bytes] = {}
    for package in packages:
        tails = sorted(tail for tail in picture.files if package_of(tail) == package)
        if not tails:
            missing.append(package)
            continue
        header = headers[package] = _letters(draws)
        line = _line(draws, header)
        for place in picture.files[draws.choice(tails)]:
            changed[place] = reader.content(place.diff_id, place.path) + line
    for place in picture.compiled:
        content = reader.content(place.diff_id, place.path)
        if looks_compiled(content, marker, erased):
            changed[place] = content.replace(marker.encode(), other.encode()) + _line(draws, code)
    entries = {
        place: next(entry for entry in reader.entries(place.diff_id) if entry.path == place.path and entry.type in ("file", "hardlink"))
        for place in changed
    }
    return Probes(marker=other, code=code, headers=headers, archive=_archive(changed, entries), missing=tuple(missing))


def _letters(draws: random.Random) -> str:
    return "".join(draws.choices(string.ascii_lowercase, k=draws.randint(9, 20)))


def _line(draws: random.Random, header: str) -> bytes:
    """The line that adds a header. No two look alike, so that none is found by what it looks like."""
    names = dict(zip("abcd", (f"{_letters(draws)}{number}" for number in range(4)), strict=True))
    return _HEADER.format(http=_hidden(draws, "http"), header=_hidden(draws, header), **names).encode()


def _hidden(draws: random.Random, text: str) -> str:
    """An expression of a text that is not written in it."""
    key, at = draws.randint(1, 31), draws.randint(1, len(text) - 1)
    return draws.choice(
        (
            f"[{', '.join(str(ord(letter) ^ key) for letter in text)}].map((one) => String.fromCharCode(one ^ {key})).join('')",
            f"'{text[::-1]}'.split('').reverse().join('')",
            f"'{text[:at]}'.concat('{text[at:]}')",
            f"Buffer.from('{text.encode().hex()}', 'hex').toString()",
            f"decodeURIComponent('{''.join(f'%{ord(letter):02x}' for letter in text)}')",
            f"`${{'{text[:at]}'}}{text[at:]}`",
        )
    )


def write_probe(directory: Path, image: str, probes: Probes) -> None:
    """Write a build context whose image is ``image`` with the changed files. Raises ``OSError``."""
    directory.mkdir(exist_ok=True)
    # Members are files alone, so that the folders that they stand in keep owner and mode.
    (directory / "changed.tar").write_bytes(probes.archive)
    (directory / "Dockerfile").write_text(f"FROM {image}\nADD changed.tar /\n", encoding="utf-8")


def folder_of_place(place: Place, tail: str) -> str:
    """The folder in an image that a package of this file stands in, as an absolute path."""
    return posixpath.join("/", place.path.removesuffix(tail).rstrip("/"), package_of(tail))


def _archive(changed: Mapping[Place, bytes], entries: Mapping[Place, LayerEntry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for place, content in changed.items():
            member = tarfile.TarInfo(place.path)
            entry = entries[place]
            member.size, member.mode, member.uid, member.gid, member.mtime = len(content), entry.mode, entry.uid, entry.gid, entry.mtime
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
