from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.json import MAX_DEPTH, check_json, parse_json, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).filter(lambda value: "Infinity" not in repr(value) and "inf" not in repr(value))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@given(JSON)
def test_every_json_value_comes_back(value: object) -> None:
    check_json(value, "it")
    assert parse_json(to_json(value)) == value


def test_text_is_written_short_and_readable() -> None:
    assert to_json({"name": "Zoë", "n": [1, 2.5, True, None]}) == (
        '{"name":"Zoë","n":[1,2.5,true,null]}'
    )


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        ({1}, TypeError),
        (b"bytes", TypeError),
        (math.nan, ValueError),
        ([-math.inf], ValueError),
        (cyclic(), ValueError),
        (nested(50_000), ValueError),
    ],
)
def test_what_json_cannot_say_is_not_written(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        to_json(value)


def test_bytes_are_utf_8() -> None:
    assert parse_json('{"a": "ö"}'.encode()) == {"a": "ö"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "'a'", "NaN", "[Infinity]", "-Infinity", "[" * 100_000, b"\xff", b"\"\0a\0\"\0"],
)  # fmt: skip
def test_what_is_not_json_is_not_read(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several, all of them clear
        parse_json(text)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ({1: 2}, TypeError, r"^a key of it is a int; in JSON, keys are str$"),
        ({"a": [0, {None: 1}]}, TypeError, r"^a key of it\['a'\]\[1\] is a NoneType"),
        (({b"a": 1},), TypeError, r"^a key of it\[0\] is a bytes"),
        (cyclic(), ValueError, "refers to itself"),
        (nested(MAX_DEPTH + 1), ValueError, f"deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_would_not_come_back_is_told(
    value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        check_json(value, "it")


def test_at_the_limit_of_depth_all_is_well() -> None:
    check_json(nested(MAX_DEPTH), "it")
