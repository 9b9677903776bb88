from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from msgspec import Struct

ACTIONS: list[Struct] = [
    wire.SendText(7, "hé"),
    wire.SendBinary(7, b"\xff"),
    wire.Close(7, 1000, "bye"),
    wire.Attach(7, b"\x80"),
    wire.Subscribe(7, "room"),
    wire.Unsubscribe(7, "room"),
    wire.PublishText("room", "hé", 1, 2),
    wire.PublishBinary("room", b"\xff", 1, 2),
    wire.PublishJson("room", '"hé"', 1, 2),
]
FROM_WORKER: list[Struct] = [
    wire.Hello(1),
    wire.Ready(2),
    wire.Ack(7, 2, 1, [], 2),
    wire.Act([]),
    wire.Handover(
        serial=7,
        key=b"key",
        subprotocol="chat",
        headers=[(b"name", b"value")],
        about=b"about",
        leftover=b"left",
        actions=[],
        lost=False,
        address="::1",
        extensions=b"permessage-deflate",
        endpoint=b"scope",
        closes=True,
    ),
    wire.Listen("room"),
    wire.Unlisten("room"),
    wire.Search(1, None, 10),
    wire.LookUp(1, [7, 8]),
    wire.Alive(),
    wire.Release(7),
]
TO_WORKER: list[Struct] = [
    wire.Welcome(1, b"node", b"key"),
    wire.DeliverText(7, 1, 1, "hé", b"about", b"attachment", 5),
    wire.DeliverBinary(7, 1, 1, b"\xff", b"about", b"attachment", 5),
    wire.DeliverClose(7, 1, 1, 1006, "", b"about", b"attachment", 5),
    wire.Refused(7, "why"),
    wire.Drained(),
    wire.PublishText("room", "hé", 1, 2),
    wire.PublishBinary("room", b"\xff", 1, 2),
    wire.PublishJson("room", '"hé"', 1, 2),
    wire.PublicationsLost(3),
    wire.SearchResult(1, [7, 8]),
    wire.LookUpResult(1, [(7, b"about", b"attachment", False)]),
    wire.Probe(),
    wire.DeliverResume(7, 1, 1, b"scope", 1, b"about", b"attachment", 5),
    wire.Pressure(7, True),
]
# What may come, and an example of each message in it.
DIRECTIONS: list[tuple[Any, list[Struct]]] = [
    (wire.Action, ACTIONS),
    (wire.FromWorker, FROM_WORKER),
    (wire.ToWorker, TO_WORKER),
]
EXAMPLES = [(union, message) for union, examples in DIRECTIONS for message in examples]

encode = msgspec.msgpack.encode


def decode(union: Any, encoded: bytes) -> Any:
    return msgspec.msgpack.decode(encoded, type=union)


@pytest.mark.parametrize(("union", "examples"), DIRECTIONS)
def test_these_tests_have_an_example_of_every_message(union: Any, examples: list[Struct]) -> None:
    assert {type(message) for message in examples} == set(get_args(union))


@pytest.mark.parametrize(("union", "message"), EXAMPLES)
def test_a_message_arrives_as_it_was_sent(union: Any, message: Struct) -> None:
    assert decode(union, encode(message)) == message


@given(st.data())
def test_any_message_arrives_as_it_was_sent(data: st.DataObject) -> None:
    union, _ = data.draw(st.sampled_from(DIRECTIONS))
    kind = data.draw(st.sampled_from(get_args(union)))
    fields = get_type_hints(kind)
    message = kind(*(data.draw(values(fields[name])) for name in kind.__struct_fields__))
    assert decode(union, encode(message)) == message


def values(of: Any) -> st.SearchStrategy[Any]:
    """Return any values of a field's type that can be sent."""
    if of is int:
        return st.integers(-(2**63), 2**64 - 1)
    if of == list[wire.Action]:
        return st.lists(st.sampled_from(ACTIONS), max_size=3)
    if of == list[tuple[bytes, bytes]]:
        return st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=3)
    if of == list[int]:
        return st.lists(values(int), max_size=3)
    if of == list[tuple[int, bytes, bytes, bool]]:
        return st.lists(st.tuples(values(int), st.binary(), st.binary(), st.booleans()), max_size=3)
    known = {str: st.text(), bytes: st.binary(), bool: st.booleans()}
    return known[of] if of in known else st.one_of(st.none(), st.text())


def fields_of(examples: list[tuple[Any, Struct]]) -> list[tuple[Any, Struct, int]]:
    return [
        (union, message, place)
        for union, message in examples
        for place in range(len(message.__struct_fields__))
    ]


@pytest.mark.parametrize(("union", "message", "place"), fields_of(EXAMPLES))
def test_a_field_of_the_wrong_type_is_noticed(union: Any, message: Struct, place: int) -> None:
    as_list = decode(Any, encode(message))
    as_list[place + 1] = {"wrong": 1.5}
    with pytest.raises(msgspec.ValidationError):
        decode(union, encode(as_list))


@pytest.mark.parametrize(("union", "message", "place"), fields_of(EXAMPLES))
def test_a_missing_field_is_noticed(union: Any, message: Struct, place: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(union, encode(decode(Any, encode(message))[: place + 1]))


@pytest.mark.parametrize(
    ("union", "message"),
    [
        (wire.FromWorker, wire.Act([wire.SendText(7, b"binary")])),  # type: ignore[arg-type]
        (wire.FromWorker, wire.Act([wire.SendBinary(7, "text")])),  # type: ignore[arg-type]
        (wire.FromWorker, wire.Ack(7, 1, 1, [wire.Act([])], 1)),  # type: ignore[list-item]
        (wire.FromWorker, wire.Act([wire.Close(7, True, "")])),
        (wire.ToWorker, wire.DeliverText(7, 1, 1, b"binary", b"", b"", 0)),  # type: ignore[arg-type]
        (wire.ToWorker, wire.DeliverBinary(7, 1, 1, "text", b"", b"", 0)),  # type: ignore[arg-type]
    ],
)
def test_text_is_not_binary_nor_a_message_an_action(union: Any, message: Struct) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(union, encode(message))


@pytest.mark.parametrize(("union", "_"), DIRECTIONS)
@pytest.mark.parametrize("tag", [0, 99, "Ack", None])
def test_an_unknown_tag_is_noticed(union: Any, _: object, tag: object) -> None:
    # The model differs: there, it is ignored.
    with pytest.raises(msgspec.ValidationError):
        decode(union, encode([tag, 7, 7, 7, 7, 7, 7, 7]))


def test_messages_do_not_change() -> None:
    with pytest.raises(AttributeError):
        wire.Refused(7, "why").why = "another"  # type: ignore[misc]


def test_every_name_of_the_corridor_is_listed() -> None:
    kinds = {kind.__name__ for union, _ in DIRECTIONS for kind in get_args(union)}
    unions = {
        "Action",
        "Answer",
        "Deliver",
        "Delivery",
        "FromWorker",
        "Publish",
        "Send",
    }
    assert set(wire.__all__) == kinds | unions | {"ToWorker", "VERSION"}
