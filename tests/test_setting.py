"""What a record of a setting says, checks and makes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from holdfast.setting import Group, Unit, make, read, records


def refuse_odd(value: int) -> None:
    if value % 2:
        raise ValueError(f"{value} is odd")


def one(default: Any, unit: Unit, **more: Any) -> Any:
    return Group.HTTP.setting(default, unit, help="What it does.", reason="Why.", **more)


@dataclass(frozen=True, slots=True)
class Piece:
    size: int = one(8 * 1024, Unit("KiB", most=9, scale=1024))


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    pause: float = one(1.5, Unit("seconds", least=0.5, most=60))


@dataclass(frozen=True, slots=True)
class Settings(Base):
    name: str
    even: int | None = one(None, Unit("events"), check=refuse_odd, unset="any")
    names: tuple[str, ...] = one((), Unit("name"), flag="--name")
    pair: tuple[str, str] | None = one(None, Unit("texts"))
    mode: str = one("on", Unit("mode"), choices=("on", "off"), flag=None)
    quick: bool = one(False, Unit("yes or no"))
    piece: Piece = Piece(size=0)


RECORDS = {each.name: each for each in records(Settings)}


def test_a_record_knows_its_field() -> None:
    even = RECORDS["even"]
    assert (even.name, even.type, even.default, even.group) == ("even", int, None, Group.HTTP)
    assert (even.flag, even.variable) == ("--even", "HOLDFAST_EVEN")
    assert [RECORDS[name].flag for name in ("names", "mode")] == ["--name", None]


def test_records_of_the_class_come_first() -> None:
    assert list(RECORDS) == ["even", "names", "pair", "mode", "quick", "size", "pause"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("even", None), ("even", 2), ("pause", 0.5), ("pause", 60), ("mode", "off"),
        ("quick", True), ("pair", ("ping", "pong")),
    ],
)  # fmt: skip
def test_a_value_within_bounds_is_kept(name: str, value: object) -> None:
    assert RECORDS[name].kept(value) == value


def test_a_list_is_kept_as_a_tuple() -> None:
    assert RECORDS["names"].kept(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("even", "2", "even is an int, not str"),
        ("even", 2.0, "even is an int, not float"),
        ("even", True, "even is an int, not bool"),
        ("pause", None, "pause is a number of seconds, not NoneType"),
        ("pause", False, "pause is a number of seconds, not bool"),
        ("names", "ab", "names is a list of names, not str"),
        ("pair", "ab", "pair is two texts, not str"),
        ("mode", 5, "mode is a str, not int"),
        ("quick", 1, "quick is a bool, not int"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: object, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        RECORDS[name].kept(value)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("even", -2, "even is at least 0, not -2"),
        ("even", 3, "3 is odd"),
        ("pause", 0.4, "pause is at least 0.5, not 0.4"),
        ("pause", float("nan"), "pause is at least 0.5, not nan"),
        ("pause", 61, "pause is at most 60, not 61"),
        ("size", 10, "size is at most 9, not 10"),
        ("mode", "of", "mode is on or off, not 'of'"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        RECORDS[name].kept(value)


@pytest.mark.parametrize(
    ("name", "default", "bounds"),
    [
        ("even", "any", "at least 0"),
        ("pause", "1.5", "0.5 to 60"),
        ("names", "none", ""),
        ("mode", "on", "on or off"),
        ("quick", "no", ""),
        ("size", "8", "0 to 9"),
    ],
)
def test_default_and_bounds_are_words(name: str, default: str, bounds: str) -> None:
    assert (RECORDS[name].shown_default, RECORDS[name].bounds) == (default, bounds)


def test_a_scaled_value_is_given_in_its_unit() -> None:
    assert RECORDS["size"].given_default == 8
    assert RECORDS["size"].kept(9) == 9 * 1024


def test_each_dataclass_gets_its_own() -> None:
    made = make(Settings, name="x", size=2, pause=1, names=["a"])
    assert made == Settings("x", pause=1, names=("a",), piece=Piece(size=2048))


def test_what_is_not_given_stays() -> None:
    assert make(Settings, name="x") == Settings("x", piece=Piece(size=0))


def test_what_is_made_is_checked() -> None:
    with pytest.raises(ValueError, match="size is at most 9, not 10"):
        make(Settings, name="x", size=10)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        make(Settings, name="x", colour="red")


def test_settings_are_read_as_they_were() -> None:
    settings = Settings("x", pair=("a", "b"), piece=Piece(size=1))
    assert read(Settings, json.loads(json.dumps(asdict(settings)))) == settings
