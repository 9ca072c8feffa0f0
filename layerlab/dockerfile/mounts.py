"""``RUN --mount=…``: what a mount is, and reading its options.

Rule: BuildKit ``frontend/dockerfile/instructions/commands_runmount.go`` for the options and
``dockerfile2llb/convert_runmount.go``, ``convert_secrets.go``, ``convert_ssh.go`` for the defaults.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Literal, NoReturn, cast

from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.suggest import did_you_mean
from layerlab.errors import DockerfileError
from layerlab.records import Record

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
WITH_OWNER = frozenset({"secret", "ssh", "cache"})
OPTIONS = (
    *("type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid"),
    *("src", "dst", "destination", "ro", "rw", "readwrite", "env"),
)
SAME_OPTION = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

# Go's units.RAMInBytes gives an int64.
_TOO_LARGE = 1 << 63
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:([kmgtp])(?:i?b)?|b)?\Z", re.IGNORECASE)

_QUOTED_FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)', re.DOTALL)


class Mount(Record, frozen=True):
    """One mount of a RUN, defaults filled in.

    ``source``     path in ``from_stage`` or, without it, in the build context; empty for its root. Only bind and cache have one.
    ``target``     as written, possibly relative to the working directory. Secret: ``/run/secrets/NAME`` when neither target nor
                   env is given, empty when only env is. Ssh: empty for the default socket path.
    ``id``         cache: the cleaned target unless given. Secret: ``source`` or the last component of the target unless given. Ssh:
                   ``"default"`` unless given.
    ``sharing``    cache only, ``"shared"`` unless given; else empty.
    ``read_only``  true for bind, secret and ssh unless ``rw`` is given.
    ``size``       tmpfs: bytes, 0 for no limit.
    ``mode``, ``uid``, ``gid``  as given. Where one of them is given, the others count as 0 and the mode as 0755 (cache), 0400 (secret) or
                   0600 (ssh).
    ``env``        secret: the variable that gets its value; an empty string stands for the default name.
    """

    type: MountType = "bind"
    source: str = ""
    target: str = ""
    from_stage: str = ""
    id: str = ""
    sharing: Sharing | Literal[""] = ""
    read_only: bool = True
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


def parse_mount(
    value: str,
    expand: Callable[[str], str] = str,
    *,
    file: str | None = None,
    line: int | None = None,
    column: int | None = None,
) -> Mount:
    """Read the value of one ``--mount``.

    Args:
        value: comma-separated ``key=value`` fields (a field with a comma in it goes in double quotes).
        expand: replaces variables in each value; without it they stay as written.
        file, line, column: where the flag stands, for the error.

    Raises:
        DockerfileError: for an unknown or unusable option; and whatever ``expand`` raises.
    """
    try:
        return _Reader(expand).read(value)
    except _MountError as error:
        raise DockerfileError(error.message, file=file, line=line, column=column, remedy=error.remedy) from None


def check_mount(value: str) -> None:
    """The part of the rules that does not depend on variables; BuildKit applies it when it parses the file.

    Raises:
        DockerfileError: for a value that is no list of fields, or a variable in ``from``.
    """
    try:
        for field in _fields(value):
            key, equals, text = field.partition("=")
            dollar = text.find("$")
            if equals and key.lower() == "from" and dollar != -1 and dollar != len(text) - 1:
                raise _MountError(
                    f"'{key.lower()}' doesn't support variable expansion, define alias stage instead",
                    "Add a stage `FROM $IMAGE AS name` and write from=name.",
                )
    except _MountError as error:
        raise DockerfileError(error.message, remedy=error.remedy) from None


def mount_origin(value: str) -> str:
    """The stage or image that the ``from`` of a mount names, empty without one. ``value`` passed ``check_mount``."""
    fields = (field.partition("=") for field in _fields(value))
    return next((text for key, _, text in reversed(list(fields)) if key.lower() == "from"), "")


class _MountError(Exception):
    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class _Reader:
    """Takes the fields in order: ``required`` and ``size`` need the type before them, as in BuildKit."""

    def __init__(self, expand: Callable[[str], str]) -> None:
        self.expand = expand
        self.type = "bind"
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.read_only: bool | None = None
        self.required = False

    def read(self, value: str) -> Mount:
        for field in _fields(value):
            key, equals, text = field.partition("=")
            self._take(key.lower(), self.expand(text) if equals else None, field)
        self._check()
        return self._mount()

    def _take(self, written: str, value: str | None, field: str) -> None:
        key = SAME_OPTION.get(written, written)
        if key in ("readonly", "readwrite"):
            flag = True if value is None else _boolean(written, value)
            self.read_only = flag if key == "readonly" else not flag
        elif key == "required":
            if self.type not in ("secret", "ssh"):
                self._unexpected(written, "secret and ssh")
            self.required = True if value is None else _boolean(written, value)
        elif value is None:
            _fail(f"invalid field '{field}' must be a key=value pair", "Separate the options with commas, without blanks.")
        elif key == "type":
            self.type = value.lower()
            if self.type not in TYPES:
                _fail(f"unsupported mount type {quoted(value)}{did_you_mean(value, TYPES)}", f"The types are {', '.join(TYPES)}.")
        elif key in ("from", "source", "target", "id", "env"):
            self.texts[key] = value
        elif key == "sharing":
            self.texts[key] = value.lower()
            if value.lower() not in SHARINGS:
                _fail(
                    f"unsupported sharing value {quoted(value)}{did_you_mean(value, SHARINGS)}",
                    f"Write one of {', '.join(SHARINGS)}.",
                )
        elif key == "size":
            if self.type != "tmpfs":
                self._unexpected(written, "tmpfs")
            self.numbers[key] = _size(written, value)
        elif key in ("mode", "uid", "gid"):
            self.numbers[key] = _number(key, value, base=8 if key == "mode" else 10)
        else:
            _fail(
                f"unexpected key '{written}' in '{field}'{did_you_mean(written, OPTIONS)}",
                f"The options are {', '.join(OPTIONS)}.",
            )

    def _unexpected(self, key: str, types: str) -> NoReturn:
        _fail(f"unexpected key '{key}' for mount type '{self.type}'", f"Only {types} mounts have it; write type= before it.")

    def _check(self) -> None:
        if self.type not in WITH_OWNER:
            for key in ("mode", "uid", "gid"):
                if key in self.numbers:
                    _fail(f'{key} not allowed for "{self.type}" type mounts', f"Remove {key}.")
        text = self.texts.get
        if self.type == "secret":
            if text("from"):
                _fail("secret mount should not have a from", "Remove from.")
            if text("sharing"):
                _fail("secret mount should not define sharing", "Remove sharing.")
            if not (text("source") or text("target") or text("id")):
                _fail("invalid secret mount. one of source, target required", "Write id=NAME.")
            if text("source") and text("id"):
                _fail("both source and id can't be set", "Keep id only.")
        if text("sharing") and self.type != "cache":
            _fail(f"invalid cache sharing set for {self.type} mount", "Remove sharing; only cache mounts have it.")
        if self.type == "ssh" and text("source"):
            _fail("ssh does not support source", "Write id=NAME.")

    def _mount(self) -> Mount:
        source, target = self.texts.get("source", ""), self.texts.get("target", "")
        identity, sharing, env = self.texts.get("id", ""), self.texts.get("sharing", ""), self.texts.get("env")
        if self.type == "cache":
            identity = identity or _clean(target)
            sharing = sharing or "shared"
        elif self.type == "secret":
            identity = source or identity or _base(target)
            source = ""
            if not target and env is None:
                target = f"/run/secrets/{_base(identity)}"
        elif self.type == "ssh":
            identity = identity or "default"
        return Mount(
            type=cast(MountType, self.type),
            source=source,
            target=target,
            from_stage=self.texts.get("from", ""),
            id=identity,
            sharing=cast("Sharing | Literal['']", sharing),
            read_only=self.read_only if self.read_only is not None else self.type not in ("cache", "tmpfs"),
            required=self.required,
            size=self.numbers.get("size", 0),
            mode=self.numbers.get("mode"),
            uid=self.numbers.get("uid"),
            gid=self.numbers.get("gid"),
            env=env,
        )


def _fail(message: str, remedy: str | None = None) -> NoReturn:
    raise _MountError(message, remedy)


def _fields(value: str) -> list[str]:
    """The fields of one CSV record, with the strict quoting of Go's ``encoding/csv``."""
    remedy = 'Separate the options with commas; put a field with a comma in double quotes, two of them for one: "a""b".'
    if not value:
        _fail("failed to parse csv mounts: EOF", "Write --mount=type=bind,source=PATH,target=PATH or another type.")
    fields: list[str] = []
    position = 0
    while True:
        if value.startswith('"', position):
            closing = _QUOTED_FIELD.match(value, position)
            if closing is None:
                _fail('failed to parse csv mounts: extraneous or missing " in quoted-field', remedy)
            fields.append(closing[1].replace('""', '"'))
            position = closing.end()
        else:
            end = value.find(",", position)
            end = len(value) if end < 0 else end
            field = value[position:end]
            if '"' in field:
                _fail('failed to parse csv mounts: bare " in non-quoted-field', remedy)
            fields.append(field)
            position = end
        if position == len(value):
            return fields
        position += 1


def _boolean(key: str, value: str) -> bool:
    if value not in TRUE and value not in FALSE:
        _fail(f"invalid value for {key}: {value}", "Write true or false.")
    return value in TRUE


def _number(key: str, value: str, *, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    number = int(value, base) if value and len(value) <= 64 and all(char in digits for char in value) else -1
    if not 0 <= number < 2**32:
        _fail(f"invalid value {value} for {key}", "Write an octal number, as 0755." if base == 8 else "Write a number.")
    return number


def _size(key: str, value: str) -> int:
    match = _SIZE.match(value)
    if match is None or len(match[1]) > 30:
        _fail(f"invalid value for {key}: {value}", "Write bytes, or a number with k, m or g behind it.")
    power = " kmgtp".index(match[2].lower()) if match[2] else 0
    size = int(float(match[1]) * 1024**power)
    if size >= _TOO_LARGE:
        _fail(f"invalid value for {key}: {value}", "Write a size that a machine can have.")
    return size


def _clean(path: str) -> str:
    """Go's ``path.Clean``: like ``normpath``, but two leading slashes become one."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _base(path: str) -> str:
    """Go's ``path.Base``: the last component, trailing slashes ignored."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"
