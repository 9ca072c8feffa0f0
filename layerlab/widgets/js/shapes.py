"""Makes src/shapes.ts, the front end's types of what the kernel sends and hears, from ``layerlab.widgets.shapes``.

Run by ``./lab build-assets``; no part of the installed package. What it writes is formatted as Biome formats it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from layerlab.widgets import scale, shapes

FILE: Final = Path(__file__).parent / "src" / "shapes.ts"
_HEAD: Final = "// Made from layerlab/widgets/shapes.py by ./lab build-assets: change it there.\n"
_WIDTH: Final = 120
_SIMPLE: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_NAMES: Final = {tuple(sorted(get_args(words))): name for name, words in shapes.WORDS.items()}


def typescript() -> str:
    """The text of src/shapes.ts."""
    roots = (*shapes.STATES, *shapes.MESSAGES.values())
    schemas, components = msgspec.json.schema_components(roots, ref_template="{name}")
    words = (
        _wrapped(f"export type {name} =", [json.dumps(word) for word in sorted(get_args(known))], ";")
        for name, known in shapes.WORDS.items()
    )
    parts = [_HEAD, *words, *(_declared(name, schema) for name, schema in components.items())]
    messages = schemas[len(shapes.STATES) :]
    parts += [_wrapped(f"export type {name} =", _members(schema), ";") for name, schema in zip(shapes.MESSAGES, messages, strict=True)]
    marks = "".join(f"  [{json.dumps(size)}, {height}],\n" for size, height in scale.MARKS.items())
    parts.append(f"// Sizes of layers, and their heights in pixels.\nexport const SCALE: readonly [string, number][] = [\n{marks}];\n")
    return "\n".join(parts)


def _declared(name: str, schema: dict[str, Any]) -> str:
    if schema["type"] == "array":
        required = schema["minItems"]
        items = [_type(item) + ("" if number < required else "?") for number, item in enumerate(schema["prefixItems"])]
        return f"export type {name} = [{', '.join(items)}];\n"
    fields = []
    for field, shape in schema["properties"].items():
        mark = "" if field in schema["required"] else "?"
        fields.append(_wrapped(f"  {field}{mark}:", _members(shape), ";"))
    return f"export interface {name} {{\n{''.join(fields)}}}\n"


def _wrapped(head: str, members: list[str], end: str) -> str:
    """A union on one line, or on one line for each of its members."""
    line = f"{head} {' | '.join(members)}{end}\n"
    if len(line) <= _WIDTH + 1:
        return line
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    return f"{head}\n" + "\n".join(f"{indent}| {member}" for member in members) + f"{end}\n"


def _members(schema: dict[str, Any]) -> list[str]:
    if "anyOf" in schema:
        return [member for each in schema["anyOf"] for member in _members(each)]
    if "enum" in schema:
        name = _NAMES.get(tuple(schema["enum"]))
        return [name] if name else [json.dumps(value, ensure_ascii=False) for value in schema["enum"]]
    if "$ref" in schema:
        return [schema["$ref"]]
    if schema["type"] == "array":
        inner = _type(schema["items"])
        return [f"({inner})[]" if " | " in inner else f"{inner}[]"]
    if schema["type"] == "object":
        return [f"Record<string, {_type(schema['additionalProperties'])}>"]
    return [_SIMPLE[schema["type"]]]


def _type(schema: dict[str, Any]) -> str:
    return " | ".join(_members(schema))


if __name__ == "__main__":
    FILE.write_text(typescript(), encoding="utf-8")
