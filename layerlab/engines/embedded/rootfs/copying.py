"""What COPY, ADD and WORKDIR do to a root filesystem.

Rules: BuildKit ``solver/llbsolver/file/backend.go`` and fsutil ``copy/copy.go``: a directory is copied as its contents, a
destination directory that exists keeps its own mode, directories made on the way are 0755 or as a number of ``--chmod`` says, and get
``--chown``'s owner, links are copied as links except the one that was named, hard links within one source stay hard links, modification
times are kept.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final

from layerlab.context.ignore import EXCLUDED, IgnoreRules
from layerlab.context.tree import HOLE, blocks, file_digest
from layerlab.engines.embedded.rootfs.layer_tar import CAPABILITY, DEVICE, note_device
from layerlab.engines.embedded.rootfs.modes import Tree
from layerlab.engines.embedded.rootfs.paths import inside, resolve
from layerlab.engines.embedded.rootfs.sizes import LEAST, weight
from layerlab.engines.embedded.rootfs.unpack import ArchiveError, is_archive, unpack
from layerlab.fsutil import is_directory

_UMASK = 0o022  # of dockerd (moby ``daemon_unix.go``, ``setDefaultUmask``)

Row = tuple[str, int, bytes]  # path below the picked one ("" for itself), st_mode, content digest (empty: do not check)

_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_CHANGE: Final = re.compile(r"([-+=])([rwxXstugo]*)")
_WHO: Final = {"a": 0o6777, "u": 0o4700, "g": 0o2070, "o": 0o007}
_PERMISSIONS: Final = {"r": 0o444, "w": 0o222, "x": 0o111}
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}


class CopyError(Exception):
    """A copy that cannot be done; the message is for the user."""


class LimitError(Exception):
    """A copy that would be larger than it may be."""


class ChangedError(Exception):
    """A file changed between the moment its checksum was taken and the moment it was copied."""


class Copier:
    """Copies into one root filesystem, ``tree``.

    ``real_ids``  files can be given owners. ``owner``  from ``--chown``, ``None`` keeps the source's (0:0 from a build context).
    ``owners`` collects the intended owners by path within the root, where they are not 0:0 or where a path was owned by
    somebody else before.
    ``limit``  in bytes; ``written`` counts towards it before anything is copied, as ``sizes.weight`` does.
    """

    def __init__(self, tree: Tree, *, real_ids: bool, owner: tuple[int, int] | None, chmod: str = "", limit: int | None = None) -> None:
        self.root = tree.root
        self._tree = tree
        self.real_ids = real_ids
        self.owner = owner
        self.chmod = chmod
        self.owners: dict[str, tuple[int, int]] = {}
        self.written = 0
        self._limit = limit
        self._links: dict[tuple[int, int], str] = {}

    def _count(self, size: int) -> None:
        """Count bytes that are about to be written. Raises ``LimitError`` for more than may be."""
        self.written += size
        if self._limit is not None and self.written > self._limit:
            raise LimitError(f"the copy would have more than {self._limit} bytes")

    def make_directories(self, path: str, *, created: int | None = None) -> None:
        """``mkdir -p`` inside the root, owned by ``owner``; ``created``: their time, in seconds since 1970. Raises ``CopyError``."""
        for directory in reversed(self._make(resolve(self.root, path), self._made_mode())):
            if created is not None:
                os.utime(directory, (created, created))

    def _make(self, host: str, mode: int) -> list[str]:
        """Returns the directories that were missing, outermost first; they have ``mode`` now."""
        missing = []
        # The directory above the root is nobody's business, and need not be one.
        while host.startswith(f"{self.root}/") and not is_directory(host):
            if os.path.lexists(host):
                where = f"/{inside(self.root, host)}"
                raise CopyError(f"{where} is not a directory (mkdir {where}: not a directory)")
            missing.append(host)
            host = os.path.dirname(host)
        missing.reverse()
        for directory in missing:
            self._count(LEAST)
            os.mkdir(directory)
            self._tree.chmod_directory(directory, mode)
            self._own(directory, self.owner or (0, 0))
        return missing

    def _made_mode(self) -> int:
        """The mode of a directory that is made on the way: as a daemon with the umask 022 makes it."""
        numeric = self.chmod.isascii() and self.chmod.isdigit()
        return int(self.chmod, 8) & 0o777 & ~_UMASK if numeric else 0o755

    def _lead(
        self, source: Tree, start: str, target: str, relative: str, ids: Callable[[str, os.stat_result], tuple[int, int]], wanted: str
    ) -> None:
        """Make an excluded directory for something in it that is not, ``wanted``: dressed as at its source, but one that is there gets only
        its mode.

        Rule: fsutil ``createParentDirs``.
        """
        origin = f"{start}/{relative}"
        status = source.status(origin)
        where = f"{target}/{relative}"
        if not stat.S_ISDIR(status.st_mode):
            raise ChangedError(origin)
        if is_directory(where):
            self._tree.chmod_directory(where, stat.S_IMODE(status.st_mode))
            return
        if os.path.lexists(where) and not os.path.islink(where):
            below = f"{inside(self.root, where)}/{posixpath.basename(wanted)}"
            raise CopyError(f"failed to stat {posixpath.normpath(wanted)}: lstat /{below}: not a directory")
        self._new_directory(where)
        self._dress(origin, where, status, ids(relative, status))

    def _new_directory(self, where: str) -> None:
        if os.path.lexists(where):
            raise CopyError(f"cannot copy to non-directory: /{inside(self.root, where)}")
        self._count(LEAST)
        os.mkdir(where)

    def _own(self, host: str, ids: tuple[int, int]) -> None:
        self.owners[inside(self.root, host)] = ids
        if self.real_ids:
            os.chown(host, *ids, follow_symlinks=False)

    def _mode(self, mode: int) -> int:
        permissions = stat.S_IMODE(mode)
        if not self.chmod:
            return permissions
        if self.chmod.isascii() and self.chmod.isdigit():
            return int(self.chmod, 8)
        return symbolic_mode(self.chmod, permissions, directory=stat.S_ISDIR(mode))

    def inline(self, name: str, content: str, dest: str) -> None:
        """A heredoc as a file called ``name``, mode 0644."""
        target = self._target(dest, posixpath.basename(posixpath.normpath(f"/{name}")), directory=False)
        self._count(max(len(content), LEAST))
        self._clear(target)
        with open(target, "x", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(content)
        # In this order: a new owner takes setuid and setgid away.
        self._own(target, self.owner or (0, 0))
        os.chmod(target, self._mode(stat.S_IFREG | 0o644))

    def copy(
        self,
        source: Tree,
        real: str,
        name: str,
        dest: str,
        *,
        rows: list[Row] | None,
        exclude: tuple[str, ...] = (),
        source_owners: dict[str, tuple[int, int]] | None = None,
        context: bool = False,
        attempt_unpack: bool = False,
        keep_directory: bool = False,
    ) -> None:
        """Copy one picked path.

        ``real``  where it is in ``source``; ``name``  the path as selected, whose last part names the copy.
        ``rows``  what exactly to copy (a build context), or ``None`` for all that is there. ``keep_directory`` copies a
        directory itself and not its contents (``--parents``).
        Raises ``CopyError``, ``ChangedError``, ``OSError``.
        """
        # What another source had of these numbers may have gone.
        self._links.clear()
        start = f"{source.root}/{real}" if real else source.root
        status = source.status(start)
        directory = stat.S_ISDIR(status.st_mode)
        if attempt_unpack and stat.S_ISREG(status.st_mode) and is_archive(start):
            self._unpack(start, dest)
            return
        base = posixpath.basename(name.rstrip("/"))
        if keep_directory and base:
            target = resolve(self.root, posixpath.join(dest, base))
        else:
            target = self._target(dest, base, directory=directory)
        if keep_directory:
            self._make(os.path.dirname(target), self._made_mode())
        if not directory:
            digest = rows[0][2] if rows else b""
            self._one(start, status, target, self._source_ids(real, status, source_owners, context), digest)
            return
        top_is_new = keep_directory and not os.path.lexists(target)
        self._make(target, self._made_mode())
        if top_is_new:
            self._dress(start, target, status, self._source_ids(real, status, source_owners, context))
        rules = IgnoreRules([(0, pattern) for pattern in exclude], file=EXCLUDED) if exclude else None
        below = _listed(rows) if rows is not None else _walk(start, "")
        # A directory that was there keeps its mode and owner, but gets the time, even if nothing is copied into it.
        times: list[tuple[str, os.stat_result]] = [(target, status)] if target != self.root else []

        def ids(relative: str, status: os.stat_result) -> tuple[int, int]:
            return self._source_ids(f"{real}/{relative}" if real else relative, status, source_owners, context)

        ready = {""}
        for relative, digest in below:
            if rules is not None:
                if rules.ignores(relative):
                    continue
                # An excluded directory may have something below it that is not; no link of the image may take its place.
                for missing in _above(relative, ready):
                    self._lead(source, start, target, missing, ids, f"/{real}/{relative}")
            origin = f"{start}/{relative}"
            status = source.status(origin)
            where = f"{target}/{relative}"
            if stat.S_ISDIR(status.st_mode):
                if not is_directory(where):
                    self._new_directory(where)
                self._dress(origin, where, status, ids(relative, status))
                times.append((where, status))
                ready.add(relative)
            else:
                self._one(origin, status, where, ids(relative, status), digest)
        for where, status in reversed(times):
            os.utime(where, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _source_ids(
        self, path: str, status: os.stat_result, source_owners: dict[str, tuple[int, int]] | None, context: bool
    ) -> tuple[int, int]:
        if self.owner is not None:
            return self.owner
        if context:
            return (0, 0)
        if source_owners is not None:
            return source_owners.get(path, (0, 0))
        return (status.st_uid, status.st_gid)

    def _dress(self, source: str, where: str, status: os.stat_result, ids: tuple[int, int]) -> None:
        """Give a directory owner, mode and attributes."""
        for name in counted_names(source):
            copy_attribute(source, where, name)
        self._own(where, ids)
        self._tree.chmod_directory(where, self._mode(status.st_mode))

    def _target(self, dest: str, name: str, *, directory: bool) -> str:
        host = resolve(self.root, dest)
        if directory and not dest.endswith(("/", "/.")) and os.path.lexists(host) and not is_directory(host):
            where = f"/{inside(self.root, host)}"
            raise CopyError(f"{where} is not a directory (cannot copy to non-directory: {where})")
        self._make(host if directory or dest.endswith(("/", "/.")) else os.path.dirname(host), self._made_mode())
        if not directory and os.path.isdir(host):
            return resolve(self.root, posixpath.join(dest, name), follow=False)
        return host

    def _clear(self, target: str) -> None:
        try:
            mode = os.lstat(target).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise CopyError(f"cannot replace to directory /{inside(self.root, target)} with file")
        os.unlink(target)

    def _one(self, source: str, status: os.stat_result, target: str, ids: tuple[int, int], digest: bytes) -> None:
        mode = status.st_mode
        self._count(weight(status))
        self._clear(target)
        identity = (status.st_dev, status.st_ino)
        if stat.S_ISREG(mode):
            known = self._links.get(identity) if status.st_nlink > 1 else None
            if known is not None:
                os.link(known, target)
                self.owners[inside(self.root, target)] = ids
                return
            if status.st_nlink > 1:
                self._links[identity] = target
            _copy_bytes(source, target, digest)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISFIFO(mode):
            os.mkfifo(target)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            kind = "char" if stat.S_ISCHR(mode) else "block"
            if not note_device(target, kind, os.major(status.st_rdev), os.minor(status.st_rdev)):
                return
        else:
            return
        self._own(target, ids)
        if not stat.S_ISLNK(mode):
            os.chmod(target, self._mode(mode))
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _unpack(self, source: str, dest: str) -> None:
        host = resolve(self.root, dest)
        # Whatever --chmod says.
        self._make(host, 0o755)
        with open(source, "rb") as stream:
            try:
                found = unpack(
                    stream,
                    self.root,
                    "/" + inside(self.root, host),
                    layer=False,
                    real_ids=self.real_ids,
                    owner=self.owner,
                    count=self._count,
                    chmod=self._tree.chmod_directory,
                )
            except ArchiveError as error:
                raise CopyError(f"cannot unpack {posixpath.basename(source)}: {error}") from error
        self.owners.update(found)


def _listed(rows: list[Row]) -> Iterator[tuple[str, bytes]]:
    for path, _mode, digest in rows:
        if path:
            yield path, digest


def _above(relative: str, ready: set[str]) -> list[str]:
    """The directories above a path that are not ready, outermost first; now they are."""
    found: list[str] = []
    above = posixpath.dirname(relative)
    while above not in ready:
        found.append(above)
        ready.add(above)
        above = posixpath.dirname(above)
    return found[::-1]


def _walk(directory: str, relative: str) -> Iterator[tuple[str, bytes]]:
    with os.scandir(directory) as scan:
        items = sorted(scan, key=lambda item: item.name)
    for item in items:
        below = f"{relative}/{item.name}" if relative else item.name
        yield below, b""
        if item.is_dir(follow_symlinks=False):
            yield from _walk(item.path, below)


def _copy_bytes(source: str, target: str, digest: bytes) -> None:
    sha = hashlib.sha256() if digest else None
    with open(target, "xb", buffering=0) as sink:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if sha is None:
                copy_data(descriptor, sink.fileno())
            else:
                for block in blocks(descriptor):
                    sha.update(block)
                    _write_sparse(sink.fileno(), block)
                os.ftruncate(sink.fileno(), os.lseek(sink.fileno(), 0, os.SEEK_CUR))
            names = counted_names(descriptor)
            for name in names:
                # In a build context, for which there is a digest, that is anybody's word.
                if name != DEVICE or sha is None:
                    copy_attribute(descriptor, sink.fileno(), name)
        finally:
            os.close(descriptor)
    if sha is not None and sha.digest() != digest and (not names or file_digest(source, stat.S_IFREG) != digest):
        raise ChangedError(source)


def _write_sparse(descriptor: int, block: bytes) -> None:
    # A hole stays a hole: a sparse file of gigabytes in the context must not fill the disk.
    if block is HOLE or (len(block) == len(HOLE) and not any(block[:64]) and block == HOLE):
        os.lseek(descriptor, len(block), os.SEEK_CUR)
        return
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def copy_data(source: int, sink: int) -> None:
    """Copy the bytes of a file; holes stay holes. Raises ``OSError``."""
    size = os.fstat(source).st_size
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                raise
            break
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(sink, start, os.SEEK_SET)
        offset = start
        while offset < end:
            sent = _send(source, sink, offset, end - offset)
            if not sent:
                break
            offset += sent
        offset = end
    os.ftruncate(sink, size)


def _send(source: int, sink: int, offset: int, count: int) -> int:
    """Copy bytes from the same place to the same place; a file system that can share blocks until they are written to does."""
    try:
        sent = os.copy_file_range(source, sink, count, offset, offset)
    except OSError as error:
        # Two file systems, or one that cannot.
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        sent = 0
    if not sent:
        # Some file systems say 0 where they mean that they cannot.
        os.lseek(sink, offset, os.SEEK_SET)
        sent = os.sendfile(sink, source, offset, count)
    return sent


def counted_names(path: int | str) -> list[str]:
    """The extended attributes that belong to the content of a file: of the user, and file capabilities."""
    try:
        names = os.listxattr(path)
    except OSError:
        return []
    return [name for name in names if name == CAPABILITY or (name.startswith("user.") and not name.startswith("user.overlay."))]


def copy_attribute(source: int | str, target: int | str, name: str) -> None:
    """Copy one extended attribute. A file capability that may not be given is left out: it would have no effect either."""
    try:
        os.setxattr(target, name, os.getxattr(source, name))
    except PermissionError:
        if name != CAPABILITY:
            raise


def symbolic_mode(text: str, mode: int, *, directory: bool) -> int:
    """``chmod``'s symbolic modes (``u=rwX,go=u-w``), applied without a umask.

    Rule: BuildKit's ``dchapes-mode``. ``X`` looks at the mode as it was before; ``=`` takes setuid and setgid from whom it names; a ``t``
    that stands with no name stands alone, and others have none.
    """
    before = after = mode & 0o7777
    runs = directory or bool(before & 0o111)
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise CopyError(f"invalid chmod parameter: '{text}'")
        named = 0
        for letter in match[1]:
            named |= _WHO[letter]
        for sign, letters in _CHANGE.findall(match[2]):
            after = _changed(after, sign, letters, named, runs=runs)
    return after


def _changed(mode: int, sign: str, letters: str, who: int, *, runs: bool) -> int:
    bits, assigned, executes = 0, False, False
    for letter in (*letters, ""):
        if letter in _PERMISSIONS:
            bits |= _PERMISSIONS[letter]
        elif letter == "X" and sign == "-":
            bits |= 0o111
        elif letter == "X":
            executes = True
        elif letter in ("s", "t"):
            if who & ~0o007 or not who:
                bits |= 0o6000 if letter == "s" else 0o1000
                who |= 0o1000 if letter == "t" else 0
        else:
            # What was collected comes before what is copied from a name, or at the end.
            if bits or (not letter and sign == "=" and not assigned):
                mode = _signed(mode, sign, bits, who)
            if executes and runs:
                mode |= 0o111 & (who or ~0)
            bits, executes = 0, False
            assigned = assigned or sign == "="
            if letter:
                mode = _copied(mode, sign, letter, who)
    return mode


def _signed(mode: int, sign: str, bits: int, who: int) -> int:
    bits &= who or ~0
    if sign == "-":
        return mode & ~bits
    if sign == "=":
        mode &= ~(who or 0o6777)
    return mode | bits


def _copied(mode: int, sign: str, source: str, who: int) -> int:
    value = mode >> _SHIFT[source] & 7
    for shift in _SHIFT.values():
        if who and not who & 4 << shift:
            continue
        if sign == "=":
            mode &= ~(7 << shift)
        mode = mode & ~(value << shift) if sign == "-" else mode | value << shift
    return mode
