from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BrokenWire
from holdfast.wire import messages as wire
from holdfast.wire import stream
from holdfast.wire.stream import MAX_BATCH, BatchEncoder, BatchReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import Struct

FEW: list[wire.FromWorker] = [wire.Hello(1), wire.Act([wire.SendText(7, "hé")]), wire.Ready(2)]


def encode(messages: Sequence[Struct]) -> bytes:
    return bytes(BatchEncoder().encode(messages))


def reader(union: object = wire.FromWorker) -> BatchReader[Any]:
    return BatchReader(union)


def batch_of(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


# Whole batches.


def test_a_batch_arrives_as_it_was_sent() -> None:
    assert reader().receive(encode(FEW)) == FEW


def test_a_batch_is_its_length_and_an_array() -> None:
    assert encode([wire.Hello(1)]) == b"\x04\x00\x00\x00\x91\x92\x01\x01"


def test_an_empty_batch_has_no_messages() -> None:
    assert reader().receive(encode([])) == []


def test_several_batches_at_once_come_in_order() -> None:
    assert reader().receive(encode(FEW[:1]) + encode(FEW[1:])) == FEW


def test_an_encoder_keeps_nothing_from_one_batch_to_the_next() -> None:
    encoder = BatchEncoder()
    first, second = bytes(encoder.encode(FEW)), bytes(encoder.encode(FEW))
    assert first == second


# Batches in pieces.


def test_nothing_of_a_batch_comes_before_all_of_it() -> None:
    half_done, batch = reader(), encode(FEW)
    assert half_done.receive(batch[:-1]) == []
    assert half_done.receive(batch[-1:]) == FEW


def test_a_length_may_come_in_pieces() -> None:
    slow, batch = reader(), encode(FEW)
    assert [slow.receive(batch[i : i + 1]) for i in range(4)] == [[]] * 4
    assert slow.receive(batch[4:]) == FEW


def test_the_beginning_of_the_next_batch_is_kept() -> None:
    link, batch = reader(), encode(FEW)
    assert link.receive(batch + batch[:6]) == FEW
    assert link.receive(batch[6:]) == FEW


def test_no_bytes_make_no_messages() -> None:
    assert reader().receive(b"") == []


small_actions = st.one_of(
    st.builds(wire.SendText, st.integers(0, 9), st.text(max_size=9)),
    st.builds(wire.SendBinary, st.integers(0, 9), st.binary(max_size=9)),
    st.builds(wire.Close, st.integers(0, 9), st.integers(1000, 4999), st.text(max_size=9)),
)
numbers = st.integers(0, 2**40)
some_messages = st.lists(
    st.one_of(
        st.builds(
            wire.Ack, numbers, numbers, numbers, st.lists(small_actions, max_size=3), numbers
        ),
        st.builds(wire.Act, st.lists(small_actions, max_size=3)),
        st.builds(wire.Hello, st.integers(0, 2**32)),
    ),
    max_size=4,
)


@st.composite
def pieces_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    return [whole[i:j] for i, j in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(st.lists(some_messages, max_size=4), st.data())
def test_any_split_of_the_stream_gives_the_same_messages(
    batches: list[list[wire.FromWorker]], data: st.DataObject
) -> None:
    whole = b"".join(map(encode, batches))
    link = reader()
    received = [m for piece in data.draw(pieces_of(whole)) for m in link.receive(piece)]
    assert received == [message for batch in batches for message in batch]


# Broken peers.


def test_a_length_over_the_limit_is_refused_at_once() -> None:
    with pytest.raises(BrokenWire, match=f"{MAX_BATCH + 1} bytes is over the limit"):
        reader().receive((MAX_BATCH + 1).to_bytes(4, "little"))


def test_a_length_over_the_limit_is_refused_when_its_last_byte_comes() -> None:
    link = reader()
    assert link.receive(b"\xff\xff\xff") == []
    with pytest.raises(BrokenWire):
        link.receive(b"\xff")


def test_a_length_of_the_limit_is_waited_for() -> None:
    assert reader().receive(MAX_BATCH.to_bytes(4, "little") + b"\x91") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x90\x90",  # something behind the array
        b"\x91\x92\x01",  # shorter than it says
        b"\x91\x92\x63\x01",  # an unknown tag
        b"\x91\x92\x01\xa1a",  # a str for an int
        b"\x91\x92\x03\x91\x93\x01\x01\xa1\xff",  # text that is not UTF-8
        b"\x91\x92\x03\xdd\xff\xff\xff\xff",  # promises four thousand million actions
        b"\x91\x93\x03\x90" + b"\x91" * 100_000,  # nested without end
        encode([wire.Drained()])[4:],  # a message of the other direction
    ],
)
def test_what_is_no_batch_of_this_link_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenWire, match="not a message of this link"):
        reader().receive(batch_of(body))


@given(st.lists(st.one_of(st.binary(max_size=30), st.binary(max_size=30).map(batch_of))))
def test_arbitrary_bytes_raise_nothing_but_broken_wire(pieces: list[bytes]) -> None:
    link, messages = reader(), list[Any]()
    try:
        for piece in pieces:
            messages += link.receive(piece)
    except BrokenWire:
        pass
    assert all(type(message) in get_args(wire.FromWorker) for message in messages)


@given(some_messages, st.data())
def test_corrupt_batch_raises_only_broken_wire(
    messages: list[wire.FromWorker], data: st.DataObject
) -> None:
    body = bytearray(encode(messages)[4:])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        received = reader().receive(batch_of(bytes(body)))
    except BrokenWire:
        return
    assert all(type(message) in get_args(wire.FromWorker) for message in received)


# Large batches.


def test_large_batch_is_parsed_once() -> None:
    # Were it copied with each of its 200,000 pieces, this would take minutes.
    batch = encode([wire.Act([wire.SendBinary(7, bytes(10_000_000))])])
    link = reader()
    received = [m for i in range(0, len(batch), 50) for m in link.receive(batch[i : i + 50])]
    assert len(received) == 1


def test_long_output_leaves_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BATCH", 20)
    messages = [wire.Act([wire.SendText(7, str(i))]) for i in range(9)]
    sent = encode(messages)
    assert sent[0] <= 20
    assert reader().receive(sent) == messages


def test_a_message_that_is_too_long_by_itself_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BATCH", 20)
    with pytest.raises(BrokenWire, match="a message of 28 bytes is over the limit of 20"):
        encode([wire.Hello(1), wire.Act([wire.SendText(7, "x" * 20)])])


def test_what_is_missing_of_a_batch_is_known() -> None:
    reader: BatchReader[Any] = BatchReader(wire.ToWorker)
    batch = bytes(BatchEncoder().encode([wire.Drained()]))
    assert reader.missing == 0
    reader.receive(batch[:2])
    assert reader.missing == 2  # of the length
    reader.receive(batch[2:5])
    assert reader.missing == len(batch) - 5
    assert reader.receive(batch[5:]) == [wire.Drained()]
    assert reader.missing == 0
