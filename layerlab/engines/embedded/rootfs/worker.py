"""The worker process: everything that touches root filesystems, inside its own mount (and user) namespace.

It speaks length-prefixed msgpack on its standard input and output, one request at a time. As an ordinary user it is mapped to
root in a user namespace, so that it can read, tar and delete what steps left behind whatever its modes. All paths in
requests are relative to the store, which is its current directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import lzma
import os
import posixpath
import select as select_module
import signal
import stat
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import msgspec

from layerlab.context.select import select
from layerlab.context.tree import DiskDirectory
from layerlab.engines.embedded.rootfs import (
    compression,
    copying,
    differ,
    layer_tar,
    messages,
    mountapi,
    mounting,
    namespaces,
    sizes,
    trees,
    unpack,
    users,
)
from layerlab.engines.embedded.rootfs.modes import Tree, closed, held_open
from layerlab.engines.embedded.rootfs.owners import read_owners, write_owners
from layerlab.engines.embedded.rootfs.paths import inside, resolve
from layerlab.errors import LayerlabError, MissingSourceError
from layerlab.fsutil import collection_paused, remove_tree
from layerlab.oci.tar_entries import LayerEntry

_LENGTH: Final = struct.Struct("<I")
# Where an overlay can only be mounted by path: an older kernel, a filter of system calls, few descriptors for many layers.
_WITH_A_PLACE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EMFILE)
# Files whose copying is brief: for more the longer paths take more than a mount with a place.
_FEW: Final = 150
# The longest name of a file.
_NAME_BYTES: Final = 255
# Of one file, names and values: a block of a common file system.
_ATTRIBUTE_BYTES: Final = 4096


class RefusedError(Exception):
    """An answer that is an error: ``kind`` tells the client which exception to raise."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Worker:
    """Answers requests. ``mode`` is ``full`` (owners are real), ``single`` or ``none`` (no namespaces at all)."""

    def __init__(self, mode: str, snapshotter: str) -> None:
        self.real_ids = mode == "full"
        self.snapshotter = snapshotter
        self._baselines: dict[str, tuple[dict[str, trees.Mark], list[str]]] = {}
        self._user: int | None = None
        self._client = os.getppid()
        self._laid = -1
        self._kit: mounting.Kit | None = None
        self._system: mounting.System | None = None
        self._dropped = False
        self._namespaces = mode != "none"
        self._kept_out = mode == "none" and os.geteuid() != 0
        self._discarded: list[str] = []

    # --- root filesystems -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _tree(self, layers: list[str], *, upper: str | None = None, work: str | None = None, brief: bool = False) -> Iterator[Tree]:
        """The merged view of ``layers``, as ``_rootfs`` has it, where modes keep nobody out."""
        with self._rootfs(layers, upper=upper, work=work, brief=brief) as root, self._held_open(root, files=upper is None) as tree:
            yield tree

    def _held_open(self, root: str, *, files: bool) -> contextlib.AbstractContextManager[Tree]:
        return held_open(root, files=files) if self._kept_out else contextlib.nullcontext(Tree(root))

    @contextlib.contextmanager
    def _rootfs(self, layers: list[str], *, upper: str | None = None, work: str | None = None, brief: bool = False) -> Iterator[str]:
        """The merged view of ``layers`` (lowest first), writable when ``upper`` is given.

        ``brief``: little is done in it. Then a mount without a place does, which costs half; each path there takes some microseconds more.
        """
        # Of a layer that is there twice the upper one says all: overlayfs takes each directory once.
        lowers = list(reversed(dict.fromkeys(path for path in reversed(layers) if path)))
        # One that must be held open others may be reading.
        if upper is None and len(lowers) == 1 and not (self._kept_out and next(closed(lowers[0], files=True), None)):
            yield os.path.abspath(lowers[0])
            return
        if brief and self.snapshotter == "overlay" and lowers:
            try:
                detached = mountapi.overlay_detached(lowers, None if upper is None or work is None else (upper, work))
            except OSError as error:
                if error.errno not in _WITH_A_PLACE:
                    raise
            else:
                try:
                    # With a dot the root is itself no link; the directory above it still is one.
                    yield f"/proc/self/fd/{detached}/."
                finally:
                    os.close(detached)
                return
        with tempfile.TemporaryDirectory(dir="tmp", prefix=f"{os.getppid()}-mount-") as scratch:
            if self.snapshotter == "copy":
                target = os.path.abspath(upper) if upper is not None else os.path.join(os.path.abspath(scratch), "tree")
                if upper is None:
                    os.mkdir(target)
                    trees.flatten(lowers, target, real_ids=self.real_ids)
                try:
                    yield target
                finally:
                    if upper is None:
                        remove_tree(target)
                return
            point = os.path.join(scratch, "m")
            os.mkdir(point)
            empty = os.path.join(scratch, "empty")
            os.mkdir(empty, 0o755)
            if upper is None and not lowers:
                yield os.path.abspath(empty)
                return
            while len(lowers) < (1 if upper is not None else 2):
                lowers.insert(0, empty)
            with namespaces.overlay(lowers, point, upper=upper, work=work) as mounted:
                yield os.path.abspath(mounted)

    def _owners(self, layers: list[str]) -> dict[str, tuple[int, int]] | None:
        if self.real_ids:
            return None
        merged: dict[str, tuple[int, int]] = {}
        for layer in layers:
            if layer:
                merged.update(read_owners(layer))
        return merged

    # --- requests ---------------------------------------------------------------------------------------------------

    def probe(self, asked: messages.Probe) -> messages.Done:
        """Try overlay in ``directory``: mount, write, whiteout, opaque directory, owner. Raises ``OSError`` where it fails."""
        with tempfile.TemporaryDirectory(dir=asked.directory, prefix="probe-") as scratch:
            for name in ("low", "up", "work", "m", "low/d"):
                os.mkdir(os.path.join(scratch, name))
            for name in ("low/f", "low/d/g"):
                with open(os.path.join(scratch, name), "w", encoding="ascii"):
                    pass
            with namespaces.overlay([f"{scratch}/low"], f"{scratch}/m", upper=f"{scratch}/up", work=f"{scratch}/work") as root:
                os.unlink(f"{root}/f")
                remove_tree(f"{root}/d")
                os.mkdir(f"{root}/d")
                if self.real_ids:
                    os.chown(f"{root}/d", 1000, 1000)
            status = os.lstat(f"{scratch}/up/f")
            if not stat.S_ISCHR(status.st_mode) or os.getxattr(f"{scratch}/up/d", "user.overlay.opaque") != b"y":
                raise OSError(errno.ENOTSUP, "overlay leaves no whiteouts behind")
            remove_tree(f"{scratch}/work")
        return messages.Done()

    def content(self, asked: messages.ReadContent) -> messages.Content:
        """Digest and rows of a selection in the root filesystem made of ``layers``."""
        with self._tree(asked.layers) as tree:
            selected = select(
                DiskDirectory(tree.root, owners=self._owners(asked.layers), modes=tree.modes), asked.selection, where="the stage"
            )
            return messages.Content(digest=selected.digest, picked=list(selected.picked), rows=selected.rows())

    def copy(self, asked: messages.Copy) -> messages.Written:
        """COPY or ADD into a new layer, of at most ``limit`` bytes; says how many there were."""
        brief = not any(isinstance(source, messages.LayersSource) for source in asked.sources)
        brief = brief and sum(len(source.rows) for source in asked.sources if isinstance(source, messages.ContextSource)) <= _FEW
        exclude = tuple(asked.exclude)
        with self._tree(asked.layers, upper=asked.upper, work=asked.work, brief=brief) as tree:
            ids = users.chown_ids(tree.root, asked.owner) if asked.owner else None
            copier = copying.Copier(tree, real_ids=self.real_ids, owner=ids, chmod=asked.chmod, limit=asked.limit)
            for source in asked.sources:
                if isinstance(source, messages.InlineSource):
                    copier.inline(source.name, source.content, asked.dest)
                elif isinstance(source, messages.ContextSource):
                    unpacks = asked.unpack if source.unpack is None else source.unpack
                    self._copy_picked(copier, Tree(source.root), source, asked.dest, exclude, unpacks, asked.parents, None)
                else:
                    with self._tree(source.layers) as origin:
                        # A pattern may match nothing, but the directory before it must be there.
                        if source.base and not os.path.lexists(place := resolve(origin.root, source.base)):
                            raise copying.CopyError(_looked(origin.root, place))
                        owners = self._owners(source.layers)
                        self._copy_picked(copier, origin, source, asked.dest, exclude, asked.unpack, asked.parents, owners)
        return messages.Written(owners=copier.owners, written=copier.written)

    @staticmethod
    def _copy_picked(
        copier: copying.Copier,
        origin: Tree,
        source: messages.ContextSource | messages.LayersSource,
        dest: str,
        exclude: tuple[str, ...],
        unpack: bool,
        parents: bool,
        owners: messages.Owners | None,
    ) -> None:
        context = isinstance(source, messages.ContextSource)
        rows: list[Any] | None = source.rows if isinstance(source, messages.ContextSource) else None
        start = 0
        for path, real in ((picked.path, picked.real) for picked in source.picked):
            mine: list[copying.Row] | None = None
            if rows is not None:
                # Rows stand in the order of what was picked: the path itself (but for the root), then what is below it.
                mine = []
                prefix = path + "/" if path else ""
                while start < len(rows) and (rows[start][0] == path or rows[start][0].startswith(prefix)):
                    mine.append((rows[start][0][len(prefix) :], rows[start][1], rows[start][4]))
                    start += 1
            target = posixpath.join(dest, posixpath.dirname(path)) if parents else dest
            if parents and posixpath.dirname(path):
                copier.make_directories(target)
            copier.copy(
                origin,
                real,
                path,
                target if not parents or target.endswith("/") else target + "/",
                rows=mine,
                exclude=exclude,
                source_owners=owners,
                context=context,
                attempt_unpack=unpack,
                keep_directory=parents,
            )

    def copy_out(self, asked: messages.CopyOut) -> messages.Written:
        """Copy what one source selects to ``dest/bound``, for a bind mount: at most ``limit`` bytes; says how many there were."""
        with self._held_open(os.path.abspath(asked.dest), files=False) as tree:
            copier = copying.Copier(tree, real_ids=self.real_ids, owner=None, limit=asked.limit)
            target = "/bound/" if asked.directory else "/bound"
            if isinstance(asked.source, messages.ContextSource):
                self._copy_picked(copier, Tree(asked.source.root), asked.source, target, (), False, False, None)
            else:
                with self._tree(asked.source.layers) as origin:
                    owners = self._owners(asked.source.layers)
                    self._copy_picked(copier, origin, asked.source, target, (), False, False, owners)
        return messages.Written(owners={}, written=copier.written)

    def who(self, asked: messages.Who) -> messages.Ids:
        """The ids of a USER in the root filesystem made of ``layers``."""
        with self._tree(asked.layers, brief=True) as tree:
            try:
                uid, gid, groups, _home = users.process_ids(tree.root, asked.user)
            except users.UnknownUserError as error:
                raise RefusedError("dockerfile", str(error)) from error
        return messages.Ids(uid=uid, gid=gid, groups=list(groups))

    def mkdir(self, asked: messages.MakeDirectories) -> messages.Written:
        """WORKDIR. ``created``: seconds since 1970 for the directories that are made."""
        with self._tree(asked.layers, upper=asked.upper, work=asked.work, brief=True) as tree:
            copier = copying.Copier(tree, real_ids=self.real_ids, owner=users.chown_ids(tree.root, asked.owner) if asked.owner else None)
            copier.make_directories(asked.path, created=asked.created)
        return messages.Written(owners=copier.owners)

    def prepare_run(self, asked: messages.PrepareRun) -> messages.Prepared:
        """What an executor must know of the image: ids of the user, where mount points really are, where the command is.

        ``targets`` are mount points, each with whether it is a directory.
        """
        made: dict[str, tuple[int, int]] = {}
        with self._tree(asked.layers, upper=asked.upper if self.snapshotter == "copy" else None, brief=True) as tree:
            root = tree.root
            try:
                uid, gid, groups, home = users.process_ids(root, asked.user)
            except users.UnknownUserError as error:
                raise RefusedError("dockerfile", str(error)) from error
            where = [_place(root, target) for target, _ in asked.targets]
            stubs = _stubs(where, [directory for _, directory in asked.targets])
            self._check_mount_points(root, asked.targets, where, stubs)
            # As mkdir -p: of /a/../b the first part is made too.
            parts = asked.cwd.split("/")
            ends = [end for end, part in enumerate(parts) if part == ".." and end > 1] + [len(parts)]
            missing = [p for p in ("/".join(parts[:end]) for end in ends) if not os.path.isdir(resolve(root, p))]
            found = _find_command(root, asked.command, asked.search, asked.cwd, where)
            physical = "/" + _place(root, asked.cwd)
        if missing:
            if self.snapshotter == "copy":
                # What is made here belongs to the step.
                self._baselines.setdefault(asked.upper, (trees.marks(asked.upper), []))
            with self._tree(asked.layers, upper=asked.upper, work=asked.work, brief=True) as tree:
                copier = copying.Copier(tree, real_ids=self.real_ids, owner=None)
                for path in missing:
                    copier.make_directories(path)
                made = copier.owners
        return messages.Prepared(uid=uid, gid=gid, groups=list(groups), home=home, cwd=physical, stubs=stubs, command=found, owners=made)

    @staticmethod
    def _check_mount_points(root: str, targets: list[tuple[str, bool]], where: list[str], stubs: list[tuple[str, bool]]) -> None:
        for (target, directory), place in zip(targets, where, strict=True):
            if target in _OURS and place != target.lstrip("/"):
                # runc refuses it too; following it would put the kernel's files wherever the image says.
                raise RefusedError("base-image", f"the image has a symbolic link at {target}, where a step needs a directory")
            if (place, directory) not in stubs:
                # It is in another mount, which only whoever lays them sees.
                continue
            if os.path.lexists(f"{root}/{place}") and os.path.isdir(f"{root}/{place}") != directory:
                there, needed = ("file", "directory") if directory else ("directory", "file")
                raise RefusedError("base-image", f"the image has a {there} at {target}, where a {needed} must be mounted")

    def lay(self, asked: messages.Lay) -> messages.Tree:
        """Lay the tree of a command; see ``mounting.lay``. The namespace is kept by descriptor until ``let_go``."""
        kit, self._kit = self._kit or self._make_kit(), None
        try:
            self._laid = mounting.lay(asked.root, asked.mounts, asked.cwd, asked.program, kit)
        except mounting.MountError as error:
            raise RefusedError("dockerfile", str(error)) from error
        finally:
            kit.close()
        point = os.path.abspath(mounting.POINT)
        return messages.Tree(namespace=self._laid, user=self._user_namespace(), process=os.getpid(), point=point)

    def _make_kit(self) -> mounting.Kit:
        if self._system is None and os.path.isdir("/sys/kernel"):
            self._system = mounting.System()
        if not self._dropped and self.real_ids:
            namespaces.drop_kernels()
            self._dropped = True
        return mounting.Kit(self._system, real_ids=self.real_ids)

    def tidy(self, asked: messages.Tidy) -> messages.Done:
        """Remove directories of ours once this is answered; see ``afterwards``."""
        self._discarded = asked.paths
        return messages.Done()

    def afterwards(self, asked: messages.AnyRequest) -> None:
        """What its client need not wait for: remove what was discarded, and make what the next command needs, whatever it is."""
        if isinstance(asked, messages.Tidy):
            _answer(self, messages.Remove(paths=self._discarded))
        # Not while a command begins: the kernel changes one table of mounts at a time, and bwrap changes it, too.
        if isinstance(asked, messages.PrepareRun | messages.Tidy) and self._namespaces and self._kit is None:
            # What fails here fails again where it is needed, and is said there.
            with contextlib.suppress(OSError):
                self._kit = self._make_kit()

    def _user_namespace(self) -> int:
        """A descriptor of this process's user namespace, kept for good; -1 where it is that of its client."""
        if self._user is None:
            self._user = -1 if self.real_ids else os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        return self._user

    def let_go(self, _asked: messages.LetGo) -> messages.Done:
        """The client has the namespace that was laid last, if one was."""
        if self._laid >= 0:
            os.close(self._laid)
        self._laid = -1
        return messages.Done()

    def flatten(self, asked: messages.Flatten) -> messages.Done:
        """Copy snapshotter: the merged view of ``layers`` as plain files in ``tree``."""
        trees.flatten([layer for layer in asked.layers if layer], asked.tree, real_ids=self.real_ids)
        return messages.Done()

    def rebase(self, asked: messages.Rebase) -> messages.Rebased:
        """Copy snapshotter: make ``tree`` the merged view of other layers; says whether that could be done. If not, it is of no use."""
        try:
            trees.rebase(asked.tree, asked.kept, asked.undone, asked.added, real_ids=self.real_ids)
        except (trees.UndoError, OSError):
            return messages.Rebased(done=False)
        return messages.Rebased(done=True)

    def baseline(self, asked: messages.Baseline) -> messages.Done:
        """Copy snapshotter: make missing mount points, then note the state of ``tree`` before a step changes it.

        ``keep`` is a file that takes the note too, for ``changes`` of another process.
        """
        earlier = self._baselines.pop(asked.tree, None)
        with self._held_open(asked.tree, files=False):
            made = [*(earlier[1] if earlier is not None else ()), *trees.make_stubs(asked.tree, asked.stubs)]
        marks = earlier[0] if earlier is not None else trees.marks(asked.tree)
        for stub in made:
            marks.pop(stub, None)
        self._baselines[asked.tree] = (marks, made)
        if asked.keep:
            with open(asked.keep, "wb") as stream:
                stream.write(trees.pack_marks(marks, made))
        return messages.Done()

    def changes(self, asked: messages.FindChanges) -> messages.Changes:
        """What a container changed in its image: (``A``, ``C`` or ``D``, path) for each path, sorted.

        ``directory`` is that of a root filesystem which a snapshotter prepared there, ``layers`` are those that it was made of.
        """
        if self.snapshotter == "copy":
            with open(f"{asked.directory}/marks", "rb") as stream:
                marks, stubs = trees.unpack_marks(stream.read())
            found = trees.tree_changes(f"{asked.directory}/t", marks, stubs)
        else:
            with self._rootfs(asked.layers) as root:
                found = trees.layer_changes(f"{asked.directory}/u", root)
        return messages.Changes(changes=[(kind, os.fsencode(path).decode("utf-8", "backslashreplace")) for kind, path in found])

    def difference(self, asked: messages.Difference) -> messages.Compared:
        """Copy snapshotter: put what changed in ``tree`` since ``baseline`` into the layer directory ``dest``, and reduce that.

        ``layers`` are those that the tree was made of. Says whether another step can go on in ``tree``.
        """
        marks, stubs = self._baselines.pop(asked.tree)
        # As in a layer, where nothing says what the root directory itself is.
        os.chmod(asked.tree, 0o755)
        with self._held_open(asked.tree, files=False):
            trees.remove_stubs(os.path.abspath(asked.tree), stubs)
        os.makedirs(asked.dest, exist_ok=True)
        alike = trees.difference(asked.tree, marks, asked.dest, real_ids=self.real_ids)
        self.reduce(messages.Reduce(layer=asked.dest, lowers=asked.layers, owners=asked.owners))
        return messages.Compared(alike=alike)

    def usage(self, asked: messages.Weigh) -> messages.Weight:
        """What a directory weighs that a command may be writing to. It can be looked into from here, whatever its modes."""
        try:
            return messages.Weight(size=sizes.tree_size(asked.path))
        except sizes.TooDeepError:
            return messages.Weight(size=0, deep=True)

    def reduce(self, asked: messages.Reduce) -> messages.Weight:
        """Take out of a finished layer directory what is no change of the layers below (``differ``); says how many bytes are left."""
        below = self._owners(asked.lowers)
        if below is None:
            return messages.Weight(size=differ.drop_unchanged(asked.layer, asked.lowers))
        owners = asked.owners
        size = differ.drop_unchanged(
            asked.layer, asked.lowers, lambda path, *_: path not in owners or owners[path] == below.get(path, (0, 0))
        )
        return messages.Weight(size=size)

    def commit(self, asked: messages.Commit) -> messages.Committed:
        """Turn a finished layer directory into a layer: its diff ID, size and (single-id mode) the owners of its files.

        With a ``limit`` it is first reduced, and left so where its regular files have more bytes; the answer is then empty.
        """
        if asked.limit is not None:
            left = self.reduce(messages.Reduce(layer=asked.layer, lowers=asked.lowers, owners=asked.owners))
            if left.size > asked.limit:
                return messages.Committed()
        if asked.newest is not None:
            layer_tar.clamp_times(asked.layer, asked.newest)
        intended: dict[str, tuple[int, int]] | None = None
        if not self.real_ids:
            below = self._owners(asked.lowers) or {}
            owners = {**(self._owners([asked.layer]) or {}), **asked.owners}
            intended = {}
            for entry in layer_tar.walk_layer(asked.layer):
                if entry.type in ("whiteout", "opaque"):
                    continue
                known = owners.get(entry.path) or below.get(entry.path)
                if known is None and not _exists_below(entry.path, asked.lowers):
                    known = asked.owner
                ids = (known[0], known[1]) if known is not None else (0, 0)
                if ids != (0, 0) or below.get(entry.path, (0, 0)) != ids:
                    intended[entry.path] = ids
            write_owners(asked.layer, intended)
        digest, size, length = layer_tar.diff_id(asked.layer, owners=intended, proceed=self._still_wanted)
        return messages.Committed(diff_id=digest, size=size, length=length, empty=not os.listdir(asked.layer))

    def _still_wanted(self) -> None:
        if os.getppid() != self._client:
            # Whoever asked has gone.
            raise SystemExit(1)

    def entries(self, asked: messages.ListEntries) -> messages.Entries:
        """The members of a layer, as they can be shown: names as text, and of links to anywhere, and attributes, no more than is usual."""
        found = layer_tar.walk_layer(asked.layer, owners=self._owners([asked.layer]))
        return messages.Entries(entries=[_shown(entry) for entry in found])

    def unpack_layer(self, asked: messages.UnpackLayer) -> messages.Done:
        """Unpack a layer blob (any compression that Python reads) into a layer directory."""
        os.makedirs(asked.dest)
        with open(asked.tar, "rb") as stream:
            try:
                owners = unpack.unpack(stream, os.path.abspath(asked.dest), "/", layer=True, real_ids=self.real_ids)
            except unpack.ArchiveError as error:
                raise RefusedError("base-image", str(error)) from error
        if not self.real_ids:
            write_owners(asked.dest, owners)
        return messages.Done()

    def verify_blob(self, asked: messages.VerifyBlob) -> messages.Length:
        """Check a layer blob against its digest and, uncompressed, against its diff ID."""
        # Nothing is decompressed before it is known to be what was asked for.
        for wanted, what in ((asked.digest, "blob"), (asked.diff_id, "layer")):
            hasher = hashlib.sha256()
            length = 0
            try:
                with open(asked.path, "rb") as stream:
                    limit = compression.expansion_limit(os.fstat(stream.fileno()).st_size)
                    if what == "layer" and stream.read(4) == compression.ZSTD:
                        raise RefusedError("base-image", "a layer is compressed with zstd, which this version cannot read")
                    stream.seek(0)
                    source = compression.decompressed(stream) if what == "layer" else stream
                    while block := source.read(1 << 20):
                        hasher.update(block)
                        length += len(block)
                        if length > limit:
                            raise RefusedError(
                                "base-image",
                                f"layer {wanted} unpacks to more than {limit / 1e6:.0f} MB, which is the limit for one of its size",
                            )
            except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise RefusedError("base-image", f"{what} {wanted} is damaged: {error}") from error
            if f"sha256:{hasher.hexdigest()}" != wanted:
                raise RefusedError("base-image", f"{what} {wanted} is damaged: its content has another digest")
        return messages.Length(length=length)

    def apply_owners(self, asked: messages.ApplyOwners) -> messages.Done:
        """Give the files of a composed layer their owners."""
        if self.real_ids:
            for path, ids in asked.owners.items():
                os.chown(f"{asked.dest}/{path}", *ids, follow_symlinks=False)
        else:
            write_owners(asked.dest, asked.owners)
        return messages.Done()

    def export(self, asked: messages.Export) -> messages.Digest:
        """Write a layer's tar to ``target``; says its digest."""
        sha = hashlib.sha256()
        with open(asked.target, "wb", buffering=1 << 20) as sink:

            def write(block: bytes) -> None:
                sha.update(block)
                sink.write(block)

            layer_tar.write_tar(asked.layer, layer_tar.walk_layer(asked.layer, owners=self._owners([asked.layer])), write)
        return messages.Digest(digest=f"sha256:{sha.hexdigest()}")

    def measure(self, asked: messages.Measure) -> messages.Digest:
        """The digest of a layer's tar as it is now, for ``verify``."""
        return messages.Digest(digest=layer_tar.diff_id(asked.layer, owners=self._owners([asked.layer]))[0])

    def remove(self, asked: messages.Remove) -> messages.Done:
        """Remove directories of ours, whatever modes are in them."""
        for path in asked.paths:
            remove_tree(path)
            for tree in [tree for tree in self._baselines if tree.startswith(path + "/")]:
                del self._baselines[tree]
        return messages.Done()


def _looked(root: str, place: str) -> str:
    """What BuildKit says where it looks for a place that is not there (continuity ``fs.RootPath``)."""
    parts = inside(root, place).split("/")
    for count in range(1, len(parts)):
        above = "/".join([root, *parts[:count]])
        if os.path.lexists(above) and not stat.S_ISDIR(os.lstat(above).st_mode):
            return f"lstat /{'/'.join(parts[: count + 1])}: not a directory"
    return f"lstat /{'/'.join(parts)}: no such file or directory"


def _shown(entry: LayerEntry) -> LayerEntry:
    target = entry.target if entry.type == "hardlink" else entry.target[:_NAME_BYTES]
    path, xattrs = entry.path, entry.xattrs
    if not (path.isascii() and target.isascii()):
        path, target = (os.fsencode(text).decode("utf-8", "backslashreplace") for text in (path, target))
    if any(not name.isascii() for name in xattrs) or sum(len(name) + len(value) for name, value in xattrs.items()) > _ATTRIBUTE_BYTES:
        xattrs = {}
    if (path, target, xattrs) == (entry.path, entry.target, entry.xattrs):
        return entry
    return msgspec.structs.replace(entry, path=path, target=target, xattrs=xattrs)


def _exists_below(path: str, lowers: list[str]) -> bool:
    for layer in reversed(lowers):
        if not layer:
            continue
        try:
            status = os.lstat(f"{layer}/{path}")
        except OSError:
            continue
        return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
    return False


def _find_command(root: str, command: str, search: str, cwd: str, mounted: list[str]) -> str:
    """Path inside the root of a command, looked up as ``execvp`` does; empty when there is none.

    What lies in a mount point cannot be seen from here, so a command that is named by its path there counts as found.
    """
    directories = [""] if "/" in command else (directory or "." for directory in search.split(":"))
    for directory in directories:
        candidate = posixpath.join(cwd, directory, command)
        place = inside(root, resolve(root, candidate))
        if os.path.isfile(f"{root}/{place}"):
            return candidate
        if "/" in command and any(place == mount or place.startswith(mount + "/") for mount in mounted):
            return candidate
    return ""


def _place(root: str, path: str) -> str:
    """Where a path is in a root filesystem, links followed, without a leading slash. Raises ``RefusedError``."""
    try:
        return inside(root, resolve(root, path))
    except OSError as error:
        raise RefusedError("dockerfile", f"{path}: {os.strerror(error.errno or 0).lower()}") from error


def _stubs(where: list[str], directories: list[bool]) -> list[tuple[str, bool]]:
    """The mount points that the image must have: those that lie in no other mount, where they are made when that is there."""
    found: dict[str, bool] = {}
    for place, directory in zip(where, directories, strict=True):
        if not any(place.startswith(other + "/") for other in where if other):
            found.setdefault(place, directory)
    return list(found.items())


_OURS: Final = ("/proc", "/dev", "/sys")
_ERRORS: Final = {"missing-source": "missing-source", "dockerfile": "dockerfile", "context": "context"}


def _answer(worker: Worker, asked: messages.AnyRequest) -> messages.Ok[Any] | messages.Failure:
    try:
        return messages.Ok(_HANDLERS[type(asked)](worker, asked))
    except RefusedError as error:
        return messages.Failure(kind=error.kind, message=str(error))
    except mountapi.LayersError as error:
        return messages.Failure(kind="layers", message=str(error))
    except copying.CopyError as error:
        return messages.Failure(kind="copy", message=str(error))
    except copying.LimitError as error:
        return messages.Failure(kind="limit", message=str(error))
    except MemoryError:
        return messages.Failure(kind="memory", message=f"{type(asked).__name__} needs more memory than this process may have")
    except copying.ChangedError as error:
        return messages.Failure(kind="changed", message=str(error))
    except UnicodeEncodeError as error:
        return _not_text(error)
    except LayerlabError as error:
        looked, at_copy = (error.looked, error.at_copy) if isinstance(error, MissingSourceError) else (None, False)
        return messages.Failure(kind=_ERRORS.get(error.kind, "copy"), message=error.message, looked=looked, at_copy=at_copy)
    except OSError as error:
        return _of_the_system(error)


def _not_text(error: UnicodeEncodeError) -> messages.Failure:
    # Layers may hold such names, but what a key is made of is text.
    name = os.fsencode(str(error.object)).decode("utf-8", "backslashreplace")
    return messages.Failure(kind="context", message=f"the name of a file in a stage, an image or an archive is not UTF-8: {name}")


def _of_the_system(error: OSError) -> messages.Failure:
    return messages.Failure(kind="os", errno=error.errno or 0, message=f"{error.strerror or error}", path=str(error.filename or ""))


_HANDLERS: Final[dict[type[Any], Callable[[Worker, Any], Any]]] = {
    messages.Probe: Worker.probe,
    messages.ReadContent: Worker.content,
    messages.Copy: Worker.copy,
    messages.CopyOut: Worker.copy_out,
    messages.Who: Worker.who,
    messages.MakeDirectories: Worker.mkdir,
    messages.PrepareRun: Worker.prepare_run,
    messages.Lay: Worker.lay,
    messages.LetGo: Worker.let_go,
    messages.Flatten: Worker.flatten,
    messages.Rebase: Worker.rebase,
    messages.Baseline: Worker.baseline,
    messages.Difference: Worker.difference,
    messages.FindChanges: Worker.changes,
    messages.Weigh: Worker.usage,
    messages.Reduce: Worker.reduce,
    messages.Commit: Worker.commit,
    messages.ListEntries: Worker.entries,
    messages.UnpackLayer: Worker.unpack_layer,
    messages.VerifyBlob: Worker.verify_blob,
    messages.ApplyOwners: Worker.apply_owners,
    messages.Export: Worker.export,
    messages.Measure: Worker.measure,
    messages.Tidy: Worker.tidy,
    messages.Remove: Worker.remove,
}


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return stream.read(_LENGTH.unpack(head)[0])


def main(mode: str, snapshotter: str) -> None:
    """Serve requests until standard input closes. ``mode`` as in ``Worker``."""
    os.umask(0o022)
    sys.setrecursionlimit(20_000)  # trees are walked recursively, and a path may have 2048 parts
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        if mode != "none":
            namespaces.enter(mapped_root=mode == "single")
        first: messages.Ok[Any] | messages.Failure = messages.Ok(messages.Done())
    except OSError as error:
        first = _of_the_system(error)
    worker = Worker(mode, snapshotter)
    _end_with_client(requests.fileno())
    _send(answers, first)
    if isinstance(first, messages.Failure):
        return
    requests_of = msgspec.msgpack.Decoder(messages.AnyRequest)
    while (body := _read(requests)) is not None:
        with collection_paused():
            asked = requests_of.decode(body)
            _send(answers, _answer(worker, asked))
            worker.afterwards(asked)
            del asked


def _end_with_client(requests: int) -> None:
    """End this process as soon as nobody can ask it for anything any more, in the middle of whatever it does.

    The kernel says by a signal when something happens to the pipe. A thread that waits for it would bar this process from namespaces, and
    PR_SET_PDEATHSIG goes by the thread that started us, which may end long before its process.
    """

    def look(_number: int, _frame: object) -> None:
        # One of its own: another signal may come while it is asked.
        poll = select_module.poll()
        poll.register(requests, 0)
        if poll.poll(0):
            os._exit(1)

    signal.signal(signal.SIGIO, look)
    # It comes with each request, too, and system calls that are made by number must not fail for it.
    signal.siginterrupt(signal.SIGIO, False)
    with contextlib.suppress(OSError):
        fcntl.fcntl(requests, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(requests, fcntl.F_SETFL, fcntl.fcntl(requests, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have gone before.
    look(0, None)


def _send(stream: IO[bytes], answer: messages.Ok[Any] | messages.Failure) -> None:
    try:
        body = msgspec.msgpack.encode(answer)
    except UnicodeEncodeError as error:
        body = msgspec.msgpack.encode(_not_text(error))
    except MemoryError:
        body = msgspec.msgpack.encode(messages.Failure(kind="memory", message="the answer needs more memory than this process may have"))
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()
