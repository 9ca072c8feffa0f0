"""Rules on what instructions mean: variables, base images, what a stage says twice.

Rule: BuildKit ``dockerfile2llb/convert.go``, ``convert_expose.go`` and ``validations.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from layerlab.context.ignore import IgnoreRules, clean_path
from layerlab.dockerfile import expand
from layerlab.dockerfile.ast import Dockerfile, Instruction, Stage
from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.suggest import Hints
from layerlab.errors import DockerfileError
from layerlab.linter.findings import Findings
from layerlab.linter.text import written
from layerlab.platform import PLATFORM_ARGUMENTS, normal_platform
from layerlab.solver.graph import Observer, Variables
from layerlab.solver.ops import BaseImage

_SECRET: Final = re.compile(
    r"(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE | re.ASCII
)
_PUBLIC: Final = re.compile(r"(?:_|^)public(?:_|$)", re.IGNORECASE | re.ASCII)
# They are for the build and not for its environment.
_NOT_SET: Final = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
# The last of each is the one that counts.
_ONCE: Final = frozenset({"CMD", "ENTRYPOINT", "HEALTHCHECK"})


class _Seen:
    """What a stage has said so far. ``arguments``: names that an ARG declares. ``last``: of what counts once."""

    def __init__(self, parent: _Seen | None) -> None:
        self.arguments: set[str] = set(parent.arguments) if parent is not None else set()
        self.workdir: bool = parent is not None and parent.workdir
        self.last: dict[str, Instruction] = {}
        self.words: _Words | None = None


class _Words:
    """The defaults of the ARG ``at``, each of which is asked about. ``given``: those of arguments that the build is given."""

    def __init__(self, at: Instruction, build_args: Mapping[str, str]) -> None:
        self.at = at
        self.given = {value for key, value in at.pairs if value is not None and key in build_args}

    def before(self, word: str) -> set[str]:
        """Names of the ARG that stand before a default, or all."""
        found: set[str] = set()
        for key, value in self.at.pairs:
            if value == word:
                break
            found.add(key)
        return found


class Stages(Observer):
    """Looks on while the graph is made."""

    def __init__(self, dockerfile: Dockerfile, ignore: IgnoreRules, build_args: Mapping[str, str], findings: Findings) -> None:
        self._dockerfile = dockerfile
        self._ignore = ignore
        self._build_args = build_args
        self._findings = findings
        self._stages = {stage.from_instruction.line: stage for stage in dockerfile.stages}
        self._globals = [key for at in dockerfile.meta_args for key, _ in at.pairs]
        self._bases: dict[int, str] = {}
        self._seen: dict[int, _Seen] = {}
        self._current = _Seen(None)
        self._meta_args = set(map(id, dockerfile.meta_args))
        self._hints = Hints()

    def expanded(self, at: Instruction, word: str, result: str | None, used: Variables) -> None:
        """See ``Observer``. What an error was read up to is spoken of, too."""
        if at.keyword == "FROM":
            self._from(at, word, result, used)
        elif id(at) not in self._meta_args:
            self._undefined(at, word, used)
            if at.keyword == "ARG" and result is None:
                # Of an ARG each name is looked at before its default.
                self._secrets(at, [key for key, _ in at.pairs][: [value for _, value in at.pairs].index(word) + 1])
            if at.keyword == "WORKDIR" and result is not None:
                if not self._current.workdir and not result.startswith("/"):
                    detail = f"Relative workdir {quoted(result)} can have unexpected results if the base image changes"
                    self._findings.add("WorkdirRelativePath", at, detail)
                self._current.workdir = True

    def base(self, stage: Stage, name: str, image: BaseImage, platform: str) -> None:
        """See ``Observer``."""
        system, architecture = image.config.get("os"), image.config.get("architecture")
        if system and architecture and platform.split("/")[:2] != [system, architecture]:
            found = f"{system}/{architecture}"
            detail = f"Base image {name} was pulled with platform {quoted(found)}, expected {quoted(platform)} for current build"
            self._findings.add("InvalidBaseImagePlatform", stage.from_instruction, detail)

    def reached(self, stage: Stage, at: Instruction, *, shell: bool) -> None:
        """See ``Observer``."""
        if stage.index not in self._seen:
            below = [other for other in self._dockerfile.stages[: stage.index] if other.name == self._bases[stage.from_instruction.line]]
            self._seen[stage.index] = _Seen(self._seen.get(below[-1].index) if below else None)
        seen = self._current = self._seen[stage.index]
        name = written(at)
        if at.keyword in _ONCE:
            if (before := seen.last.get(at.keyword)) is not None:
                detail = f"Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                self._findings.add("MultipleInstructionsDisallowed", before, detail)
            seen.last[at.keyword] = at
        if at.keyword in ("CMD", "ENTRYPOINT") and at.form == "shell" and not shell:
            detail = f"JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            self._findings.add("JSONArgsRecommended", at, detail)
        if at.keyword == "ARG" and all(value is None for _, value in at.pairs):
            seen.arguments.update(key for key, _ in at.pairs)

    def resolved(self, at: Instruction) -> None:
        """See ``Observer``."""
        name = written(at)
        if at.legacy:
            self._findings.add("LegacyKeyValueFormat", at, f'"{name} key=value" should be used instead of legacy "{name} key value" format')
        if at.keyword in ("ENV", "ARG"):
            self._secrets(at, [key for key, _ in at.pairs])

    def _secrets(self, at: Instruction, keys: list[str]) -> None:
        for key in keys:
            if _SECRET.search(key) and not _PUBLIC.search(key):
                detail = f"Do not use ARG or ENV instructions for sensitive data ({at.keyword} {quoted(key)})"
                self._findings.add("SecretsUsedInArgOrEnv", at, detail)

    def copied(self, at: Instruction, source: str) -> None:
        """See ``Observer``."""
        if _ignored(self._ignore, source):
            verb = "Add" if at.keyword == "ADD" else "Copy"
            self._findings.add("CopyIgnoredFile", at, f"Attempting to {verb} file {quoted(source)} that is excluded by .dockerignore")

    def exposed(self, at: Instruction, port: str) -> None:
        """See ``Observer``."""
        host, _, container = port.rpartition(":")
        protocol = container.partition("/")[2]
        if protocol != protocol.lower():
            self._findings.add("ExposeProtoCasing", at, f"Defined protocol '{port}' in EXPOSE instruction should be lowercase")
        if host.strip(":"):
            detail = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            self._findings.add("ExposeInvalidFormat", at, detail)

    def _undefined(self, at: Instruction, word: str, used: Variables) -> None:
        seen = self._current
        if at.keyword == "ARG":
            if seen.words is None or seen.words.at is not at:
                seen.words = _Words(at, self._build_args)
                # Of its own names the first word knows those before it; when the next is read they all are declared.
                early = seen.words.before(word)
                missing = [name for name in used.missing if name not in seen.arguments and name not in early]
                seen.arguments.update(key for key, _ in at.pairs)
            else:
                missing = [name for name in used.missing if name not in seen.arguments]
            if word in seen.words.given:
                return
        else:
            missing = [name for name in used.missing if name not in seen.arguments]
        for name in missing:
            if name not in _NOT_SET:
                self._findings.add("UndefinedVar", at, f"Usage of undefined variable '${name}'{self._hint(name, used)}")

    def _hint(self, name: str, known: Mapping[str, str]) -> str:
        hint = self._hints.did_you_mean(name, known)
        return hint.replace("(did you mean ", "(did you mean $") if hint else ""

    def _from(self, at: Instruction, word: str, result: str | None, used: Variables) -> None:
        known = dict.fromkeys([*self._globals, *used])
        for name in used.missing:
            if name not in known:
                detail = f"FROM argument '{name}' is not declared{self._hints.did_you_mean(name, known)}"
                self._findings.add("UndefinedArgInFrom", at, detail)
        if result is None:
            return
        if at.line not in self._bases:
            self._bases[at.line] = result
        else:
            self._platform(at, word, result, used)

    def _platform(self, at: Instruction, word: str, result: str, used: Variables) -> None:
        if used.found == {"TARGETPLATFORM"} and not used.missing and result == used["TARGETPLATFORM"]:
            detail = f"Setting platform to predefined {word} in FROM is redundant as this is the default behavior"
            self._findings.add("RedundantTargetPlatform", at, detail)
        if not used.found and not used.missing:
            try:
                system, architecture = normal_platform(result).split("/")[:2]
            except ValueError:
                return
            name = self._stages[at.line].name or ""
            if system not in name and architecture not in name:
                detail = f"FROM --platform flag should not use constant value {quoted(result)}"
                self._findings.add("FromPlatformFlagConstDisallowed", at, detail)


def check_defaults(dockerfile: Dockerfile, findings: Findings, is_reference: Callable[[str], bool]) -> None:
    """That each stage has a base image when nobody gives an argument."""
    environment = {**PLATFORM_ARGUMENTS, "TARGETSTAGE": "default"}
    try:
        for at in dockerfile.meta_args:
            for key, default in at.pairs:
                if default is not None:
                    environment[key] = expand(default, environment, escape=dockerfile.escape)
        for stage in dockerfile.stages:
            if not is_reference(expand(stage.base, environment, escape=dockerfile.escape)):
                detail = f"Default value for ARG {stage.base} results in empty or invalid base image name"
                findings.add("InvalidDefaultArgInFrom", stage.from_instruction, detail)
    except DockerfileError:
        # It is an error of the build, and said there.
        return


def _ignored(rules: IgnoreRules, path: str) -> bool:
    """``MatchesOrParentMatches`` of moby/patternmatcher, for a path as it is written."""
    folder = clean_path(path.rpartition("/")[0] + "/" if "/" in path else ".")
    above = [] if folder == "." else folder.split("/")
    places = [path, *("/".join(above[: depth + 1]) for depth in range(len(above)))]
    ignored = False
    for pattern in rules.patterns:
        if pattern.exclusion == ignored and any(map(pattern.matches, places)):
            ignored = not pattern.exclusion
    return ignored
