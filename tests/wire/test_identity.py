from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.identity import ConnectionIds

NODE = b"node1"
KEY = b"0123456789abcdef"
IDS = ConnectionIds(NODE, KEY)
SERIALS = st.integers(0, 2**64 - 1)
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@given(SERIALS)
def test_a_token_gives_its_serial_back(serial: int) -> None:
    assert IDS.decode(IDS.encode(serial)) == serial


@given(SERIALS)
def test_a_token_is_28_characters_that_are_safe_everywhere(serial: int) -> None:
    token = IDS.encode(serial)
    assert len(token) == 28
    assert set(token) <= set(ALPHABET)


@given(SERIALS, SERIALS)
def test_two_serials_have_two_tokens(one: int, other: int) -> None:
    assert (IDS.encode(one) == IDS.encode(other)) == (one == other)


def test_the_same_node_makes_the_same_tokens_again() -> None:
    assert ConnectionIds(NODE, KEY).encode(7) == IDS.encode(7)


@given(SERIALS, st.integers(0, 27), st.sampled_from(ALPHABET))
def test_a_token_with_another_character_is_none(serial: int, at: int, character: str) -> None:
    token = IDS.encode(serial)
    changed = token[:at] + character + token[at + 1 :]
    assert IDS.decode(changed) == (serial if changed == token else None)


def test_the_unused_bits_of_the_last_character_count_too() -> None:
    # 17 bytes leave 4 of the last 5 bits over: 16 characters decode to the same bytes.
    token = IDS.encode(7)
    spellings = [token[:-1] + last for last in ALPHABET]
    assert [spelling for spelling in spellings if IDS.decode(spelling) == 7] == [token]


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.title,
        lambda token: token.replace("s", "\u017f"),  # the long s, whose upper case is "S"
        lambda token: token + "=",
        lambda token: token + "====",
        lambda token: " " + token,
        lambda token: token + "\n",
        lambda token: token[:-1],
        lambda token: token + "a",
        lambda token: token * 2,
        lambda token: "",
    ],
)
def test_a_token_has_one_spelling(change: object) -> None:
    assert callable(change)
    # A serial whose token has an "s" in it.
    serial = next(serial for serial in range(100) if "s" in IDS.encode(serial))
    assert IDS.decode(change(IDS.encode(serial))) is None


@given(st.text(st.characters()) | st.text(ALPHABET, min_size=28, max_size=28))
def test_an_invented_token_is_none(token: str) -> None:
    assert IDS.decode(token) is None


@pytest.mark.parametrize("token", ["a" * 100_000, "\0" * 28, "\ud800" * 28, "é" * 28, "ß" * 28])
def test_hostile_text_is_none(token: str) -> None:
    assert IDS.decode(token) is None


@given(SERIALS)
def test_a_token_of_another_node_is_none(serial: int) -> None:
    assert ConnectionIds(b"node2", KEY).decode(IDS.encode(serial)) is None


@pytest.mark.parametrize("key", [KEY[::-1], KEY + b"\0", KEY * 4])
def test_a_token_made_with_another_key_is_none(key: bytes) -> None:
    assert ConnectionIds(NODE, key).decode(IDS.encode(7)) is None


def test_every_byte_of_a_long_key_counts() -> None:
    ones, other = ConnectionIds(NODE, b"k" * 64), ConnectionIds(NODE, b"k" * 63 + b"x")
    assert other.decode(ones.encode(7)) is None


@pytest.mark.parametrize("node", [b"", b"four", b"sixsix"])
def test_a_node_id_has_five_bytes(node: bytes) -> None:
    with pytest.raises(ValueError, match=f"a node id has 5 bytes, not {len(node)}"):
        ConnectionIds(node, KEY)


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_key_has_16_to_64_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"a key has 16 to 64 bytes, not {size}"):
        ConnectionIds(NODE, b"k" * size)


@pytest.mark.parametrize("serial", [-1, 2**64])
def test_a_serial_has_64_bits(serial: int) -> None:
    with pytest.raises(OverflowError):
        IDS.encode(serial)
