"""A small TypeScript program drawn at random, and what it comes to: known here by arithmetic, elsewhere only by compiling and running it.

A program is a few fragments. Each declares something, has an expression whose value the same draw computes in Python, and is written so
that neither a regular expression over the source nor the removal of types alone can follow it: values are computed by loops, classes and
enums; types stand between them; some of it (enums, namespaces with values, parameter properties) makes code of its own. Most of them
reckon with a number that the program finds in its environment when it runs: whoever runs it beforehand and writes down what came of it has
the answer to another question. The names of types never reach what a compiler writes, and the ``marker``, a string literal, always does:
that is how compiled code is told from source text that only moved (``step_roles``).

TypeScript handbook: enums, namespaces, classes (parameter properties), narrowing, generics. Numbers stay below 2**53, and below
2**31 where bits are counted, so that JavaScript and Python agree.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

WORDS: Final = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "grove", "harbor", "iris", "juniper", "kestrel", "lagoon")
_FRAGMENTS: Final = (3, 5)


class Given(NamedTuple):
    """The number that the program is given: ``constant`` that has it, and what it is, too large to try all."""

    constant: str
    number: int


class Fragment(NamedTuple):
    """``code``: declarations at the top of a module; ``expression``: of a string or a number, with ``value`` as JavaScript prints it;
    ``erased``: names of types in it."""

    code: str
    expression: str
    value: str
    erased: tuple[str, ...]


class Puzzle(NamedTuple):
    """``fragments``: declarations, in order; ``expression``: of the whole text; ``value``: that text, with ``marker`` in it verbatim, where
    the variable ``variable`` is ``given``."""

    fragments: tuple[Fragment, ...]
    expression: str
    value: str
    marker: str
    variable: str
    given: str

    @property
    def erased(self) -> tuple[str, ...]:
        """Names of types, which no compiled code has."""
        return tuple(name for fragment in self.fragments for name in fragment.erased)

    @property
    def code(self) -> str:
        """All declarations."""
        return "\n".join(fragment.code for fragment in self.fragments)


def name(draws: random.Random) -> str:
    """A name that nothing else has: for a variable, a file, a package."""
    return f"{draws.choice(WORDS)}{draws.getrandbits(32):08x}"


def draw_puzzle(draws: random.Random) -> Puzzle:
    """Draw a program."""
    marker = f"{draws.choice(WORDS)}{draws.getrandbits(64):016x}"
    given = Given(name(draws), draws.randint(10**8, 10**9))
    variable = f"{draws.choice(WORDS)}_{draws.getrandbits(32):08x}".upper()
    # One at least that more than the removal of types must follow, and one that reckons with what is given.
    makers: list[_Make] = [draws.choice(_MAKING_CODE), draws.choice(_RECKONING)]
    makers += draws.sample(_OTHERS, draws.randint(*_FRAGMENTS) - len(makers))
    draws.shuffle(makers)
    fragments = [_marked(draws, marker), *(make(draws, given) for make in makers)]
    draws.shuffle(fragments)
    fragments.insert(0, Fragment(f'const {given.constant}: number = Number(process.env["{variable}"] ?? 0);\n', "", "", ()))
    separator = draws.choice(("-", ".", "~", "_", "+"))
    said = fragments[1:]
    expression = "`" + separator.join(f"${{{fragment.expression}}}" for fragment in said) + "`"
    value = separator.join(fragment.value for fragment in said)
    return Puzzle(tuple(fragments), expression, value, marker, variable, str(given.number))


def _type_name(draws: random.Random) -> str:
    return name(draws).capitalize()


def _word(draws: random.Random) -> str:
    return draws.choice(WORDS)


def _marked(draws: random.Random, marker: str) -> Fragment:
    """The marker, through a type."""
    kind, field, constant = _type_name(draws), _word(draws), name(draws)
    code = f'interface {kind} {{ readonly {field}: string }}\nconst {constant}: {kind} = {{ {field}: "{marker}" }};\n'
    return Fragment(code, f"{constant}.{field}", marker, (kind,))


def _enum(draws: random.Random, _given: Given) -> Fragment:
    """An enum counts on by itself, and knows its names."""
    kind, first, second, third = (name(draws) for _ in range(4))
    start, factor, plus = draws.randint(3, 90), draws.randint(3, 90), draws.randint(3, 90)
    code = f"enum {kind} {{ {first} = {start}, {second}, {third} = {first} * {factor} + {plus} }}\n"
    value = f"{start * factor + plus}{second}"
    return Fragment(code, f"{kind}.{third} + {kind}[{kind}.{second}]", value, ())


def _constant_enum(draws: random.Random, _given: Given) -> Fragment:
    """An enum that leaves nothing but its values."""
    kind, first, second = (name(draws) for _ in range(3))
    start, shift = draws.randint(3, 900), draws.randint(2, 9)
    code = f"const enum {kind} {{ {first} = {start}, {second} = {first} << {shift} }}\n"
    return Fragment(code, f"{kind}.{second} - {kind}.{first}", str((start << shift) - start), ())


def _namespace(draws: random.Random, given: Given) -> Fragment:
    """A namespace with a value that only its own function sees."""
    space, kind, hidden, function = name(draws), _type_name(draws), name(draws), name(draws)
    one, two, three = (draws.randint(3, 9000) for _ in range(3))
    code = (
        f"namespace {space} {{\n  export interface {kind} {{ readonly size: number }}\n  const {hidden} = {one};\n"
        f"  export function {function}(value: {kind}): number {{ return value.size * {hidden} + {two}; }}\n}}\n"
    )
    return Fragment(code, f"{space}.{function}({{ size: {three} + {given.constant} }})", str((three + given.number) * one + two), (kind,))


def _parameter_properties(draws: random.Random, given: Given) -> Fragment:
    """A constructor that only declares, and stores all the same."""
    kind, generic, first, second, method = name(draws), _type_name(draws), _word(draws), f"{_word(draws)}Too", name(draws)
    value, times = draws.randint(100, 9999), draws.randint(2, 4)
    code = (
        f"class {kind}<{generic} extends number | string> {{\n"
        f"  constructor(private readonly {first}: {generic}, protected {second}: number = {times}) {{}}\n"
        f"  {method}(): string {{ return `${{this.{first}}}`.repeat(this.{second}); }}\n}}\n"
    )
    return Fragment(code, f"new {kind}<number>({value} + {given.constant}).{method}()", str(value + given.number) * times, (generic,))


def _loop(draws: random.Random, given: Given) -> Fragment:
    """A sum that nobody wrote down."""
    function = name(draws)
    start, factor, last, modulus = draws.randint(1, 999), draws.randint(3, 99), draws.randint(5, 60), draws.randint(1000, 999_999)
    code = (
        f"function {function}(last: number, sum: number = {start}): number {{\n"
        f"  for (let at: number = 1; at <= last; at += 1) {{ sum = (sum * {factor} + at) % {modulus}; }}\n  return sum;\n}}\n"
    )
    total = start + given.number
    for at in range(1, last + 1):
        total = (total * factor + at) % modulus
    return Fragment(code, f"{function}({last}, {start} + {given.constant})", str(total), ())


def _union(draws: random.Random, given: Given) -> Fragment:
    """Shapes that are told apart by a field."""
    kind, function, shapes, square, other = _type_name(draws), name(draws), name(draws), _word(draws), f"{_word(draws)}s"
    side, width, height = (draws.randint(2, 999) for _ in range(3))
    code = (
        f'type {kind} = {{ kind: "{square}"; side: number }} | {{ kind: "{other}"; width: number; height: number }};\n'
        f"const {function} = (shape: {kind}): number => {{\n  switch (shape.kind) {{\n"
        f'    case "{square}": return shape.side ** 2;\n    case "{other}": return shape.width * shape.height;\n  }}\n}};\n'
        f'const {shapes}: readonly {kind}[] = [{{ kind: "{other}", width: {width}, height: {height} }},\n'
        f'  {{ kind: "{square}", side: {side} + {given.constant} % 1000 }}];\n'
    )
    return Fragment(
        code,
        f"{shapes}.map({function}).reduce((one, two) => one + two, 0)",
        str(width * height + (side + given.number % 1000) ** 2),
        (kind,),
    )


def _tuple(draws: random.Random, given: Given) -> Fragment:
    """Some of a list of words, from the end."""
    constant, kind, function = name(draws), _type_name(draws), name(draws)
    words, rest = draws.sample(WORDS, 5), draws.randint(0, 1)
    listed = ", ".join(f'"{word}"' for word in words)
    code = (
        f"const {constant} = [{listed}] as const;\ntype {kind} = (typeof {constant})[number];\n"
        f'const {function} = (word: {kind}): string => [...word].reverse().join("");\n'
    )
    value = "".join(word[::-1] for at, word in enumerate(words) if (at + given.number) % 2 == rest)
    return Fragment(code, f'{constant}.filter((_, at) => (at + {given.constant}) % 2 === {rest}).map({function}).join("")', value, (kind,))


def _overloads(draws: random.Random, given: Given) -> Fragment:
    """A function with several signatures and one body."""
    function, word, number, plus = name(draws), _word(draws), draws.randint(1000, 99_999), draws.randint(1, 999)
    code = (
        f"function {function}(value: string): string;\nfunction {function}(value: number): string;\n"
        f"function {function}(value: string | number): string {{\n"
        f'  return typeof value === "number" ? (value + {plus}).toString(16) : value.toUpperCase();\n}}\n'
    )
    return Fragment(
        code, f'{function}({number} + {given.constant}) + {function}("{word}")', f"{number + given.number + plus:x}{word.upper()}", ()
    )


def _abstract(draws: random.Random, _given: Given) -> Fragment:
    """A class that leaves a part to another."""
    above, below, kind, method = name(draws), name(draws), _type_name(draws), name(draws)
    one, two = draws.randint(2, 9999), draws.randint(2, 9999)
    code = (
        f"interface {kind} {{ {method}(): number }}\n"
        f"abstract class {above} implements {kind} {{\n  protected abstract get part(): number;\n"
        f"  {method}(): number {{ return this.part * {one}; }}\n}}\n"
        f'class {below} extends {above} {{\n  protected override get part(): number {{ return "{method}".length + {two}; }}\n}}\n'
    )
    return Fragment(code, f"(new {below}() as {kind}).{method}()", str((len(method) + two) * one), (kind,))


def _keyed(draws: random.Random, given: Given) -> Fragment:
    """A field by its name."""
    kind, key, function, one, two = _type_name(draws), _type_name(draws), name(draws), name(draws), name(draws)
    first, second, factor = (draws.randint(2, 9999) for _ in range(3))
    code = (
        f"type {kind} = {{ {one}: number; {two}?: number }};\n"
        f"function {function}<{key} extends keyof {kind}>(from: {kind}, key: {key}): number {{ return from[key]! * {factor}; }}\n"
    )
    return Fragment(
        code,
        f'{function}({{ {one}: {first}, {two}: {second} + {given.constant} }}, "{two}")',
        str((second + given.number) * factor),
        (kind, key),
    )


def _arithmetic(draws: random.Random, given: Given) -> Fragment:
    """Numbers and operators, with a type that does not matter."""
    kind, constant = _type_name(draws), name(draws)
    one, two, three, four = (draws.randint(2, 9999) for _ in range(4))
    code = f"type {kind} = number;\nconst {constant} = (({one} + {given.constant}) ^ {two}) as unknown as {kind};\n"
    return Fragment(code, f"{constant} * {three} - ({four} >> 1)", str(((one + given.number) ^ two) * three - (four >> 1)), (kind,))


_Make = Callable[[random.Random, Given], Fragment]
_MAKING_CODE: Final[tuple[_Make, ...]] = (_enum, _constant_enum, _namespace, _parameter_properties)
_OTHERS: Final[tuple[_Make, ...]] = (*_MAKING_CODE, _loop, _union, _tuple, _overloads, _abstract, _keyed, _arithmetic)
_RECKONING: Final[tuple[_Make, ...]] = (_namespace, _parameter_properties, _loop, _union, _overloads, _keyed, _arithmetic)
