from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BrokenWire
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.control import ControlDecoder, encode_control

if TYPE_CHECKING:
    from msgspec import Struct

# What may come, and an example of each message in it.
DIRECTIONS: list[tuple[Any, list[Struct]]] = [
    (
        control.ToWorker,
        [
            control.Serve(),
            control.Quiesce(),
            control.Drain(),
            control.Connect(),
            wire.Probe(),
        ],
    ),
    (
        control.FromWorker,
        [
            control.Loaded(),
            control.Failed("why", "…"),
            control.Quiet(),
            control.Retiring("why"),
            control.Idle(),
            control.Busy(),
            control.Counted({"max_body": 3}),
            wire.Alive(),
        ],
    ),
    (
        control.ToKeeper,
        [
            control.AddWorker(1, 2),
            control.Prefer(2),
            control.CloseAll(1001, ""),
            control.Report(),
            control.DrainWorker(1),
        ],
    ),
    (
        control.FromKeeper,
        [
            control.WorkerDropped(1, "why"),
            control.KeeperStatus(1, 2, 3, 4, 5, 6, 7, {"max_message": 8}),
            control.Empty(),
            control.WorkWaits(),
        ],
    ),
]
EXAMPLES = [(union, message) for union, examples in DIRECTIONS for message in examples]
FIELDS = [(u, m, place) for u, m in EXAMPLES for place in range(len(m.__struct_fields__))]


def decode(union: Any, packet: bytes) -> Any:
    decoder: ControlDecoder[Any] = ControlDecoder(union)
    return decoder.decode(packet)


@pytest.mark.parametrize(("union", "examples"), DIRECTIONS)
def test_these_tests_have_an_example_of_every_message(union: Any, examples: list[Struct]) -> None:
    assert {type(message) for message in examples} == set(get_args(union))


@pytest.mark.parametrize(("union", "message"), EXAMPLES)
def test_a_message_arrives_as_it_was_sent(union: Any, message: Struct) -> None:
    assert decode(union, encode_control(message)) == message


@pytest.mark.parametrize(("union", "message", "place"), FIELDS)
def test_a_field_of_the_wrong_type_is_refused(union: Any, message: Struct, place: int) -> None:
    as_list = msgspec.msgpack.decode(encode_control(message))
    as_list[place + 1] = [1.5]
    with pytest.raises(BrokenWire, match="not a message of this control link"):
        decode(union, msgspec.msgpack.encode(as_list))


@pytest.mark.parametrize(("union", "message", "place"), FIELDS)
def test_a_missing_field_is_refused(union: Any, message: Struct, place: int) -> None:
    as_list = msgspec.msgpack.decode(encode_control(message))
    with pytest.raises(BrokenWire):
        decode(union, msgspec.msgpack.encode(as_list[: place + 1]))


def test_a_message_of_another_direction_is_refused() -> None:
    with pytest.raises(BrokenWire):
        decode(control.FromWorker, encode_control(control.Prefer(2)))


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BrokenWire):
        decode(control.FromWorker, b"\x93\x02\xa1\xff\xa0")


def test_a_packet_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(BrokenWire):
        decode(control.FromWorker, b"\x92\x01" + b"\x91" * 100_000)


def test_an_empty_packet_is_refused() -> None:
    with pytest.raises(BrokenWire):
        decode(control.FromKeeper, b"")


@given(st.sampled_from(DIRECTIONS), st.binary(max_size=40))
def test_arbitrary_packets_raise_nothing_but_broken_wire(
    direction: tuple[Any, list[Struct]], packet: bytes
) -> None:
    try:
        message = decode(direction[0], packet)
    except BrokenWire:
        return
    assert type(message) in get_args(direction[0])
