"""A build in which no command runs: the solver decides as for any build, and a step leaves what the level says that it makes.

Files are names for content: that of the context, or of a command and all that it read. Two builds give the same names exactly where they
would give the same files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from layerlab.context import Selected, Selection, select
from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.context.tree import Row, StoredDirectory, tree_of
from layerlab.dockerfile import parse
from layerlab.errors import ContextError, LayerlabError
from layerlab.golf.level import Edit, Level, Line, even
from layerlab.sha256 import sha256
from layerlab.solver.graph import Graph, Like, build_graph
from layerlab.solver.ops import DEFAULT_PATH, BaseImage, CopyOp, MkdirOp, Op, RunOp, Source, variables
from layerlab.solver.plan import CacheRecord, Decided, Solution, selection_of, solve

Layers = tuple[str, ...]
_FOLDER: Final = "folder"
_FOLDER_MODE: Final = 0o40755
_FILE_MODE: Final = 0o100644
# What a command leaves in a folder that it makes.
_MADE: Final = "made"


class Tree(msgspec.Struct, frozen=True, dict=True):
    """A root filesystem: path (without a leading slash) to a name for its content; folders have one name."""

    names: Mapping[str, str]

    def rows(self) -> StoredDirectory:
        """The tree as selections read it."""
        found: StoredDirectory | None = self.__dict__.get("_rows")
        if found is None:
            rows: list[Row] = []
            for path in sorted(self.names, key=lambda path: path.split("/")):
                folder = self.names[path] == _FOLDER
                rows.append((path, _FOLDER_MODE if folder else _FILE_MODE, 0, 0, b"" if folder else self.names[path].encode(), None))
            found = self.__dict__["_rows"] = tree_of(rows)
        return found

    def below(self, path: str) -> dict[str, str]:
        """The files at or below an absolute path, by their names from there; empty where nothing is."""
        place = path.strip("/")
        if place in self.names and self.names[place] != _FOLDER:
            return {"": self.names[place]}
        start = f"{place}/" if place else ""
        return {name[len(start) :]: content for name, content in self.names.items() if name.startswith(start) and content != _FOLDER}

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at an absolute path."""
        return path in ("/", "") or self.names.get(path.strip("/")) == _FOLDER

    def with_folder(self, path: str) -> Tree:
        """The tree with a folder at an absolute path, and those above it. Raises ``Broken`` where there is a file."""
        names = dict(self.names)
        _make_folders(names, path.strip("/") + "/")
        return Tree(names)

    def without(self, path: str) -> Tree:
        """The tree with nothing below an absolute path, as where something is mounted."""
        start = path.strip("/") + "/"
        return Tree({name: content for name, content in self.names.items() if not name.startswith(start)})

    def with_files(self, files: Iterable[tuple[str, str]]) -> Tree:
        """The tree with more files, their folders made: pairs of an absolute path and a content.

        Raises ``Broken`` for a file in the place of a folder, and the other way round.
        """
        names = dict(self.names)
        for path, content in files:
            place = path.strip("/")
            _make_folders(names, place)
            if not place or names.get(place) == _FOLDER:
                raise Broken(f"/{place} is a folder, and a file cannot be put in its place")
            names[place] = content
        return Tree(names)


def _make_folders(names: dict[str, str], place: str) -> None:
    for end in (index for index, letter in enumerate(place) if letter == "/"):
        if names.setdefault(place[:end], _FOLDER) != _FOLDER:
            raise Broken(f"/{place[:end]} is a file, and nothing can be put below it")


class Broken(LayerlabError):  # noqa: N818 - a state of a round, not trouble
    """The Dockerfile would not build, or would leave something out. ``line`` is that of the step."""

    kind = "dockerfile"


class Outcome(msgspec.Struct, frozen=True):
    """A build that ended. ``executed``: the numbers of the steps that ran. ``trees``: what each left, by number; ``tree``: the image."""

    graph: Graph
    solution: Solution
    executed: tuple[int, ...]
    trees: Mapping[int, Tree]
    tree: Tree


class Context:
    """The build context of a level, as it is after some of its edits."""

    def __init__(self, level: Level, edit: Edit | None = None) -> None:
        rules = IgnoreRules(parse_ignore_file("\n".join(level.ignore).encode()))
        changed = edit.files if edit is not None else ()
        files = []
        for path, content in level.files.items():
            if not rules.ignores(path):
                files.append((path, _name("file", content, "edited" if path in changed else "")))
        self.tree = Tree({}).with_files(files)
        self.root = self.tree.rows()
        self.arguments = {} if edit is None else {name: f"another {name}" for name in edit.arguments}


class Cache:
    """A cache of builds that were played. One for all builds of a round, as on a learner's machine."""

    def __init__(self) -> None:
        self._records: dict[str, CacheRecord] = {}
        self._trees: dict[Layers, Tree] = {}

    def copy(self) -> Cache:
        """Another that knows as much."""
        other = Cache()
        other._records, other._trees = dict(self._records), dict(self._trees)
        return other

    def lookup(self, key: str) -> CacheRecord | None:
        """See ``CacheView.lookup``."""
        return self._records.get(key)

    def content(self, layers: Layers, selection: Selection) -> Selected | None:
        """See ``CacheView.content``."""
        return select(self.tree(layers).rows(), selection, where="the stage")

    def tree(self, layers: Layers) -> Tree:
        """What is in the root filesystem of these layers; nothing is known of a base image's, and nothing has to be."""
        return self._trees.get(layers, Tree({}))

    def keep(self, decided: Decided, tree: Tree) -> None:
        """A step ran, and left this."""
        assert decided.key is not None
        assert decided.below is not None
        content = _name("layer", *decided.below, *(f"{path}={name}" for path, name in sorted(tree.names.items())))
        self._records[decided.key] = CacheRecord(key=decided.key, diff_id=content, size=0, created="", instruction=decided.step.instruction)
        self._trees[(*decided.below, content)] = tree


def graph_of(lines: Iterable[str], arguments: Mapping[str, str], *, whole: bool = False) -> Graph:
    """The graph of a text; ``whole``: with stages that the last one does not need. Raises ``DockerfileError``."""
    return build_graph(parse("\n".join(lines) + "\n"), _base, build_args=dict(arguments), every_stage=whole)


def play(level: Level, lines: tuple[str, ...], context: Context, cache: Cache, places: Mapping[str, Home]) -> Outcome:
    """Build once. ``places``: see ``homes``. Raises ``Broken`` for what a real build would fail with; what ran before is in the cache."""
    try:
        graph = graph_of(lines, context.arguments)
    except LayerlabError as error:
        raise Broken(error.message, line=error.line, remedy=error.remedy) from error
    executed: list[int] = []
    while True:
        solution = solve(graph, context.root, cache)
        failing = solution.failing()
        if failing is not None and failing.error is not None:
            raise Broken(failing.error.message, line=failing.step.line, remedy=failing.error.remedy) from failing.error
        decided = solution.next_to_run()
        if decided is None:
            break
        assert decided.below is not None
        line = level.by_text.get(even(lines[decided.step.line - 1]))
        home = places.get(line.text) if line is not None else None
        cache.keep(decided, _left(line, decided, cache.tree(decided.below), _place(context, cache, solution), graph.like, home))
        executed.append(decided.step.number)
    last = solution.last_of(graph.target)
    assert last.layers is not None
    trees = {decided.step.number: cache.tree(decided.layers) for decided in solution.steps if decided.layers is not None}
    return Outcome(graph, solution, tuple(executed), trees, cache.tree(last.layers))


def source_tree(source: Source, context: Context, stage: Callable[[int], Tree]) -> Tree:
    """The tree that a source is looked for in. Raises ``Broken`` for what is not played."""
    if source.kind == "context":
        return context.tree
    if source.kind != "stage":
        raise Broken("golf has no files from elsewhere", remedy="Copy from the build context or from a stage.")
    return stage(source.stage)


def _place(context: Context, cache: Cache, solution: Solution) -> Place:
    return lambda source: source_tree(source, context, lambda stage: cache.tree(solution.last_of(stage).layers or ()))


Place = Callable[[Source], Tree]
"""Where a source is looked for."""

Home = tuple[str, str]
"""Working directory and user of a command."""


def homes(level: Level) -> dict[str, Home]:
    """Where commands must run, by their text: as in the level's own Dockerfile, or as another way to do the same thing does there.

    Raises ``DockerfileError``.
    """
    found: dict[str, Home] = {}
    ways: dict[str, Home] = {}
    for step in graph_of(level.start, {}, whole=True).steps:
        line = level.by_text[even(level.start[step.line - 1])]
        if isinstance(step.op, RunOp):
            found[line.text] = step.op.cwd, step.op.user
            if line.does:
                ways[line.does] = found[line.text]
    return {**{line.text: ways[line.does] for line in level.lines if line.does in ways}, **found}


def copied(op: CopyOp, tree: Tree, place: Place, like: Like) -> Tree:
    """What a COPY leaves of a tree. Raises ``ContextError``, ``Broken``."""
    files: list[tuple[str, str]] = []
    for source in op.sources:
        for name, content, folder in _given(source, op, place, like):
            into = folder or op.dest.endswith("/") or tree.is_folder(op.dest)
            files.append((posixpath.join(op.dest, name) if into else op.dest, content))
    return tree.with_files(files)


def ran(line: Line, op: RunOp, tree: Tree, place: Place, like: Like, home: Home | None) -> Tree:
    """What a command leaves of a tree. ``home``: where it must run. Raises ``Broken`` where it would fail, ``ContextError``."""
    if home is not None and home != (op.cwd, op.user):
        where = f"in {op.cwd}, not in {home[0]}" if home[0] != op.cwd else f"as {op.user or 'root'}, not as {home[1] or 'root'}"
        raise Broken(f"{line.text} would run {where}", remedy="WORKDIR and USER count for the lines below them.")
    seen = tree
    for mount in op.mounts:
        seen = seen.without(mount.target)
        if mount.source is not None:
            matched = list(_given(mount.source, op, place, like))
            seen = seen.with_files(
                (posixpath.join(mount.target, name) if folder else mount.target, content) for name, content, folder in matched
            )
    read: list[str] = [op.cwd, op.user]
    for path in line.reads:
        found = seen.below(path)
        if not found:
            raise Broken(
                f"{line.text} would fail: there is no {path} yet", remedy="A command finds what the lines above it have put there."
            )
        read += [f"{path}/{name}={content}" for name, content in sorted(found.items())]
    given = variables(op.env)
    read += [f"{name}={given.get(name, '')}" for name in line.uses]
    made = _name("made by", line.does or even(line.text), *read)
    # What is made in a mount is in no layer.
    kept = [path for path in line.makes if not any(f"{path}/".startswith(f"{mount.target.rstrip('/')}/") for mount in op.mounts)]
    return tree.with_files((posixpath.join(path, _MADE) if path.endswith("/") else path, f"{made} {path}") for path in kept)


def _given(source: Source, op: Op, place: Place, like: Like) -> Iterator[tuple[str, str, bool]]:
    """What a source gives: for each file its path below what was matched, its content, and whether a folder was matched.

    The path of a file that was matched itself is its own name.
    """
    tree = place(source)
    found = select(tree.rows(), selection_of(source, op, like))
    for picked in found.picked:
        for name, content in tree.below(picked.real).items():
            yield (name if picked.is_directory else posixpath.basename(picked.path)), content, picked.is_directory


def _left(line: Line | None, decided: Decided, tree: Tree, place: Place, like: Like, home: Home | None) -> Tree:
    """What a step leaves of a tree. Raises ``Broken``."""
    op = decided.step.op
    try:
        if isinstance(op, MkdirOp):
            return tree.with_folder(op.path)
        if isinstance(op, CopyOp):
            return copied(op, tree, place, like)
        assert isinstance(op, RunOp)
        if line is None:
            raise Broken(f"{decided.step.instruction} is not one of this level's lines")
        return ran(line, op, tree, place, like, home)
    except (ContextError, Broken) as error:
        raise Broken(error.message, line=decided.step.line, remedy=error.remedy) from error


def _base(name: str) -> BaseImage:
    return BaseImage(name=name, diff_ids=(_name("base", name),), config={"config": {"Env": [f"PATH={DEFAULT_PATH}"]}, "os": "linux"})


def _name(*words: str) -> str:
    return "sha256:" + sha256("\0".join(words).encode()).hexdigest()
