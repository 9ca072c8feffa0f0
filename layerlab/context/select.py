"""Selecting what a COPY, an ADD or a bind mount reads from a tree, and the digest of it.

Rules: BuildKit ``cache/contenthash/checksum.go`` (wildcards, symlinks followed at the top only) and
``solver/llbsolver/ops/file.go`` (which path is followed, which counts by its last name).
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final

from layerlab.context.ignore import EXCLUDED, IgnoreRules
from layerlab.context.tree import Directory, Entry, Row, rows_of
from layerlab.errors import DockerfileError, MissingSourceError
from layerlab.records import UNSET, Record, UnsetType
from layerlab.sha256 import sha256

CONTEXT: Final = "the build context"
_LINK_LIMIT: Final = 255
# No file system has longer names; to compile a longer pattern takes ``re`` seconds.
_LONGEST_NAME: Final = 1024
_NEVER: Final = re.compile(r"(?!)")
_ONE: Final = b"one"
# The SHA-256 of that, written out: hashing is loaded when there is something to hash.
NOTHING: Final = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
"""The digest of a source of which nothing is left, or that is not there."""


class Selection(Record, frozen=True):
    """What is read: ``path`` is absolute within the tree; ``wildcard`` when its pattern characters mean something.

    ``exclude`` are the patterns of ``--exclude``; ``parents`` is ``COPY --parents``, whose path is then a pattern below
    ``pivot``. ``older``: as BuildKit selected until 0.24, which followed every link in what a pattern matched. It is not written where it
    does not hold: older stores know selections without it.
    """

    path: str
    wildcard: bool = False
    exclude: tuple[str, ...] = ()
    parents: bool = False
    pivot: str = "/"
    older: bool | UnsetType = UNSET


class Match(Record):
    """One path that a selection reads.

    ``path``  as selected (before a symlink was followed); ``real`` where the content is; both without a leading slash.
    ``name``  how it counts in the digest: relative to the part of the selection before the first wildcard.
    ``linked``  ``path`` itself is a symlink: then all of what it leads to counts, excluded or not (``includedPaths``).
    ``followed``  what links in it lead to, by their names, where that counts.
    """

    path: str
    real: str
    name: str
    entry: Entry
    linked: bool = False
    followed: dict[str, Match] = {}


class Picked(Record, frozen=True, array_like=True):
    """A ``Match`` without its entry: what a copier needs, and what can be written down."""

    path: str
    real: str
    is_directory: bool


class Missing(Record, frozen=True):
    """What is not there.

    ``path``: absolute, links followed; ``below_file``: the first part of it that stands below a file, or empty.
    """

    path: str
    below_file: str

    def looked(self) -> str:
        """What BuildKit says that looks for it (continuity ``fs.RootPath``)."""
        return f"lstat {self.below_file}: not a directory" if self.below_file else f"lstat {self.path}: no such file or directory"


class Selected:
    """The outcome of a selection.

    ``digest``  of all that was selected, lower-case hex; ``picked``  the matches in the order of copying.
    """

    def __init__(
        self,
        digest: str,
        picked: tuple[Picked, ...],
        rows: list[Row] | Callable[[], list[Row]],
        reads: Callable[[], Iterator[str]] = lambda: iter(()),
    ) -> None:
        self.digest = digest
        self.picked = picked
        self._rows = rows
        self.reads = reads
        """The paths where the content is, links followed, of all that was selected."""

    def rows(self) -> list[Row]:
        """Every path read, with mode, owner and content digest: what a copier checks and an explanation compares."""
        if callable(self._rows):
            self._rows = self._rows()
        return self._rows


def _selected(matches: list[Match], exclude: tuple[str, ...], *, wildcard: bool) -> Selected:
    picked = tuple(Picked(match.path, match.real, match.entry.is_directory) for match in matches)
    return Selected(
        _digest_of(matches, exclude, wildcard=wildcard),
        picked,
        lambda: _rows(matches, exclude),
        lambda: (path for match in matches for path in _reads(match, exclude)),
    )


def _rows(matches: list[Match], exclude: tuple[str, ...]) -> list[Row]:
    """The rows of what is copied; behind them, of what nested links lead to, those that are not among them: they count, too."""
    rows = [row for match in matches for row in _rows_of_match(match, exclude)]
    nested = [followed for match in matches if match.path for followed in match.followed.values()]
    if nested:
        known = {row[0] for row in rows}
        more = [(_real(followed, row[0]), *row[1:]) for followed in nested for row in _rows_of_match(followed, ())]
        rows += sorted({row[0]: row for row in more if row[0] not in known}.values())
    return rows


def _reads(match: Match, exclude: tuple[str, ...]) -> Iterator[str]:
    yield from (_real(match, row[0]) for row in _rows_of_match(match, exclude))
    for followed in match.followed.values():
        yield from (_real(followed, row[0]) for row in _rows_of_match(followed, ()))


def _real(match: Match, path: str) -> str:
    return "/".join(part for part in (match.real, path[len(match.path) :].strip("/")) if part)


def has_wildcards(text: str) -> bool:
    """Whether ``text`` has an unescaped ``*``, ``?`` or ``[``."""
    position = 0
    while position < len(text):
        if text[position] in "*?[":
            return True
        position += 2 if text[position] == "\\" else 1
    return False


def select(root: Directory, selection: Selection, *, where: str = CONTEXT) -> Selected:
    """Resolve a selection in a tree.

    Raises ``MissingSourceError`` with BuildKit's key words (``"/x": not found``) when a plain path is not there. A
    pattern that matches nothing is no error: it selects nothing.
    """
    if selection.parents:
        return _select_with_parents(root, selection)
    if selection.wildcard:
        matches = list(_wildcard(root, selection.path, where))
        if selection.older:
            for match in matches:
                match.followed = _nested(root, match, where)
        return _selected(matches, selection.exclude, wildcard=True)
    named = resolve(root, selection.path, follow=False) if selection.exclude else None
    linked = named is not None and named.entry.is_symlink
    try:
        match = _follow(root, selection.path, where)
    except MissingSourceError as error:
        # With filters BuildKit walks a tree to make the key, and what is not there is not met; of a link it asks what it leads to.
        error.at_copy = bool(selection.exclude) and (not linked or _excludes_all(selection.exclude))
        raise
    match.name = ""
    if selection.exclude:
        match.linked = linked
        if not match.path:
            match.followed = _followed(root, selection.exclude, where)
    return _selected([match], selection.exclude, wildcard=False)


def _followed(root: Directory, exclude: tuple[str, ...], where: str) -> dict[str, Match]:
    """What the links of a root directory lead to, those that are excluded left out.

    With filters BuildKit follows links that stand in no directory of the selection, and the root is none (``includedPaths``: its header
    is left out where the path ends in a slash). Raises as ``_follow``.
    """
    rules = _excluding(exclude)
    entries = root.entries()
    links = [name for name in sorted(entries) if entries[name].is_symlink and not (rules is not None and rules.ignores(name))]
    return {name: _follow(root, name, where) for name in links}


def _nested(root: Directory, match: Match, where: str) -> dict[str, Match]:
    """What the links in a directory that a pattern matched lead to (``Checksum`` until 74d177910). Raises as ``_follow``."""
    directory = match.entry.directory
    # Of a link to a directory the whole counts as it is.
    if directory is None or match.linked:
        return {}
    links = [row[0] for row in rows_of(directory) if stat.S_ISLNK(row[1])]
    return {path: _follow(root, f"{match.path}/{path}", where) for path in links}


def fixed_part(pattern: str) -> str:
    """The components of a pattern before the first one with a wildcard, without a leading slash."""
    parts = [part for part in pattern.split("/") if part]
    fixed = 0
    while fixed < len(parts) and not has_wildcards(parts[fixed]):
        fixed += 1
    return "/".join(parts[:fixed])


def _follow(root: Directory, path: str, where: str) -> Match:
    """What a source leads to. Raises ``MissingSourceError``; its remedy names what is not there: of a link, its target."""
    found = _find(root, path, follow=True)
    if isinstance(found, Match):
        return found
    written = "/" + path.lstrip("/")
    # Of a file of the context that is asked for nothing is sent that could be in the way.
    in_the_way = found.below_file and where != CONTEXT
    what = f"lstat /{found.below_file}: not a directory" if in_the_way else f'"{posixpath.normpath(written)}": not found'
    remedy = f"Check the spelling and the ignore file: {found.path.lstrip('/')} is not in {where}."
    error = MissingSourceError(
        f"failed to compute cache key: failed to calculate checksum of {where}: {what}",
        remedy=remedy if found.path == written else f"{remedy} The symbolic link {written} leads there.",
    )
    error.looked = found.looked()
    raise error


def resolve(root: Directory, path: str, *, follow: bool = True) -> Match | None:
    """Find ``path`` in a tree, symlinks resolved inside it; ``None`` when it is not there.

    Raises ``DockerfileError`` on a symlink loop.
    """
    found = _find(root, path, follow=follow)
    return found if isinstance(found, Match) else None


def _find(root: Directory, path: str, *, follow: bool) -> Match | Missing:
    """As ``resolve``, but with what is missing."""
    pending = [part for part in path.split("/") if part and part != "."]
    pending.reverse()
    trail: list[tuple[str, Entry]] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            if trail:
                trail.pop()
            continue
        directory: Directory | None = trail[-1][1].directory if trail else root
        entry = directory.entries().get(part) if directory is not None else None
        if entry is None:
            there = "/" + "/".join([*(name for name, _ in trail), part])
            whole = posixpath.normpath("/".join([there, *reversed(pending)]))
            return Missing(whole, there if directory is None and whole != "/" else "")
        if entry.is_symlink and (follow or pending):
            links += 1
            if links > _LINK_LIMIT:
                looped = "/" + path.lstrip("/")
                raise DockerfileError(
                    f"too many symlinks: {looped} (too many links: one of them leads to itself)", remedy="Remove the loop."
                )
            target = entry.target or ""
            if target.startswith("/"):
                trail.clear()
            pending.extend(reversed([piece for piece in target.split("/") if piece and piece != "."]))
            continue
        trail.append((part, entry))
    selected = "/".join(part for part in path.split("/") if part and part != ".")
    real = "/".join(name for name, _ in trail)
    entry = trail[-1][1] if trail else Entry(0o40755, directory=root)
    return Match(selected, real, real, entry)


def missing(root: Directory, path: str) -> Missing | None:
    """What is not there where ``path`` leads; ``None`` when it is. Raises as ``resolve``."""
    found = _find(root, path, follow=True)
    return found if isinstance(found, Missing) else None


def _wildcard(root: Directory, path: str, where: str) -> Iterator[Match]:
    prefix = fixed_part(path)
    base = resolve(root, prefix)
    if base is None or base.entry.directory is None:
        return
    fixed = prefix.count("/") + 1 if prefix else 0
    expressions = [compile_glob(part) for part in [part for part in path.split("/") if part][fixed:]]
    yield from _descend(root, base.entry.directory, base.real, prefix, "", expressions, where)


def _descend(
    root: Directory, directory: Directory, real: str, prefix: str, below: str, expressions: list[re.Pattern[str]], where: str
) -> Iterator[Match]:
    entries = directory.entries()
    for name in sorted(entries):
        if expressions[0].match(name) is None:
            continue
        entry = entries[name]
        relative = f"{below}/{name}" if below else name
        here = f"{real}/{name}" if real else name
        if len(expressions) > 1:
            if entry.directory is not None:
                yield from _descend(root, entry.directory, here, prefix, relative, expressions[1:], where)
            continue
        path = f"{prefix}/{relative}" if prefix else relative
        if entry.is_symlink:
            followed = _follow(root, path, where)
            yield Match(path, followed.real, relative, followed.entry, linked=True)
            continue
        yield Match(path, here, relative, entry)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Go's ``path.Match`` for one path component. Raises ``DockerfileError`` with its words on a bad pattern."""
    # What stands between two stars is taken where it is found first, for good: of one component nothing else can match more. Trying
    # all places instead takes time exponential in the number of stars, and pattern and names may be a stranger's.
    expression = ""
    starred = False
    length = 0
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            if pattern[position : position + 1] != "*":
                expression += ")(?>[^/]*?" if starred else "(?>[^/]*?"
                starred = True
            continue
        length += 1
        if char == "?":
            expression += "[^/]"
        elif char == "[":
            match = re.compile(
                r"(\^?)((?:[^\\\]-]|\\.)(?:-(?:[^\\\]-]|\\.))?(?:(?:[^\\\]-]|\\.)(?:-(?:[^\\\]-]|\\.))?)*)\]", re.DOTALL
            ).match(pattern, position)
            if match is None:
                raise DockerfileError(f"syntax error in pattern: {pattern!r}", remedy="A [ in a COPY source needs its ].")
            expression += _class(match.group(2), negated=bool(match.group(1)))
            position = match.end()
        elif char == "\\":
            if position >= len(pattern):
                raise DockerfileError(f"syntax error in pattern: {pattern!r}", remedy="A backslash needs a character after it.")
            expression += re.escape(pattern[position])
            position += 1
        else:
            expression += re.escape(char)
    if length > _LONGEST_NAME:
        return _NEVER
    if starred:
        # The last part stands at the end, not where it is found first.
        before, _, last = expression.rpartition("(?>[^/]*?")
        expression = f"{before}[^/]*{last}"
    return re.compile(expression + r"\Z", re.DOTALL)


def _class(items: str, *, negated: bool) -> str:
    """The expression of a class of characters. A range that ends before it begins has no character in it, and is no error."""
    ranges = [(match[1][-1], (match[2] or match[1])[-1]) for match in re.finditer(r"([^\\]|\\.)(?:-([^\\]|\\.))?", items, re.DOTALL)]
    inside = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not inside:
        return "[^/]" if negated else "(?!)"
    return f"[{'^' if negated else ''}{inside}]"


def _digest_of(matches: list[Match], exclude: tuple[str, ...], *, wildcard: bool) -> str:
    sha = sha256(b"list" if wildcard else _ONE)
    for match in matches:
        directory = match.entry.directory
        if (directory is None or match.linked) and _excludes_all(exclude):
            continue
        rules = _excluding(exclude) if directory is not None and not match.linked else None
        rows = _rows_below(directory, rules) if directory is not None and (rules is not None or match.followed) else None
        if rows == [] and rules is not None and rules.ignores(""):
            # A pattern like ``*`` matches the directory itself, which then counts as that of what is in it or not at all.
            continue
        # Of a path the last part alone, as in BuildKit until 0.25 (``contenthash/checksum.go``).
        sha.update(posixpath.basename(match.name).encode("utf-8", "surrogateescape") + b"\0")
        # The context root has no header of its own: its mode does not count.
        sha.update(match.entry.header() if match.real else b"root")
        if rows is None:
            sha.update(match.entry.digest())
            continue
        for path, mode, uid, gid, digest, _ in rows:
            followed = match.followed.get(path)
            if followed is not None:
                content = followed.entry.header() + followed.entry.digest()
            else:
                content = Entry(mode, uid=uid, gid=gid).header() + digest
            sha.update(path.encode("utf-8", "surrogateescape") + b"\0" + content)
    return sha.hexdigest()


def _excludes_all(exclude: tuple[str, ...]) -> bool:
    """Whether patterns like ``*`` leave out a source that is a file, or a link, itself."""
    rules = _excluding(exclude)
    return rules is not None and rules.ignores("")


def _excluding(exclude: tuple[str, ...]) -> IgnoreRules | None:
    return IgnoreRules([(0, pattern) for pattern in exclude], file=EXCLUDED) if exclude else None


def _rows_of_match(match: Match, exclude: tuple[str, ...]) -> list[Row]:
    entry = match.entry
    path = match.path
    if entry.directory is None:
        return [(path, entry.mode, entry.uid, entry.gid, entry.digest(), entry.target)]
    rows: list[Row] = [(path, entry.mode, entry.uid, entry.gid, entry.attributes(), None)] if path else []
    prefix = path + "/" if path else ""
    below = _rows_below(entry.directory, None if match.linked else _excluding(exclude))
    rows.extend((prefix + row[0], *row[1:]) for row in below)
    return rows


def _rows_below(directory: Directory, rules: IgnoreRules | None) -> list[Row]:
    """What is in a directory and not excluded, and the excluded directories that lead there: they are copied, too."""
    if rules is None:
        return list(rows_of(directory))
    rows: list[Row] = []
    above: list[Row] = []
    for row in rows_of(directory):
        while above and not row[0].startswith(f"{above[-1][0]}/"):
            above.pop()
        if not rules.ignores(row[0]):
            rows += above
            rows.append(row)
            above.clear()
        elif stat.S_ISDIR(row[1]):
            above.append(row)
    return rows


def _select_with_parents(root: Directory, selection: Selection) -> Selected:
    """What a pattern below the pivot matches, with all that is in it. Rule: include patterns of ``moby/patternmatcher``."""
    pivots = list(_wildcard(root, selection.pivot, "")) if has_wildcards(selection.pivot) else [resolve(root, selection.pivot)]
    directories = [(pivot, pivot.entry.directory) for pivot in pivots if pivot is not None and pivot.entry.directory is not None]
    if not directories:
        raise MissingSourceError(f'"{selection.pivot}": not found', remedy="The part before /./ must be a directory.")
    # ``**`` is any number of directories, none among them.
    parts = [None if part == "**" else compile_glob(part) for part in selection.path.split("/") if part]
    found: list[Match] = []

    def reached(places: set[int]) -> set[int]:
        """With the places in the pattern to which nothing has to be matched."""
        skipped = {place + 1 for place in places if place < len(parts) and parts[place] is None}
        return places if skipped <= places else reached(places | skipped)

    def walk(directory: Directory, real: str, relative: str, places: set[int]) -> None:
        for name in sorted(directory.entries()):
            following: set[int] = set()
            for place in places:
                part = parts[place]
                if part is None:
                    following.add(place)
                elif part.match(name) is not None:
                    following.add(place + 1)
            following = reached(following)
            if not following:
                continue
            entry = directory.entries()[name]
            here = f"{real}/{name}" if real else name
            below = f"{relative}/{name}" if relative else name
            if len(parts) in following:
                found.append(Match(below, here, below, entry))
            elif entry.directory is not None:
                walk(entry.directory, here, below, following)

    for pivot, directory in directories:
        if parts and parts != [None]:
            walk(directory, pivot.real, "", reached({0}) - {len(parts)})
        else:
            found.append(Match("", pivot.real, "", pivot.entry))
    if not found and not has_wildcards(selection.path):
        raise MissingSourceError(f'"{selection.path}": not found', remedy="Check the spelling and the ignore file.")
    return _selected(found, selection.exclude, wildcard=True)
