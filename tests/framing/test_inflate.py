"""What comes of a compressed message, and what is wrong with it: however it was cut."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.framing.inflate import (
    MAX_FINAL_BLOCKS,
    STEP,
    InflateError,
    Inflater,
    inflate_whole,
)
from tests.framing.client import TAIL, deflated, deflated_with_final_blocks

# What has come of the message, and the code of the violation, if there is one.
Outcome = tuple[bytes, int | None]

LIMIT = 1 << 20


def inflated(*pieces: bytes, limit: int = LIMIT) -> Outcome:
    """Return what a decoder sees: it looks after each step, and stops at a fault or the limit."""
    inflater = Inflater(limit)
    try:
        for piece in pieces:
            for _ in inflater.inflate(piece):
                if len(inflater.plain) > limit:
                    return bytes(inflater.plain), 1009
        inflater.finish()
    except InflateError as error:
        return bytes(inflater.plain), error.violation.code
    return bytes(inflater.plain), None


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)


# What is in order.


@pytest.mark.parametrize(
    ("section", "data"),
    [
        ("7.2.3.1", "f2 48 cd c9 c9 07 00"),
        ("7.2.3.3", "00 05 00 fa ff 48 65 6c 6c 6f 00"),
        ("7.2.3.4", "f3 48 cd c9 c9 07 00 00"),
        ("7.2.3.5", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00"),
    ],
)
def test_the_examples_of_the_rfc_say_hello(section: str, data: str) -> None:
    assert inflated(bytes.fromhex(data)) == (b"Hello", None), section
    assert inflated(*one_by_one(bytes.fromhex(data))) == (b"Hello", None), section


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x00", b"\x03\x00", b"\x03\x00\x00"])
def test_an_empty_message_may_be_compressed_in_several_ways(data: bytes) -> None:
    # Section 7.2.3.6 has the single 00; nothing at all is what is left of forgetting that as well.
    assert inflated(data) == (b"", None)
    assert inflated(b"", *one_by_one(data), b"") == (b"", None)


def test_the_block_after_a_final_block_belongs_to_the_message() -> None:
    data = deflated_with_final_blocks(b"one ", b"two ", b"three")
    assert inflated(data) == inflated(*one_by_one(data)) == (b"one two three", None)


def test_a_block_after_a_final_block_may_refer_to_what_is_before_that() -> None:
    # Section 7.2.1: blocks with BFINAL are blocks like others. The window is that of the message.
    text = noise(32_000)
    data = deflated_with_final_blocks(text, text)
    assert len(data) < 33_000
    assert inflated(data) == (text + text, None)


def test_a_tail_that_was_not_removed_does_no_harm() -> None:
    # Section 7.2.1 wants it removed; `ws` and `websockets` do not mind either.
    data = deflated(b"Hello") + TAIL
    assert inflated(data) == inflated(*one_by_one(data)) == (b"Hello", None)


def test_a_message_may_end_with_a_final_block_as_it_is() -> None:
    data = deflated_with_final_blocks(b"Hello").removesuffix(b"\x00")
    assert inflated(data) == inflated(*one_by_one(data)) == (b"Hello", None)


# What is not.


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        ("07", b""),  # no type of block
        ("00 05 00 fa fe", b""),  # a length that is not confirmed
        ("f2 48 cd c9 c9 07 00 00 00 ff ff 06", b"Hello"),
        ("00 05 00 fa ff 48 65 6c 6c 6f 07", b"Hello"),
        ("f2 00 11 00 00", b"H"),  # section 7.2.3.2: refers to a message before this one
    ],
)
def test_invalid_deflate_data_is_a_violation(data: str, plain: bytes) -> None:
    assert inflated(bytes.fromhex(data)) == (plain, 1007)
    assert inflated(*one_by_one(bytes.fromhex(data))) == (plain, 1007)


@pytest.mark.parametrize(
    "whole", [deflated(b"Hello"), deflated(b"Hello", level=0), deflated(b"Hello " * 50)]
)
def test_data_that_end_within_a_block_are_a_violation(whole: bytes) -> None:
    # The first byte alone may be that of an empty block; the last one is that of an empty block.
    for end in range(2, len(whole) - 1):
        assert inflated(whole[:end])[1] == 1007, whole[:end].hex()


def test_a_fault_is_found_behind_several_steps() -> None:
    good = bytes(3 * STEP)
    data = deflated(good) + TAIL + b"\x07"
    assert inflated(data) == inflated(*one_by_one(data)) == (good, 1007)


@pytest.mark.parametrize("data", [b"\x07", b"\x00\x05", b"\x03\x00" * (MAX_FINAL_BLOCKS + 2)])
def test_the_error_carries_a_violation_whose_reason_fits_into_a_close_frame(data: bytes) -> None:
    def read() -> None:
        inflater = Inflater(LIMIT)
        list(inflater.inflate(data))
        inflater.finish()

    with pytest.raises(InflateError) as caught:
        read()
    assert 0 < len(caught.value.violation.reason.encode()) <= 123
    assert str(caught.value) == caught.value.violation.reason


def test_a_message_has_only_so_many_final_blocks() -> None:
    # Each takes zlib some µs, and the client two bytes: half a million would fit into 1 MiB.
    assert inflated(b"\x03\x00" * (MAX_FINAL_BLOCKS + 1)) == (b"", None)
    assert inflated(b"\x03\x00" * (MAX_FINAL_BLOCKS + 1) + b"\x00") == (b"", 1008)
    assert inflated(b"\x03\x00" * (LIMIT // 2)) == (b"", 1008)


# Bounds.


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP])
def test_a_message_may_have_just_the_size_of_the_limit(size: int) -> None:
    data = deflated(bytes(size))
    assert inflated(data, limit=size) == (bytes(size), None)
    assert inflated(*one_by_one(data), limit=size) == (bytes(size), None)


@pytest.mark.parametrize("limit", [0, 1, 999, STEP - 1, STEP, STEP + 1])
def test_a_message_over_the_limit_stops_one_byte_behind_it(limit: int) -> None:
    # The limit holds after inflating.
    data = deflated(bytes(limit + 5000))
    assert inflated(data, limit=limit) == (bytes(limit + 1), 1009)
    assert inflated(*one_by_one(data), limit=limit) == (bytes(limit + 1), 1009)


def test_input_beyond_limit_is_ignored() -> None:
    inflater = Inflater(1000)
    for _ in range(3):
        list(inflater.inflate(deflated(bytes(100_000))))
    assert len(inflater.plain) == 1001


def test_a_message_grows_by_one_step_at_a_time() -> None:
    inflater = Inflater(LIMIT)
    sizes = [len(inflater.plain) for _ in inflater.inflate(deflated(bytes(LIMIT)))]
    assert sizes[-1] == LIMIT
    assert max(after - before for before, after in pairwise([0, *sizes])) == STEP


def test_a_bomb_costs_no_more_memory_than_the_limit_and_two_steps() -> None:
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) < 70_000
    tracemalloc.start()
    inflater = Inflater(LIMIT)
    for _ in inflater.inflate(bomb):
        assert len(inflater.plain) <= LIMIT + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(inflater.plain) == LIMIT + 1
    # An eighth is what a bytearray grows ahead; while it moves, it is there twice.
    assert peak < 2.5 * LIMIT


# The whole at once, where that is simple.


@pytest.mark.parametrize("size", [0, 1, 100, 10_000, STEP])
def test_a_simple_message_is_inflated_at_once(size: int) -> None:
    plain = noise(size // 2) + bytes(size - size // 2)
    assert inflate_whole(deflated(plain), LIMIT) == plain
    assert inflate_whole(deflated(plain), size) == plain


@pytest.mark.parametrize(
    "data",
    [
        deflated(bytes(STEP + 1)),
        b"",
        deflated(b"Hello") + TAIL,
        deflated_with_final_blocks(b"Hello"),
        deflated_with_final_blocks(b"Hello").removesuffix(b"\x00"),
        deflated(b"Hello")[:3],
        bytes.fromhex("00 04 00 fb ff"),  # would take the tail for data
        bytes.fromhex("01 09 00 f6 ff"),  # would take what ends the stream for data
        b"\x07",
    ],
)
def test_fast_path_declines_complex_messages(data: bytes) -> None:
    assert inflate_whole(data, LIMIT) is None


def test_a_message_over_the_limit_is_left_to_an_inflater() -> None:
    assert inflate_whole(deflated(bytes(101)), 100) is None


# Properties.

plains = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(str.encode),
    st.builds(lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 400)),
)
levels = st.sampled_from([0, 1, 6, 9])
window_bits = st.integers(9, 15)
strategies = st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY])
parts = st.lists(plains, max_size=4)


@st.composite
def pieces_of(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> list[bytes]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@st.composite
def damaged(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """Change a byte or two, leave some out, or add some."""
    data = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 3, len(data))))
        data[start:end] = draw(st.binary(max_size=3))
    return bytes(data)


compressed = st.one_of(
    st.builds(
        lambda parts, bits, level, strategy: deflated(
            *parts, bits=bits, level=level, strategy=strategy
        ),
        parts, window_bits, levels, strategies,
    ),
    st.builds(lambda parts: deflated_with_final_blocks(*parts), parts),
)  # fmt: skip
any_data = st.one_of(compressed, damaged(compressed), damaged(compressed), st.binary(max_size=40))


@given(parts, window_bits, levels, strategies, st.data())
def test_inflating_does_not_depend_on_chunks(
    parts: list[bytes], bits: int, level: int, strategy: int, data: st.DataObject
) -> None:
    stream = deflated(*parts, bits=bits, level=level, strategy=strategy)
    assert inflated(*data.draw(pieces_of(st.just(stream)))) == (b"".join(parts), None)


@given(parts, st.data())
def test_final_blocks_inflate_in_any_chunks(parts: list[bytes], data: st.DataObject) -> None:
    stream = deflated_with_final_blocks(*parts)
    assert inflated(*data.draw(pieces_of(st.just(stream)))) == (b"".join(parts), None)


@given(pieces_of(any_data), st.sampled_from([0, 1, 50, 300, 700, LIMIT]))
@example([deflated(bytes(2000)) + TAIL + b"\x07"], 1999)
def test_hostile_data_fails_alike_in_chunks(pieces: list[bytes], limit: int) -> None:
    stream = b"".join(pieces)
    outcome = inflated(stream, limit=limit)
    assert inflated(*pieces, limit=limit) == outcome
    assert inflated(*one_by_one(stream), limit=limit) == outcome
    assert len(outcome[0]) <= limit + 1


@given(any_data, st.sampled_from([0, 1, 50, 300, LIMIT]))
def test_fast_path_matches_inflater(data: bytes, limit: int) -> None:
    plain = inflate_whole(data, limit)
    assert plain is None or inflated(data, limit=limit) == (plain, None)
