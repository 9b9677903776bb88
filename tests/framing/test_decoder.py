"""What a decoder makes of the bytes that a client sends, whole or in pieces."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from itertools import cycle
from operator import xor
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.framing.decoder import Decoder
from holdfast.framing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    Close,
    Event,
    Ping,
    Pong,
    Violation,
)
from holdfast.framing.inflate import STATE_SIZE
from tests.framing.client import TAIL, deflated, deflated_with_final_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

# Small, so that random streams reach it; over 125, so that they reach the longer headers.
MAX_MESSAGE = 300

# The longest beginning of a frame that is of no use: a control frame but for its last byte.
MAX_KEPT = 6 + 125 - 1


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    form: int | None = None,
) -> bytes:
    """Build a frame as a client does; `form`, if given, is the number of bytes of its length."""
    if form is None:
        form = 1 if len(payload) < 126 else 2 if len(payload) < 65536 else 8
    second = {1: len(payload), 2: 126, 8: 127}[form] | (0x80 if mask else 0)
    long_length = len(payload).to_bytes(form, "big") if form > 1 else b""
    head = bytes([FIN * fin | opcode, second]) + long_length
    if mask is None:
        return head + payload
    return head + mask + bytes(map(xor, payload, cycle(mask)))


def decoder(*, deflates: bool = False) -> Decoder:
    return Decoder(max_message=MAX_MESSAGE, deflates=deflates)


def events_of(
    *chunks: bytes, max_message: int = MAX_MESSAGE, deflates: bool = False
) -> list[Event]:
    fresh = Decoder(max_message=max_message, deflates=deflates)
    return [event for chunk in chunks for event in fresh.receive(chunk)]


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def violation_of(*chunks: bytes, deflates: bool = False) -> int | None:
    """Return the code of the violation that is the only event of these chunks, if it is."""
    match events_of(*chunks, deflates=deflates):
        case [Violation(code, reason)]:
            assert 0 < len(reason.encode()) <= 123, "the reason must fit into a Close frame"
            return code
        case _:
            return None


# Messages.


def test_a_text_message_is_a_str() -> None:
    assert events_of(frame(TEXT, "κόσμε".encode())) == ["κόσμε"]


def test_a_binary_message_is_bytes() -> None:
    assert events_of(frame(BINARY, b"\xff\x00")) == [b"\xff\x00"]


def test_a_binary_message_is_bytes_of_its_own() -> None:
    # No view of what was received, which would show its neighbours too.
    messages = events_of(frame(BINARY, b"one") + frame(BINARY, b"two") + frame(TEXT, b"three"))
    assert messages == [b"one", b"two", "three"]
    assert [type(message) for message in messages] == [bytes, bytes, str]


def test_messages_may_be_empty() -> None:
    assert events_of(frame(TEXT) + frame(BINARY)) == ["", b""]


def test_several_messages_in_one_chunk_come_in_order() -> None:
    stream = frame(TEXT, b"a") + frame(BINARY, bytes(200)) + frame(TEXT, b"c")
    assert events_of(stream) == ["a", bytes(200), "c"]


def test_no_bytes_make_no_events() -> None:
    assert decoder().receive(b"") == []


def test_a_fragmented_message_comes_when_its_last_fragment_has() -> None:
    client = decoder()
    assert client.receive(frame(TEXT, b"Hel", fin=False)) == []
    assert client.receive(frame(CONTINUATION, b"", fin=False)) == []
    assert client.receive(frame(CONTINUATION, b"lo")) == ["Hello"]


def test_a_fragmented_binary_message_is_bytes() -> None:
    assert events_of(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\x00")) == [
        b"\xff\x00"
    ]


def test_a_message_of_empty_fragments_is_empty() -> None:
    assert events_of(frame(TEXT, fin=False) + frame(CONTINUATION)) == [""]


def test_each_fragment_is_unmasked_with_its_own_mask_from_its_own_start() -> None:
    first = frame(BINARY, b"abc", fin=False, mask=b"1234")
    last = frame(CONTINUATION, b"defgh", mask=b"wxyz")
    assert events_of(first + last) == [b"abcdefgh"]
    assert events_of(*one_by_one(first + last)) == [b"abcdefgh"]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 1 << 20])
@pytest.mark.parametrize("piece", [1000, 1 << 21])
def test_every_form_of_length_is_read(length: int, piece: int) -> None:
    stream = frame(BINARY, bytes(length))
    pieces = [stream[i : i + piece] for i in range(0, len(stream), piece)]
    assert events_of(*pieces, max_message=1 << 20) == [bytes(length)]


# Control frames.


def test_pings_and_pongs_carry_their_payload() -> None:
    assert events_of(frame(PING, b"hi") + frame(PONG)) == [Ping(b"hi"), Pong(b"")]


def test_a_control_frame_carries_up_to_125_bytes() -> None:
    assert events_of(frame(PING, bytes(125))) == [Ping(bytes(125))]


def test_a_control_frame_in_pieces_comes_when_it_is_whole() -> None:
    stream = frame(PING, bytes(125)) + frame(PONG, b"hi")
    assert events_of(*one_by_one(stream)) == [Ping(bytes(125)), Pong(b"hi")]


def test_control_frames_inside_a_fragmented_message_come_at_once() -> None:
    client = decoder()
    assert client.receive(frame(TEXT, b"a", fin=False) + frame(PING, b"1")) == [Ping(b"1")]
    assert client.receive(frame(PONG, b"2") + frame(CONTINUATION, b"b")) == [Pong(b"2"), "ab"]


def test_a_control_frame_does_not_count_as_part_of_a_full_message() -> None:
    stream = frame(BINARY, bytes(300), fin=False) + frame(PING, b"hi") + frame(CONTINUATION)
    assert events_of(stream) == [Ping(b"hi"), bytes(300)]


def test_a_close_may_be_empty() -> None:
    assert events_of(frame(CLOSE)) == [Close(None, "")]


def test_a_close_may_carry_a_code_without_a_reason() -> None:
    assert events_of(frame(CLOSE, b"\x03\xe8")) == [Close(1000, "")]


def test_a_close_may_carry_a_code_and_a_reason() -> None:
    assert events_of(frame(CLOSE, b"\x13\x87" + "tschüß".encode())) == [Close(4999, "tschüß")]


def test_a_close_is_read_inside_a_fragmented_message() -> None:
    assert events_of(frame(TEXT, b"a", fin=False) + frame(CLOSE)) == [Close(None, "")]


def test_nothing_is_read_after_a_close() -> None:
    client = decoder()
    assert client.receive(frame(CLOSE) + frame(TEXT, b"late")) == [Close(None, "")]
    assert client.receive(frame(TEXT, b"later")) == []


# What breaks the protocol.


def test_events_before_a_violation_come_before_it() -> None:
    events = events_of(frame(TEXT, b"a") + frame(PING) + frame(TEXT, b"b", mask=None))
    assert events[:2] == ["a", Ping(b"")]
    assert isinstance(events[2], Violation)


def test_nothing_is_read_after_a_violation() -> None:
    client = decoder()
    assert len(client.receive(frame(0x3) + frame(TEXT, b"late"))) == 1
    assert client.receive(frame(TEXT, b"later")) == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_a_frame_that_is_not_masked_is_a_violation(opcode: int) -> None:
    assert violation_of(frame(opcode, mask=None)) == 1002


@pytest.mark.parametrize("bit", [0x10, 0x20, 0x40])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_reserved_bit_is_a_violation(bit: int, opcode: int) -> None:
    assert violation_of(frame(opcode | bit)) == 1002


@pytest.mark.parametrize("opcode", [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_an_unknown_opcode_is_a_violation_at_its_first_byte(opcode: int) -> None:
    assert violation_of(bytes([FIN | opcode])) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_fragmented_control_frame_is_a_violation(opcode: int) -> None:
    assert violation_of(frame(opcode, fin=False)) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize("form", [126, 127])
def test_a_control_frame_over_125_bytes_is_a_violation(opcode: int, form: int) -> None:
    assert violation_of(bytes([FIN | opcode, 0x80 | form])) == 1002


@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_of_nothing_is_a_violation(fin: bool) -> None:
    assert violation_of(frame(CONTINUATION, fin=fin)) == 1002


def test_a_continuation_after_a_whole_fragmented_message_is_a_violation() -> None:
    whole = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b")
    events = events_of(whole + frame(CONTINUATION, b"c"))
    assert events[0] == "ab"
    assert isinstance(events[1], Violation)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_inside_a_fragmented_one_is_a_violation(opcode: int) -> None:
    assert violation_of(frame(TEXT, fin=False) + frame(opcode)) == 1002


def test_a_64_bit_length_with_its_top_bit_set_is_a_violation() -> None:
    assert violation_of(bytes.fromhex("82 ff 80 00 00 00 00 01 00 00")) == 1002


@pytest.mark.parametrize(("length", "form"), [(0, 2), (125, 2), (0, 8), (126, 8), (65535, 8)])
def test_a_length_that_is_not_in_its_shortest_form_is_a_violation(length: int, form: int) -> None:
    assert violation_of(frame(BINARY, bytes(length), form=form)) == 1002


def test_a_close_of_one_byte_is_a_violation() -> None:
    assert violation_of(frame(CLOSE, b"\x03")) == 1002


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535])
def test_a_close_code_that_must_not_be_sent_is_a_violation(code: int) -> None:
    assert violation_of(frame(CLOSE, code.to_bytes(2, "big"))) == 1002


def test_a_close_reason_that_is_not_utf8_is_a_violation() -> None:
    assert violation_of(frame(CLOSE, b"\x03\xe8\xce\xba\xff")) == 1007


# Messages that are too big.


def test_a_message_may_be_as_big_as_allowed() -> None:
    assert events_of(frame(BINARY, bytes(300))) == [bytes(300)]
    fragments = frame(BINARY, bytes(200), fin=False) + frame(CONTINUATION, bytes(100))
    assert events_of(fragments) == [bytes(300)]


def test_a_message_is_too_big_as_soon_as_its_length_says_so() -> None:
    # One limit, 1009 beyond it, also across fragments.
    assert violation_of(frame(BINARY, bytes(301))[:4]) == 1009
    assert violation_of(frame(BINARY, bytes(65536))[:10]) == 1009


@pytest.mark.parametrize("top", ["00 c8", "01 00", "40 00", "7f ff"])
def test_huge_length_is_1009(top: str) -> None:
    # 00 c8 is 200: as a 16-bit length it would be a message that is wholly there.
    header = bytes.fromhex("82 ff" + top + "00 00 00 00 00 00")
    assert violation_of(header + bytes(400)) == 1009


def test_a_whole_small_message_may_be_too_big() -> None:
    assert isinstance(events_of(frame(TEXT, b"abc"), max_message=2)[0], Violation)


def test_fragments_are_too_big_as_soon_as_their_sum_is_announced() -> None:
    begin = frame(BINARY, bytes(200), fin=False) + frame(CONTINUATION, bytes(100), fin=False)
    assert events_of(begin) == []
    assert violation_of(begin + frame(CONTINUATION, b"x")[:2]) == 1009


# UTF-8, as early as can be.


def cannot_become_utf8(data: bytes) -> bool:
    """The slow but plain way to tell: try whatever could complete the last character."""
    for rest in (b"", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xa0\x80", b"\x90\x80\x80"):
        try:
            (data + rest).decode()
        except UnicodeDecodeError:
            continue
        return False
    return True


# Autobahn 6.4.1 and 6.4.2: valid text, then a character past U+10FFFF, then more.
AUTOBAHN_64 = bytes.fromhex("ce ba e1 bd b9 cf 83 ce bc ce b5 f4 90 80 80 65 64 69 74 65 64")


def test_text_fails_at_its_first_wrong_byte_in_the_middle_of_a_frame() -> None:
    client = decoder()
    stream = frame(TEXT, AUTOBAHN_64)
    wrong = 6 + AUTOBAHN_64.index(0x90)
    assert client.receive(stream[:wrong]) == []
    assert client.receive(stream[wrong : wrong + 1]) == [
        Violation(1007, "the text is not valid UTF-8")
    ]


def test_text_fails_at_its_first_wrong_byte_in_a_later_fragment() -> None:
    assert AUTOBAHN_64[12] == 0x90
    begin = frame(TEXT, AUTOBAHN_64[:12], fin=False)
    rest = frame(CONTINUATION, AUTOBAHN_64[12:])
    assert events_of(begin + rest[:6]) == []
    assert violation_of(begin + rest[:7]) == 1007


def test_impossible_utf8_prefix_fails_at_once() -> None:
    for first in range(0x80, 0x100):
        for second in range(0x100):
            pair = bytes([first, second])
            failed = violation_of(frame(TEXT, pair, fin=False, mask=b"\0\0\0\0")) == 1007
            assert failed == cannot_become_utf8(pair), pair.hex()


# The bytes at which the rules of UTF-8 turn: RFC 3629 section 4.
UTF8_EDGES = bytes.fromhex("61 80 8f 90 9f a0 bf c1 c2 df e0 e1 ed ee f0 f1 f4 f5")


@given(st.lists(st.sampled_from(UTF8_EDGES), max_size=30).map(bytes))
@example(b"\xe2\x82\xac\xed\xa0\x80")
@settings(deadline=None, max_examples=300)
def test_one_byte_fragments_fail_at_wrong_byte(text: bytes) -> None:
    client = decoder()
    opcode = TEXT
    for i in range(len(text)):
        failed = client.receive(frame(opcode, text[i : i + 1], fin=False)) != []
        assert failed == cannot_become_utf8(text[: i + 1])
        if failed:
            return
        opcode = CONTINUATION


def test_a_character_may_be_cut_by_fragments_and_chunks() -> None:
    euro = "€".encode()
    stream = frame(TEXT, euro[:1], fin=False) + frame(CONTINUATION, euro[1:])
    assert events_of(stream) == ["€"]
    assert events_of(*one_by_one(stream)) == ["€"]


def test_text_must_not_end_inside_a_character() -> None:
    assert violation_of(frame(TEXT, b"\xe2\x82")) == 1007
    assert violation_of(frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION)) == 1007


def test_a_binary_message_need_not_be_utf8_in_any_piece() -> None:
    assert events_of(*one_by_one(frame(BINARY, b"\xff\xfe"))) == [b"\xff\xfe"]


# Compressed messages (RFC 7692), where that was agreed on: I-5.8.

# In 100 bytes, more than the limit; and so big when it is plain that zlib takes two steps.
BOMB = deflated(bytes(100_000))


def both_ways(stream: bytes, max_message: int = MAX_MESSAGE) -> list[Event]:
    """Return the events of the stream as a whole, which are those of its bytes one by one."""
    events = events_of(stream, max_message=max_message, deflates=True)
    assert events_of(*one_by_one(stream), max_message=max_message, deflates=True) == events
    return events


def test_a_compressed_text_is_a_str() -> None:
    # Section 7.2.3.1, but for the mask.
    stream = frame(TEXT | RSV1, bytes.fromhex("f2 48 cd c9 c9 07 00"))
    assert both_ways(stream) == ["Hello"]


def test_a_compressed_binary_message_is_bytes() -> None:
    assert both_ways(frame(BINARY | RSV1, deflated(b"\xff\x00"))) == [b"\xff\x00"]


def test_a_compressed_message_may_be_empty() -> None:
    stream = frame(TEXT | RSV1, b"\x00") + frame(BINARY | RSV1)
    assert both_ways(stream) == ["", b""]


def test_messages_need_not_be_compressed_though_they_could_be() -> None:
    stream = frame(TEXT, b"a") + frame(TEXT | RSV1, deflated(b"b")) + frame(BINARY, b"c")
    assert both_ways(stream) == ["a", "b", b"c"]


def test_each_message_inflates_without_context() -> None:
    # Section 7.2.3.2: the second one refers to the first, which was agreed not to happen.
    stream = frame(TEXT | RSV1, bytes.fromhex("f2 48 cd c9 c9 07 00"))
    events = both_ways(stream + frame(TEXT | RSV1, bytes.fromhex("f2 00 11 00 00")))
    assert events == ["Hello", Violation(1007, "the compressed data are not valid DEFLATE")]


def test_a_compressed_message_may_come_in_fragments_of_any_shape() -> None:
    data = deflated(b"Hel", b"lo")
    stream = frame(TEXT | RSV1, fin=False)
    for byte in one_by_one(data):
        stream += frame(CONTINUATION, byte, fin=False) + frame(CONTINUATION, fin=False)
    assert both_ways(stream + frame(CONTINUATION)) == ["Hello"]


def test_control_frames_come_at_once_inside_a_compressed_message() -> None:
    data = deflated(b"Hello")
    client = decoder(deflates=True)
    assert client.receive(frame(TEXT | RSV1, data[:2], fin=False) + frame(PING, b"1")) == [
        Ping(b"1")
    ]
    assert client.receive(frame(PONG, b"2") + frame(CONTINUATION, data[2:])) == [
        Pong(b"2"),
        "Hello",
    ]


def test_final_blocks_are_blocks_like_others() -> None:
    data = deflated_with_final_blocks(b"Hel", b"lo")
    assert both_ways(frame(TEXT | RSV1, data)) == ["Hello"]
    assert both_ways(frame(TEXT | RSV1, data.removesuffix(b"\x00"))) == ["Hello"]


def test_a_compressed_message_may_be_larger_than_the_fast_path_takes() -> None:
    plain = bytes(range(256)) * 1000
    assert events_of(
        frame(BINARY | RSV1, deflated(plain)), max_message=len(plain), deflates=True
    ) == [plain]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_unnegotiated_compression_is_a_violation(opcode: int) -> None:
    assert violation_of(frame(opcode | RSV1, deflated(b"Hello"))) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_rsv1_in_control_frame_is_a_violation(opcode: int) -> None:
    assert violation_of(frame(opcode | RSV1), deflates=True) == 1002


@pytest.mark.parametrize("first", [TEXT, TEXT | RSV1])
@pytest.mark.parametrize("then", [CONTINUATION, TEXT, PING])
def test_rsv1_in_continuation_is_a_violation(first: int, then: int) -> None:
    stream = frame(first, b"", fin=False) + frame(then | RSV1)
    assert violation_of(stream, deflates=True) == 1002


@pytest.mark.parametrize("bit", [0x10, 0x20])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, TEXT | RSV1, CONTINUATION, PING])
def test_the_other_reserved_bits_stay_reserved(bit: int, opcode: int) -> None:
    assert violation_of(frame(opcode | bit), deflates=True) == 1002


def test_a_compressed_continuation_of_nothing_is_a_violation() -> None:
    assert violation_of(frame(CONTINUATION | RSV1), deflates=True) == 1002
    assert violation_of(frame(0x3 | RSV1), deflates=True) == 1002


@pytest.mark.parametrize("data", [b"\x07", deflated(b"Hello")[:3], deflated(b"Hello") + b"\x07"])
def test_data_that_are_broken_or_incomplete_are_a_violation(data: bytes) -> None:
    (violation,) = both_ways(frame(BINARY | RSV1, data))
    assert isinstance(violation, Violation)
    assert violation.code == 1007


def test_broken_data_are_noticed_before_the_message_ends() -> None:
    assert violation_of(frame(BINARY | RSV1, b"\x07", fin=False), deflates=True) == 1007


def test_a_tail_that_was_not_removed_does_no_harm() -> None:
    assert both_ways(frame(TEXT | RSV1, deflated(b"Hello") + TAIL)) == ["Hello"]


def test_limit_applies_to_inflated_size() -> None:
    assert both_ways(frame(BINARY | RSV1, deflated(bytes(300)))) == [bytes(300)]
    parts = deflated(bytes(200), bytes(100))
    stream = frame(BINARY | RSV1, parts[:9], fin=False) + frame(CONTINUATION, parts[9:])
    assert both_ways(stream) == [bytes(300)]


def test_inflated_message_over_limit_is_1009() -> None:
    # Limit after inflating. I-5.1: also across fragments.
    too_big = [Violation(1009, "the message is too big")]
    assert both_ways(frame(BINARY | RSV1, deflated(bytes(301)))) == too_big
    assert both_ways(frame(BINARY | RSV1, BOMB)) == too_big
    stream = frame(BINARY | RSV1, BOMB[:5], fin=False) + frame(CONTINUATION, BOMB[5:])
    assert both_ways(stream) == too_big


def test_a_bomb_is_too_big_before_its_frame_is_complete() -> None:
    assert violation_of(frame(TEXT | RSV1, BOMB, fin=False)[:40], deflates=True) == 1009


def test_a_compressed_message_is_too_big_as_soon_as_its_length_says_so() -> None:
    assert violation_of(frame(BINARY | RSV1, bytes(301))[:4], deflates=True) == 1009


def test_compressed_fragments_are_too_big_as_soon_as_their_sum_is_announced() -> None:
    # Blocks that say nothing: the message stays empty, but the client does not stop.
    begin = frame(BINARY | RSV1, (b"\x00" + TAIL) * 60, fin=False)
    assert events_of(begin, deflates=True) == []
    assert violation_of(begin + frame(CONTINUATION, b"x")[:2], deflates=True) == 1009


@pytest.mark.parametrize(
    ("parts", "violation"),
    [
        ([b"\xff" + bytes(1000)], Violation(1007, "the text is not valid UTF-8")),
        ([bytes(300), b"\xff"], Violation(1009, "the message is too big")),
        ([b"a"], Violation(1007, "the compressed data are not valid DEFLATE")),
    ],
)
def test_the_first_fault_counts_whatever_is_wrong_behind_it(
    parts: list[bytes], violation: Violation
) -> None:
    assert both_ways(frame(TEXT | RSV1, deflated(*parts) + TAIL + b"\x07")) == [violation]


def test_compressed_text_fails_at_its_first_wrong_byte() -> None:
    client = decoder(deflates=True)
    before, after = AUTOBAHN_64[:12], AUTOBAHN_64[12:]
    data = deflated(before, after, level=0)
    begin = data.index(after[:1])
    assert client.receive(frame(TEXT | RSV1, data[:begin], fin=False)) == []
    assert client.receive(frame(CONTINUATION, after[:1], fin=False)) == [
        Violation(1007, "the text is not valid UTF-8")
    ]


def test_compressed_text_must_not_end_inside_a_character() -> None:
    assert both_ways(frame(TEXT | RSV1, deflated(b"\xe2\x82"))) == [
        Violation(1007, "the text is not valid UTF-8")
    ]


def test_a_character_may_be_cut_by_blocks() -> None:
    euro = "€".encode()
    assert both_ways(frame(TEXT | RSV1, deflated(*one_by_one(euro)))) == ["€"]


def test_decoder_is_idle_after_compressed_message() -> None:
    # So all connections between messages that agreed on compression may share one decoder too.
    client = decoder(deflates=True)
    for pieces in ([frame(TEXT | RSV1, deflated(b"a"))], one_by_one(frame(TEXT | RSV1, b"\x00"))):
        for piece in pieces:
            client.receive(piece)
        assert client.is_idle
        assert repr(client) == "<Decoder idle>"
        assert client._message is None


def test_a_decoder_is_not_idle_within_a_compressed_message() -> None:
    client = decoder(deflates=True)
    client.receive(frame(TEXT | RSV1, deflated(b"abc"), fin=False))
    assert not client.is_idle
    assert repr(client) == "<Decoder in a message, 3 bytes so far>"


# Idle or not: what the owner of many connections needs to know.


@pytest.mark.parametrize(
    "whole",
    [
        b"",
        frame(TEXT, b"a"),
        frame(PING),
        frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONTINUATION),
    ],
)
def test_a_decoder_is_idle_after_whole_messages(whole: bytes) -> None:
    client = decoder()
    client.receive(whole)
    assert client.is_idle
    assert repr(client) == "<Decoder idle>"


@pytest.mark.parametrize("whole", [frame(TEXT, b"a"), frame(PING, b"a"), frame(BINARY, bytes(130))])
def test_a_decoder_is_not_idle_within_a_frame_and_idle_again_after_it(whole: bytes) -> None:
    client = decoder()
    for byte in one_by_one(whole[:-1]):
        client.receive(byte)
        assert not client.is_idle
    client.receive(whole[-1:])
    assert client.is_idle


@pytest.mark.parametrize("then", [b"", frame(PING), frame(PING)[:3]])
def test_a_decoder_is_not_idle_within_a_fragmented_message(then: bytes) -> None:
    client = decoder()
    client.receive(frame(TEXT, b"abc", fin=False) + then)
    assert not client.is_idle
    assert repr(client) == "<Decoder in a message, 3 bytes so far>"


@pytest.mark.parametrize("last", [frame(CLOSE), frame(0x3), frame(TEXT, b"\xff")])
def test_a_decoder_that_is_finished_is_not_idle(last: bytes) -> None:
    client = decoder()
    client.receive(last)
    client.receive(frame(TEXT, b"a"))
    assert not client.is_idle
    assert repr(client) == "<Decoder finished>"


def test_a_decoder_within_a_header_says_so() -> None:
    client = decoder()
    client.receive(b"\x81")
    assert repr(client) == "<Decoder in a header>"


def test_a_finished_decoder_holds_on_to_nothing() -> None:
    client = decoder()
    client.receive(frame(BINARY, bytes(300), fin=False) + frame(0x3))
    assert buffered(client) == 0


def test_a_decoder_says_how_many_bytes_it_keeps() -> None:
    client = decoder()
    assert client.buffered == 0
    client.receive(frame(TEXT, b"abc", fin=False) + frame(PING)[:3])
    assert client.buffered == 3 + 3


def test_what_zlib_keeps_of_a_compressed_message_counts() -> None:
    client = decoder(deflates=True)
    client.receive(frame(TEXT | RSV1, deflated(b"abc"), fin=False))
    assert client.buffered == 3 + STATE_SIZE
    client.receive(frame(CONTINUATION))
    assert client.buffered == 0


# Memory.


def buffered(client: Decoder) -> int:
    message = client._message
    return len(client._kept) + (len(message.payload) if message else 0)


def test_announced_frame_allocates_nothing() -> None:
    client = Decoder(max_message=1 << 30)
    tracemalloc.start()
    client.receive(bytes.fromhex("82 ff 00 00 00 00 40 00 00 00 01 02 03 04"))
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of 1 GiB. What coverage notes of the lines that ran counts as well.
    assert current < 64 * 1024


def test_fragments_of_one_byte_cost_one_byte_each() -> None:
    client = Decoder(max_message=100_000)
    client.receive(frame(BINARY, fin=False))
    fragments = frame(CONTINUATION, b"x", fin=False) * 1000
    tracemalloc.start()
    for _ in range(100):
        client.receive(fragments)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert buffered(client) == 100_000
    assert current < 120_000


@pytest.mark.parametrize("piece", [1 << 20, 1000])
def test_bomb_memory_is_bounded_by_limit(piece: int) -> None:
    limit = 1 << 20
    bomb = frame(BINARY | RSV1, deflated(bytes(32 * limit)))
    client = Decoder(max_message=limit, deflates=True)
    tracemalloc.start()
    events = [
        event for i in range(0, len(bomb), piece) for event in client.receive(bomb[i : i + piece])
    ]
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == [Violation(1009, "the message is too big")]
    # A bytearray that grows ahead is there twice while it moves.
    assert peak < 2.5 * limit
    assert current < 4096 + len(bomb)


def test_an_idle_decoder_costs_the_same_whether_it_inflates_or_not() -> None:
    # The state of zlib comes with the first frame of a compressed message, and goes with its last.
    tracemalloc.start()
    client = Decoder(max_message=1 << 20, deflates=True)
    client.receive(frame(TEXT | RSV1, deflated(bytes(1000)), fin=False))
    within, _ = tracemalloc.get_traced_memory()
    client.receive(frame(CONTINUATION))
    idle, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert idle < 2048
    assert STATE_SIZE < within < 1.1 * STATE_SIZE


# Properties.

payloads = st.one_of(st.binary(max_size=150), st.text(max_size=60).map(str.encode))
masks = st.binary(min_size=4, max_size=4)
any_frames = st.builds(
    frame,
    st.sampled_from(
        [TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 0x3, TEXT | RSV1]
    ),
    payloads,
    fin=st.sampled_from([True, True, False]),
    mask=st.one_of(masks, masks, masks, st.none()),
    form=st.none(),
)
odd_lengths = st.builds(frame, st.just(BINARY), payloads, form=st.sampled_from([2, 8]))

# What deflates well; some of it is too big when it is plain.
repetitive = st.builds(lambda part, times: part * times, payloads, st.integers(0, 300))


@st.composite
def compressed_frames(draw: st.DrawFn) -> bytes:
    """Return a compressed message in one frame or two; its data may be damaged."""
    data = bytearray(deflated(*draw(st.lists(st.one_of(payloads, repetitive), max_size=3))))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=2)):
        data[place : place + 1] = draw(st.binary(max_size=2))
    cut = draw(st.integers(0, len(data)))
    opcode = draw(st.sampled_from([TEXT, BINARY])) | RSV1
    if cut == len(data):
        return frame(opcode, bytes(data), mask=draw(masks))
    first = frame(opcode, bytes(data[:cut]), fin=False, mask=draw(masks))
    return first + frame(CONTINUATION, bytes(data[cut:]), fin=draw(st.booleans()))


arbitrary_streams = st.lists(
    st.one_of(
        any_frames, any_frames, any_frames, odd_lengths, st.binary(max_size=20),
        compressed_frames(), compressed_frames(),
    ),
    max_size=8,
).map(b"".join)  # fmt: skip


@st.composite
def deflated_in_any_way(draw: st.DrawFn, payload: bytes) -> bytes:
    """Compress as some client may: any window and level, several blocks, final ones too."""
    cut = draw(st.integers(0, len(payload)))
    if draw(st.booleans()):
        return deflated_with_final_blocks(payload[:cut], payload[cut:])
    bits, level = draw(st.integers(9, 15)), draw(st.sampled_from([0, 1, 6, 9]))
    return deflated(payload[:cut], payload[cut:], bits=bits, level=level)


@st.composite
def valid_messages(draw: st.DrawFn, deflates: bool = False) -> tuple[bytes, list[Event]]:
    """Return a message in fragments with pings between them, and the events it must make."""
    message: str | bytes = draw(st.one_of(st.text(max_size=70), st.binary(max_size=MAX_MESSAGE)))
    payload = message.encode() if isinstance(message, str) else message
    opcode, stream, pings = TEXT if isinstance(message, str) else BINARY, b"", list[Ping]()
    if deflates and draw(st.booleans()):
        data = draw(deflated_in_any_way(payload))
        # The limit holds for what is sent too; the flushes of a message without any sense add up.
        if len(data) <= MAX_MESSAGE:
            payload, opcode = data, opcode | RSV1
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    for begin, end in zip([0, *cuts], cuts, strict=False):
        pings.append(Ping(draw(st.binary(max_size=10))))
        stream += frame(opcode, payload[begin:end], fin=False, mask=draw(masks))
        stream += frame(PING, pings[-1].payload)
        opcode = CONTINUATION
    return stream + frame(opcode, payload[cuts[-1] if cuts else 0 :]), [*pings, message]


@st.composite
def pieces_of(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> list[bytes]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bool, list[tuple[bytes, list[Event]]]]:
    """Return whether compression was agreed on, and messages that respect that."""
    deflates = draw(st.booleans())
    return deflates, draw(st.lists(valid_messages(deflates), max_size=5))


@given(conversations())
@settings(deadline=None)
def test_valid_messages_make_their_events_and_leave_the_decoder_idle(
    conversation: tuple[bool, list[tuple[bytes, list[Event]]]],
) -> None:
    deflates, messages = conversation
    client = decoder(deflates=deflates)
    events = client.receive(b"".join(stream for stream, _ in messages))
    assert events == [event for _, expected in messages for event in expected]
    assert client.is_idle


@given(
    pieces_of(
        st.lists(valid_messages(deflates=True), max_size=5).map(
            lambda messages: b"".join(stream for stream, _ in messages)
        )
    )
)
@settings(deadline=None)
def test_events_do_not_depend_on_chunks(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    assert events_of(*pieces, deflates=True) == events_of(stream, deflates=True)
    assert events_of(*pieces) == events_of(stream)


@given(arbitrary_streams, st.booleans())
@settings(deadline=None, max_examples=500)
def test_the_fast_path_and_the_general_path_agree_on_arbitrary_bytes(
    stream: bytes, deflates: bool
) -> None:
    # Byte by byte, no message is ever whole in a chunk, so that the fast path gets nothing
    # but what is kept of a frame: and an empty message is judged by both.
    whole, bytewise = decoder(deflates=deflates), decoder(deflates=deflates)
    events = whole.receive(stream)
    assert [event for byte in one_by_one(stream) for event in bytewise.receive(byte)] == events
    assert repr(bytewise) == repr(whole)
    assert bytewise.is_idle == whole.is_idle


@given(pieces_of(st.one_of(arbitrary_streams, st.binary(max_size=200))), st.booleans())
@settings(deadline=None, max_examples=300)
def test_arbitrary_bytes_never_raise_and_never_grow(pieces: list[bytes], deflates: bool) -> None:
    client = decoder(deflates=deflates)
    for piece in pieces:
        events = client.receive(piece)
        assert buffered(client) <= MAX_MESSAGE + MAX_KEPT
        assert not any(isinstance(event, Violation | Close) for event in events[:-1])
        assert client.is_idle <= (buffered(client) == 0)
        for event in events:
            assert not isinstance(event, str | bytes) or len(event) <= MAX_MESSAGE


@given(st.sampled_from([0, 1, 125, 126, 65535, 65536]), masks, st.booleans())
@settings(deadline=None)
def test_what_a_client_encodes_is_what_the_decoder_returns(
    length: int, mask: bytes, text: bool
) -> None:
    payload = bytes(i % 128 for i in range(length))
    expected = payload.decode() if text else payload
    stream = frame(TEXT if text else BINARY, payload, mask=mask)
    assert events_of(stream, max_message=1 << 20) == [expected]


# The masking function.


def test_masks_are_applied_in_python_where_the_c_extension_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The model differs: there, a library is loaded when the first handshake comes, and may be
    # missing.
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    spec = importlib.util.find_spec("holdfast.framing.decoder")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.apply_mask.__module__ == "websockets.utils"
    assert module.Decoder(max_message=9).receive(frame(TEXT, b"Hello")) == ["Hello"]
