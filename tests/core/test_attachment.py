from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.attachment import DEFAULT_LIMIT, MAX_DEPTH, Attachment, check_plain
from holdfast.errors import AttachmentError
from holdfast.wire.codec import decode_plain, encode_plain


class NoOffset(tzinfo):
    """A time zone that does not know its offset: a datetime with it is still naive."""

    def utcoffset(self, when: datetime | None) -> None:
        return None

    def dst(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> None:
        return None


class Text(str):
    __slots__ = ()


class Colour(Enum):
    RED = "red"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


# Not the first and last year: they have no UTC equivalent in every time zone.
DATETIMES = st.datetimes(
    datetime(2, 1, 1),
    datetime(9998, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9)), timezone(timedelta(hours=5.5))]),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | DATETIMES
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=8,
)
# What somebody might try to keep: some of it survives a worker and some does not.
NEARLY_SCALARS = (
    SCALARS
    | st.integers()
    | st.text(st.characters(), max_size=3)  # lone surrogates too
    | st.datetimes()
    | st.sampled_from([Text("x"), Colour.RED, 1j, object(), {1}, bytearray(b"x"), NoOffset()])
)
NEARLY_PLAIN = st.recursive(
    NEARLY_SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(SCALARS | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)


def committed(value: Any) -> Attachment:
    return Attachment(encode_plain(value), value)


def with_lists(value: Any) -> Any:
    """Return the value as it comes back: with lists for tuples."""
    if isinstance(value, list | tuple):
        return [with_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return value


# -- what changed


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", b"a", datetime.now(UTC)])
def test_unassigned_scalar_is_not_encoded(value: object) -> None:
    def encode(value: object) -> bytes:
        raise AssertionError("encoded for nothing")

    assert Attachment(b"anything", value).changed(encode, DEFAULT_LIMIT) is None


def test_a_record_changed_in_place_has_changed() -> None:
    attachment = committed({"count": 1})
    attachment.value["count"] += 1
    assert attachment.changed(encode_plain, DEFAULT_LIMIT) == encode_plain({"count": 2})


def test_a_record_changed_deep_inside_has_changed() -> None:
    attachment = committed({"seen": [{"id": 1}]})
    attachment.value["seen"][0]["id"] = 2
    assert attachment.changed(encode_plain, DEFAULT_LIMIT) is not None


def test_an_equal_value_assigned_is_no_change() -> None:
    attachment = committed({"count": 1})
    attachment.value = {"count": 1}
    assert attachment.changed(encode_plain, DEFAULT_LIMIT) is None


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ("a", b"a"), (None, False)])
def test_values_that_python_calls_equal_still_differ_by_type(before: Any, after: Any) -> None:
    attachment = committed(before)
    attachment.value = after
    assert attachment.changed(encode_plain, DEFAULT_LIMIT) == encode_plain(after)


def test_nothing_kept_and_nothing_set_is_no_change() -> None:
    assert Attachment(b"", None).changed(encode_plain, DEFAULT_LIMIT) is None


@given(PLAIN, PLAIN, st.booleans())
def test_a_change_is_a_different_encoding(before: Any, after: Any, copied: bool) -> None:
    attachment = committed(before)
    attachment.value = copy.deepcopy(before) if copied else after
    encoded = encode_plain(attachment.value)
    expected = None if encoded == encode_plain(before) else encoded
    assert attachment.changed(encode_plain, 2**20) == expected


# -- the limit


def test_a_value_as_large_as_the_limit_is_kept() -> None:
    attachment = Attachment(b"", None)
    attachment.value = b"x" * 30
    size = len(encode_plain(attachment.value))
    assert attachment.changed(encode_plain, size) == encode_plain(attachment.value)


def test_one_byte_over_the_limit_is_refused() -> None:
    attachment = Attachment(b"", None)
    attachment.value = b"x" * 30
    with pytest.raises(AttachmentError, match="data has 32 bytes, over the limit of 31"):
        attachment.changed(encode_plain, 31)


def test_unchanged_value_stays_over_lowered_limit() -> None:
    attachment = committed([b"x" * 30])
    assert attachment.changed(encode_plain, 1) is None


# -- what is plain


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"name": "Ann", "seen": [1, 2.5, True, None], "key": b"\x00"},
        {1: "int", None: "none", b"x": "bytes", 1.5: "float"},
        "NUL \0 and non-ASCII é are text",
        [-(2**63), 2**64 - 1],
        datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=9))),
        nested(MAX_DEPTH),
    ],
)
def test_plain_data_comes_back_equal(value: object) -> None:
    check_plain(value)
    assert decode_plain(encode_plain(value)) == value


def test_a_tuple_comes_back_as_a_list() -> None:
    check_plain((1, (2,)))
    assert decode_plain(encode_plain((1, (2,)))) == [1, [2]]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({1, 2}, "data"),
        ({"a": {"b": [0, {1}]}}, "data['a']['b'][1]"),
        ((0, 1j), "data[1]"),
        ({"a": object()}, "data['a']"),
        ({(1, 2): 3}, "a key of data"),
        ({"a": {"\ud800": 1}}, "a key of data['a']"),
        ({"a": "\ud800"}, "data['a']"),
        ([2**64], "data[0]"),
        ([-(2**63) - 1], "data[0]"),
        ({2**64: 1}, "a key of data"),
        ([Text("x")], "data[0]"),
        (Colour.RED, "data"),
        (bytearray(b"x"), "data"),
        (datetime(2024, 1, 1), "data"),
        ([datetime(2024, 1, 1, tzinfo=NoOffset())], "data[0]"),
        (nested(MAX_DEPTH + 1), "data" + "[0]" * (MAX_DEPTH + 1)),
        (nested(50_000), "data" + "[0]" * (MAX_DEPTH + 1)),
        (cyclic(), "data" + "['self']" * (MAX_DEPTH + 1)),
    ],
)
def test_what_would_not_survive_is_refused_by_its_path(value: object, path: str) -> None:
    attachment = Attachment(b"", None)
    attachment.value = value
    with pytest.raises(AttachmentError) as caught:
        attachment.changed(encode_plain, 2**20)
    assert caught.value.path == path
    # What the encoder had to say would only be in the way, in every log.
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1}, "is a set; only plain data"),
        (2**64, "is an int of more than 64 bits"),
        ("\ud800", "has a lone surrogate"),
        (datetime(2024, 1, 1), "is a datetime without a time zone"),
        (cyclic(), "is nested deeper than 64 levels, or refers to itself"),
    ],
)
def test_the_reason_says_what_to_do_about_it(value: object, why: str) -> None:
    with pytest.raises(AttachmentError, match=f"^data.* {why}"):
        check_plain(value)


def test_the_first_place_that_is_not_plain_is_named() -> None:
    with pytest.raises(AttachmentError) as caught:
        check_plain({"a": [1, {2}], "b": {3}})
    assert caught.value.path == "data['a'][1]"


def test_value_refused_by_encoder_is_refused() -> None:
    cause = OverflowError("no such year")

    def encode(value: object) -> bytes:
        raise cause

    attachment = Attachment(b"", None)
    attachment.value = "plain"
    with pytest.raises(AttachmentError, match="data cannot be encoded: no such year") as caught:
        attachment.changed(encode, DEFAULT_LIMIT)
    assert caught.value.__cause__ is cause


@given(PLAIN)
def test_every_plain_value_is_accepted_and_comes_back_equal(value: Any) -> None:
    check_plain(value)
    assert decode_plain(encode_plain(value)) == value


@given(NEARLY_PLAIN)
def test_what_is_accepted_comes_back_equal(value: Any) -> None:
    attachment = Attachment(b"", None)
    attachment.value = value
    try:
        encoded = attachment.changed(encode_plain, 2**20)
    except AttachmentError:
        return
    assert (None if encoded is None else decode_plain(encoded)) == with_lists(value)
