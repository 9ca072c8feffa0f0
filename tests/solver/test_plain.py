"""The solver needs the standard library alone, and says the same there: a web page can run it."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from layerlab import plain_records, records
from layerlab.context.select import NOTHING
from layerlab.solver.keys import SCRATCH_KEY
from tests.solver import plainly

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "conformance" / "cases"
# Neither the user's packages nor those of the environment (-I, -S).
PLAIN = [sys.executable, "-I", "-S"]


def test_every_case_is_solved_alike_without_any_package() -> None:
    """Verdicts, keys, errors and reasons of all conformance cases."""
    done = subprocess.run([*PLAIN, plainly.__file__, ROOT, CASES], capture_output=True, text=True, check=True)
    plain = json.loads(done.stdout)
    assert not [name for name in plain["modules"] if name.partition(".")[0] in ("msgspec", "requests", "docker")]
    ours = json.loads(json.dumps(plainly.every(CASES)))
    assert len(ours) > 300
    assert plain["cases"] == ours


def test_loading_it_loads_no_cryptography() -> None:
    """OpenSSL is a quarter of what its start would take. What is hashed beforehand is written out."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from layerlab.solver import explain, keys, plan; from layerlab.solver.graph import"
        " builder; print('_hashlib' in sys.modules)"
    )
    assert subprocess.run([*PLAIN, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert sha256(b"scratch").hexdigest() == SCRATCH_KEY
    assert sha256(b"one").hexdigest() == NOTHING


class Point(plain_records.Record, frozen=True):
    x: int
    y: int = 0
    tags: list[str] = []


class Sized(Point, frozen=True, kw_only=True):
    size: int = 1


class Loose(plain_records.Record):
    names: list[str] = []


class TestPlainRecords:
    """What the solver needs of ``msgspec.Struct``."""

    def test_fields_are_given_in_order_or_by_name(self) -> None:
        assert Point(1, y=2) == Point(x=1, y=2)
        assert Sized(1, 2, size=3) == Sized(x=1, y=2, size=3)
        assert repr(Sized(1)) == "Sized(x=1, y=0, tags=[], size=1)"

    def test_another_class_or_value_is_another_record(self) -> None:
        assert Point(1) != Point(2)
        assert Point(1) != Sized(1)

    def test_replace_makes_another(self) -> None:
        point = Point(1)
        assert plain_records.replace(point, y=5) == Point(1, 5)
        assert point.y == 0

    def test_a_frozen_one_is_a_key_and_stays_as_it_is(self) -> None:
        class Key(plain_records.Record, frozen=True):
            name: str

        assert {Key("a"): 1}[Key("a")] == 1
        with pytest.raises(AttributeError):
            Key("a").name = "b"

    def test_another_can_be_changed_and_shares_no_default(self) -> None:
        one, two = Loose(), Loose()
        one.names.append("a")
        one.names = [*one.names, "b"]
        assert (one.names, two.names) == (["a", "b"], [])
        with pytest.raises(TypeError):
            hash(one)

    @pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
    def test_what_does_not_fit_is_an_error(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        with pytest.raises(TypeError):
            Point(*args, **kwargs)

    @pytest.mark.parametrize("value", [["a", 1, None, True, 2.5], ['"\\/\b\f\n\r\t\x00\x1f\x7f', "äé€😀"], [{"k": [-1, 1 << 62]}], []])
    def test_json_is_the_same_byte_for_byte(self, value: object) -> None:
        assert plain_records.encode_json(value) == records.encode_json(value)

    def test_nothing_said_is_false(self) -> None:
        assert (bool(plain_records.UNSET), bool(records.UNSET), repr(plain_records.UNSET)) == (False, False, "UNSET")
