"""What the encoders write, and how events compare."""

from __future__ import annotations

import pytest

from holdfast.framing.frames import (
    Close,
    Event,
    Ping,
    Pong,
    Violation,
    encode_close,
    encode_frame,
    encode_message,
    encode_ping,
    encode_pong,
)


@pytest.mark.parametrize(
    ("one", "other"), [(Ping(b""), Pong(b"")), (Close(1002, "no"), Violation(1002, "no"))]
)
def test_events_of_different_kinds_differ(one: Event, other: Event) -> None:
    assert one != other


def test_events_of_one_kind_compare_and_hash_by_their_fields() -> None:
    assert Ping(b"a") == Ping(b"a")
    assert len({Close(1000, ""), Close(1000, ""), Close(1001, "")}) == 2


@pytest.mark.parametrize("event", [Ping(b""), Pong(b""), Close(None, ""), Violation(1002, "no")])
def test_events_cannot_be_changed_or_added_to(event: Event) -> None:
    for name in (event.__match_args__[0], "other"):  # type: ignore[union-attr]
        with pytest.raises((AttributeError, TypeError)):
            setattr(event, name, 1)


def test_a_text_message_is_one_unmasked_final_text_frame() -> None:
    assert encode_message("Hello") == bytes.fromhex("81 05 48 65 6c 6c 6f")


def test_a_binary_message_is_one_unmasked_final_binary_frame() -> None:
    assert encode_message(b"\x00\xff") == bytes.fromhex("82 02 00 ff")


def test_the_length_of_a_text_is_counted_in_bytes_of_utf8() -> None:
    assert encode_message("κό") == b"\x81\x04" + "κό".encode()


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "82 00"),
        (125, "82 7d"),
        (126, "82 7e 00 7e"),
        (65535, "82 7e ff ff"),
        (65536, "82 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_the_length_of_a_binary_message_takes_its_shortest_form(length: int, head: str) -> None:
    assert encode_message(bytes(length)) == bytes.fromhex(head) + bytes(length)


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "81 00"),
        (125, "81 7d"),
        (126, "81 7e 00 7e"),
        (65535, "81 7e ff ff"),
        (65536, "81 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_the_length_of_a_text_message_takes_its_shortest_form(length: int, head: str) -> None:
    assert encode_message("h" * length) == bytes.fromhex(head) + b"h" * length


def test_a_text_that_utf8_cannot_carry_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_message("\ud800")


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "c1 00"),
        (125, "c1 7d"),
        (126, "c1 7e 00 7e"),
        (65535, "c1 7e ff ff"),
        (65536, "c1 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_a_frame_of_any_first_byte_has_its_length_in_the_shortest_form(
    length: int, head: str
) -> None:
    assert encode_frame(0xC1, bytes(length)) == bytes.fromhex(head) + bytes(length)


def test_a_ping_has_an_empty_payload_unless_told_otherwise() -> None:
    assert encode_ping() == bytes.fromhex("89 00")
    assert encode_ping(b"hi") == bytes.fromhex("89 02 68 69")


def test_a_pong_carries_its_payload() -> None:
    assert encode_pong(b"hi") == bytes.fromhex("8a 02 68 69")


def test_a_ping_or_pong_carries_up_to_125_bytes() -> None:
    assert encode_pong(bytes(125)) == bytes.fromhex("8a 7d") + bytes(125)
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        encode_pong(bytes(126))
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        encode_ping(bytes(126))


def test_a_close_without_a_code_is_empty() -> None:
    assert encode_close() == bytes.fromhex("88 00")


def test_a_close_carries_its_code_and_then_its_reason() -> None:
    assert encode_close(1000) == bytes.fromhex("88 02 03 e8")
    assert encode_close(4999, "bye") == bytes.fromhex("88 05 13 87 62 79 65")


def test_a_close_reason_without_a_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="a close reason needs a close code"):
        encode_close(reason="bye")


def test_a_close_reason_has_up_to_123_bytes_of_utf8() -> None:
    assert encode_close(1000, "é" * 61 + "e")[4:] == ("é" * 61 + "e").encode()
    with pytest.raises(ValueError, match="at most 123 bytes, not 124"):
        encode_close(1000, "é" * 62)


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536])
def test_a_close_code_that_may_not_be_sent_is_an_error(code: int) -> None:
    with pytest.raises(ValueError, match=f"close code {code} may not be sent"):
        encode_close(code)
