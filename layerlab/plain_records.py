"""Records in plain Python, for where there is no msgspec: of ``msgspec.Struct`` what the solver needs, and what it writes as JSON.

A class is cheap to make: nothing is compiled. Its instances are slower than msgspec's; a solution has some hundred of them.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

T = TypeVar("T")


class UnsetType:
    """The type of ``UNSET``: a field that nothing is said of."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = UnsetType()


class _RecordType(type):
    """Makes slots of annotations, and remembers defaults. Of the options of ``Struct`` only ``frozen`` means something here."""

    __fields__: tuple[str, ...]
    __defaults__: dict[str, Any]
    __frozen__: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, frozen: bool = False, **_options: object
    ) -> _RecordType:
        own = [field for field, kind in namespace.get("__annotations__", {}).items() if not str(kind).startswith(("ClassVar", "Final"))]
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        made = super().__new__(mcs, name, bases, {**namespace, "__slots__": tuple(own)})
        above = [base for base in bases if isinstance(base, _RecordType)]
        made.__fields__ = (*(field for base in above for field in base.__fields__), *own)
        made.__defaults__ = {**{field: value for base in above for field, value in base.__defaults__.items()}, **defaults}
        made.__frozen__ = frozen or any(base.__frozen__ for base in above)
        return made


class Record(metaclass=_RecordType):
    """What has fields, by its annotations, and is equal to one of its class that has the same."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kind = type(self)
        fields, defaults = kind.__fields__, kind.__defaults__
        if len(args) > len(fields):
            raise TypeError(f"{kind.__name__} takes {len(fields)} values, and was given {len(args)}")
        given = dict(zip(fields, args, strict=False))
        wrong = [name for name in kwargs if name not in fields or name in given]
        if wrong:
            raise TypeError(f"{kind.__name__} has no {wrong[0]}, or was given it twice")
        given.update(kwargs)
        for field in fields:
            if field in given:
                value = given[field]
            elif field in defaults:
                value = defaults[field]
                # Nobody shares an empty list.
                value = value.copy() if isinstance(value, list | dict | set) else value
            else:
                raise TypeError(f"{kind.__name__} lacks {field}")
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: object) -> None:
        if type(self).__frozen__:
            raise AttributeError(f"{type(self).__name__} is frozen")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _values(self) == _values(other)

    def __hash__(self) -> int:
        if not type(self).__frozen__:
            raise TypeError(f"{type(self).__name__} can change, and has no hash")
        return hash((type(self), *_values(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={value!r}" for field, value in zip(type(self).__fields__, _values(self), strict=True))
        return f"{type(self).__name__}({shown})"


def _values(record: object) -> tuple[object, ...]:
    fields: tuple[str, ...] = getattr(type(record), "__fields__", ())
    return tuple(getattr(record, field) for field in fields)


def replace(record: T, **changes: object) -> T:
    """The record with some fields changed."""
    kind = type(record)
    fields: tuple[str, ...] = getattr(kind, "__fields__", ())
    return kind(**{**dict(zip(fields, _values(record), strict=True)), **changes})


def encode_json(value: object) -> bytes:
    """Compact JSON of plain values, byte for byte as msgspec writes it: cache keys are digests of it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
