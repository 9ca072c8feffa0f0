"""One story, told to both engines: what the server has, what is built, and what comes of the ADD.

What is expected was seen on Docker 28.5.2 (``test_remote_on_docker`` asks again); ``SERVER`` stands for the address of the server.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Final

import msgspec

from .server import File


class Chapter(msgspec.Struct, kw_only=True):
    """One build. ``ends``: ``ran``, ``cached``, or words of its error. ``asked``: methods of the requests."""

    title: str
    dockerfile: str
    ends: str
    files: dict[str, File] = {}
    asked: list[str] = []


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("inside")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"i"))
    return packed.getvalue()


_FIRST, _SECOND = 1_000_000_000, 1_100_000_000
_ADD: Final = "FROM scratch\nADD SERVER/f /d/\nCOPY z /z\n"
_TAR: Final = _archive()


def _with(flags: str = "", source: str = "SERVER/f", target: str = "/d/") -> str:
    return f"FROM scratch\nADD {flags + ' ' if flags else ''}{source} {target}\nCOPY z /z\n"


STORY: Final = [
    Chapter(title="first", files={"/f": File(b"one", _FIRST)}, dockerfile=_ADD, ends="ran", asked=["GET"]),
    Chapter(title="the same", dockerfile=_ADD, ends="cached", asked=["HEAD"]),
    Chapter(title="other bytes", files={"/f": File(b"two", _FIRST)}, dockerfile=_ADD, ends="ran", asked=["HEAD", "GET"]),
    Chapter(title="the old bytes", files={"/f": File(b"one", _FIRST)}, dockerfile=_ADD, ends="cached", asked=["HEAD"]),
    Chapter(
        title="another time, without an ETag",
        files={"/f": File(b"one", _SECOND, etag=False)},
        dockerfile=_ADD,
        ends="cached",
        asked=["HEAD", "GET"],
    ),
    Chapter(title="new, without anything", files={"/f": File(b"three", etag=False)}, dockerfile=_ADD, ends="ran", asked=["HEAD", "GET"]),
    Chapter(title="again, without anything", dockerfile=_ADD, ends="cached", asked=["HEAD", "GET"]),
    Chapter(
        title="the folder of a URL does not count",
        files={"/x/f": File(b"one")},
        dockerfile=_with(source="SERVER/x/f"),
        ends="cached",
        asked=["GET"],
    ),
    Chapter(
        title="its last part does",
        files={"/g": File(b"one")},
        dockerfile=_with(source="SERVER/g", target="/d/f"),
        ends="ran",
        asked=["GET"],
    ),
    Chapter(title="to a file", files={"/f": File(b"one", _FIRST)}, dockerfile=_with(target="/d/f"), ends="ran", asked=["HEAD"]),
    Chapter(title="a checksum that fits does not count", dockerfile=_with(f"--checksum={_digest(b'one')}"), ends="cached"),
    Chapter(
        title="with it nobody is asked",
        files={"/f": File(b"other", _FIRST)},
        dockerfile=_with(f"--checksum={_digest(b'one')}"),
        ends="cached",
    ),
    Chapter(
        title="a checksum of something else",
        dockerfile=_with(f"--checksum={_digest(b'nothing')}"),
        ends=f"digest mismatch {_digest(b'other')}: {_digest(b'nothing')}",
        asked=["GET"],
    ),
    Chapter(
        title="a redirect",
        files={"/r": File(goes_to="/f")},
        dockerfile=_with(source="SERVER/r"),
        ends="ran",
        asked=["GET", "GET"],
    ),
    Chapter(title="owner and mode", dockerfile=_with("--chown=1:2 --chmod=644", "SERVER/g"), ends="ran", asked=["HEAD"]),
    Chapter(title="an archive", files={"/t.tar": File(_TAR)}, dockerfile=_with(source="SERVER/t.tar"), ends="ran", asked=["GET"]),
    Chapter(title="an archive, unpacked", dockerfile=_with("--unpack=true", "SERVER/t.tar"), ends="ran", asked=["HEAD"]),
    Chapter(title="no file", dockerfile=_with(source="SERVER/none"), ends="invalid response status 404", asked=["GET"]),
    Chapter(title="a query", files={"/q?x=1": File(b"q")}, dockerfile=_with(source="SERVER/q?x=1"), ends="ran", asked=["GET"]),
    Chapter(title="no name", files={"/": File(b"root")}, dockerfile=_with(source="SERVER/"), ends="ran", asked=["GET"]),
    Chapter(title="a short checksum", dockerfile=_with("--checksum=sha256:abc"), ends="invalid checksum digest length"),
    Chapter(title="an unknown checksum", dockerfile=_with("--checksum=md5:" + "a" * 32), ends="unsupported digest algorithm"),
    Chapter(title="no checksum at all", dockerfile=_with("--checksum=nonsense"), ends="invalid checksum digest format"),
    Chapter(title="in capitals", dockerfile=_with("--checksum=sha256:" + "A" * 64), ends="invalid checksum digest format"),
    Chapter(
        title="a checksum of a local file",
        dockerfile=_with(f"--checksum={_digest(b'z')}", "z"),
        ends="checksum requires HTTP(S) or Git sources",
    ),
    Chapter(
        title="a checksum of two",
        dockerfile=_with(f"--checksum={_digest(b'one')}", "z SERVER/f"),
        ends="checksum can't be specified for multiple sources",
    ),
    Chapter(title="COPY", dockerfile=_ADD.replace("ADD", "COPY"), ends="source can't be a URL for COPY"),
    *(
        Chapter(title=f"COPY {word}", dockerfile=f"FROM scratch\nCOPY {word} /d/\n", ends="source can't be a git ref for COPY")
        for word in ("git@host:a/b", "other@host:a/b", "https://host/a.git", "https://host/a.git#main", "git://host/a", "ssh://host/a")
    ),
    *(
        Chapter(title=f"COPY {word}", dockerfile=f"FROM scratch\nCOPY {word} /d/\n", ends=f'"/{path}": not found')
        for word, path in (
            ("z.git", "z.git"),
            (".git", ".git"),
            ("./a@b:c", "a@b:c"),
            ("github.com/a/b.git", "github.com/a/b.git"),
            ("ftp://host/f", "ftp:/host/f"),
            ("HTTP://host/f", "HTTP:/host/f"),
        )
    ),
]
