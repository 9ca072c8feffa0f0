"""COPY and ADD as an operation: from where, to where, and how (BuildKit's ``dispatchCopy``)."""

from __future__ import annotations

import os
import posixpath
import re
from typing import Final, Literal

from layerlab.context.select import has_wildcards
from layerlab.dockerfile import expand_body, parse_heredoc
from layerlab.dockerfile.ast import Instruction, Stage
from layerlab.dockerfile.remote import checksum_problem, digest_problem, file_name, kind_of
from layerlab.errors import DockerfileError, LayerlabError
from layerlab.solver.graph.normalize import clean, normal_owner, normalize, truthy
from layerlab.solver.graph.scope import Lowered, Scope, StageState, Variables
from layerlab.solver.ops import CopyOp, Source

# No file system has longer names.
_LONGEST_FILE: Final = 255


def lower_copy(scope: Scope, stage: Stage, state: StageState, at: Instruction, *, first: bool) -> Lowered:
    """``first``: whether nothing in its stage makes a layer before it. Raises ``DockerfileError``, and what ``remote`` raises."""
    origin = at.flag("from") or None
    chown = scope.expand(at.flag("chown") or "", state.env, at)
    chmod = at.flag("chmod") or ""
    if scope.like == "26":
        # What is no octal number, a variable among it, had no effect.
        chmod = chmod if re.fullmatch("[0-7]+", chmod) else ""
    else:
        chmod = scope.expand(chmod, state.env, at)
    parents = truthy(at.flag("parents"))
    exclude = at.flag_values("exclude")
    words = [scope.expand(word, state.env, at) for word in at.args]
    cwd = state.image.get("WorkingDir") or "/"
    dest = normalize(cwd, "./" if words[-1] in (".", "") else words[-1], keep_slash=True)
    if scope.like == "26" and dest.endswith("/.") and not words[-1].startswith("/"):
        dest = dest[:-2] or "/"
    documents = {doc.name: doc for doc in at.heredocs}
    checksum = scope.expand(at.flag("checksum") or "", state.env, at)
    if checksum:
        problem = checksum_problem([word for raw, word in zip(at.args[:-1], words[:-1], strict=True) if parse_heredoc(raw) is None])
        if problem:
            raise scope.error(at, problem, "--checksum stands before one URL or repository.")
    sources: list[Source] = []
    names: list[str] = []
    inline: list[Source] = []
    for raw, word in zip(at.args[:-1], words[:-1], strict=True):
        marker = parse_heredoc(raw)
        if marker is not None and marker.name in documents:
            document = documents[marker.name]
            file = clean(f"/{marker.name}")
            if file.count("/") > 1 or file == "/":
                # BuildKit writes it into an empty root first (``preparing inline document``).
                problem = f"open {file}: no such file or directory" if file != "/" else "open : is a directory"
                raise scope.error(at, problem, "A heredoc is called as its file is to be: write the directory in the destination.")
            content = _heredoc(scope, document.content, state, at) if document.expand else document.content
            inline.append(Source(kind="inline", path=marker.name, content=content))
            continue
        names.append(word)
        elsewhere = kind_of(word)
        if elsewhere != "local":
            sources.append(_elsewhere(scope, at, word, elsewhere, checksum))
            continue
        pivot = ""
        path = word
        if parents:
            before, dot, after = word.partition("/./")
            pivot, path = (posixpath.normpath("/" + before), after) if dot else ("/", word)
        absolute = clean(posixpath.join("/", path))
        wild = has_wildcards(absolute)
        if origin is None:
            scope.uses_context = True
            if scope.observer is not None:
                scope.observer.copied(at, word)
            sources.append(Source(kind="context", path=absolute, wildcard=wild, pivot=pivot))
        else:
            sources.append(_from(scope, origin, absolute, stage, at, wildcard=wild, pivot=pivot))
    same = first and bool(sources) and scope.is_parent(stage, sources[0])
    # With the classic store, which was the usual one, --link had no effect.
    link = truthy(at.flag("link")) and not chmod and scope.like != "26"
    flag = at.flag("unpack")
    op = CopyOp(
        sources=(*sources, *inline),
        dest=dest,
        owner=normal_owner(chown),
        chmod=_chmod(scope, chmod, at),
        link=link,
        # A heredoc is never unpacked, so that ADD and COPY of one are the same operation.
        unpack=any(source.kind not in ("http", "git") for source in sources)
        and (truthy(flag) if flag is not None else at.keyword == "ADD"),
        parents=parents,
        exclude=exclude,
        same_as_parent=same and not link,
    )
    message = at.keyword
    message += " --parents" if parents else ""
    message += f" --chown={chown}" if chown else ""
    message += f" --chmod={chmod}" if chmod else ""
    message = " ".join([message, *names, *(f"<<{source.path}" for source in inline), words[-1]])
    return Lowered(scope.printed(state, at), op, message + " # buildkit")


def _elsewhere(scope: Scope, at: Instruction, word: str, kind: Literal["http", "git"], checksum: str) -> Source:
    """What ADD takes from a web server, or from a git repository."""
    if at.keyword == "COPY":
        what = "a URL" if kind == "http" else "a git ref"
        raise scope.error(at, f"source can't be {what} for COPY", "ADD takes URLs and repositories.")
    unpack = truthy(at.flag("unpack"))
    if kind == "git":
        source = Source(kind="git", path="/", url=word, checksum=checksum, unpack=unpack)
    else:
        problem = digest_problem(checksum) if checksum else ""
        if problem:
            raise scope.error(at, problem, "Write --checksum=sha256: and 64 hexadecimal digits.")
        name = file_name(word)
        if name == ".." or "\0" in name or not name.isprintable() or len(os.fsencode(name)) > _LONGEST_FILE:
            raise scope.error(at, f"{word} has no name for a file", "Give a URL that ends with the name of the file.")
        source = Source(kind="http", path=f"/{name}", url=word, checksum=checksum, unpack=unpack)
    if source not in scope.remotes and scope.observer is None:
        try:
            found = scope.remote(source)
        except LayerlabError as error:
            if error.line is None:
                error.file, error.line = scope.file, at.line
            raise
        if found is not None:
            scope.remotes[source] = found
    return source


def _heredoc(scope: Scope, content: str, state: StageState, at: Instruction) -> str:
    variables = Variables(state.env)
    result: str | None = None
    try:
        result = expand_body(content, variables, allowance=scope.allowance)
    except DockerfileError as error:
        raise scope.error(at, error.message, error.remedy) from error
    finally:
        if scope.observer is not None:
            scope.observer.expanded(at, content, result, variables)
    return result


def _chmod(scope: Scope, text: str, at: Instruction) -> str:
    if not text:
        return ""
    if re.fullmatch(r"[0-7]+", text):
        value = int(text, 8)
        if value <= 0o7777 or scope.like == "26":
            return f"{value & 0o7777:o}"
    elif re.fullmatch(r"[ugoa]*([-+=][rwxXstugo]*)+(,[ugoa]*([-+=][rwxXstugo]*)+)*", text):
        return text
    if not text[0].isdigit():
        raise scope.error(at, f"invalid chmod parameter: '{text}': invalid syntax", "For example --chmod=u=rwX,go=rX.")
    raise scope.error(
        at, f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", "For example --chmod=755."
    )


def _from(scope: Scope, name: str, path: str, stage: Stage, at: Instruction, *, wildcard: bool, pivot: str = "") -> Source:
    found = scope.copied_stage(name, at)
    if found is None:
        scope.image(name, at)
        return Source(kind="image", path=path, image=name, wildcard=wildcard, pivot=pivot)
    if found >= stage.index:
        current = stage.name or f"stage-{stage.index}"
        raise scope.error(
            at, f'cannot copy from stage "{name}", it needs to be defined before current stage "{current}"', "Move that stage up."
        )
    return Source(kind="stage", path=path, stage=found, wildcard=wildcard, pivot=pivot)
