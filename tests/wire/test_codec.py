from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.ports import Metadata
from holdfast.wire.codec import (
    decode_metadata,
    decode_plain,
    encode_metadata,
    encode_plain,
    is_about,
)

ABOUT = Metadata("http://localhost/chat?room=1", "chat", frozenset({"room", "lobby"}))

abouts = st.builds(
    Metadata, st.text(), st.one_of(st.none(), st.text()), st.frozensets(st.text(), max_size=5)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.just(UTC)),
)
keys = st.one_of(st.text(), st.integers(-(2**63), 2**64 - 1))
plain_data = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


# A connection's details.


@given(abouts)
def test_details_come_back_as_they_were(about: Metadata) -> None:
    assert decode_metadata(encode_metadata(about)) == about


def test_equal_details_are_equal_bytes() -> None:
    reordered = ABOUT._replace(channels=frozenset(["lobby", "room"]))
    assert encode_metadata(reordered) == encode_metadata(ABOUT)


@given(abouts)
def test_what_was_encoded_is_known_as_details(about: Metadata) -> None:
    assert is_about(encode_metadata(about))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc0",
        encode_plain(["url", None]),
        encode_plain(["url", None, "channel"]),
        encode_plain([None, None, []]),
        encode_metadata(ABOUT) + b"\x00",
        b"\x93\xa1\xff\xc0\x90",  # not UTF-8
        b"\x93\xa0\xc0\xdd\xff\xff\xff\xff",  # promises four thousand million channels
    ],
)
def test_what_is_not_details_is_known_as_such(encoded: bytes) -> None:
    assert not is_about(encoded)


@given(st.binary(max_size=30))
def test_what_is_known_as_details_can_be_decoded(encoded: bytes) -> None:
    if is_about(encoded):
        decode_metadata(encoded)


# Plain data.


@given(plain_data)
def test_plain_data_come_back_as_they_were(value: object) -> None:
    assert decode_plain(encode_plain(value)) == value


def test_a_tuple_comes_back_as_a_list() -> None:
    assert decode_plain(encode_plain((1, (2,)))) == [1, [2]]


def test_a_time_comes_back_with_its_zone() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert decode_plain(encode_plain(noon)) == noon


@pytest.mark.parametrize("value", [object(), print, 2**64, -(2**63) - 1, "\ud800", {"a": [len]}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        encode_plain(value)
