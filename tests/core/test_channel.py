from __future__ import annotations

import math
from contextvars import copy_context
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.channel import BroadcastChannel
from holdfast.core.errors import NotInsideHoldfast
from holdfast.core.outbox import current_outbox
from tests.core.fakes import FakeHost, FakeOutbox, message_event, outbox_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.core.events import ExtendableEvent


class Room(StrEnum):
    LOBBY = "lobby"


class Markup(str):
    __slots__ = ()


LOBBY = BroadcastChannel("lobby")


@pytest.fixture
def outbox() -> Iterator[FakeOutbox]:
    """The outbox of the event that runs."""
    outbox = FakeHost().new_outbox()
    token = current_outbox.set(outbox)
    yield outbox
    current_outbox.reset(token)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


# -- the name


def test_a_channel_has_its_name() -> None:
    assert LOBBY.name == "lobby"
    assert repr(LOBBY) == "BroadcastChannel('lobby')"


@pytest.mark.parametrize("name", [Room.LOBBY, Markup("lobby")])
def test_a_channel_named_by_an_enum_is_the_channel_of_that_text(name: str) -> None:
    assert type(BroadcastChannel(name).name) is str
    assert BroadcastChannel(name).name == "lobby"


@pytest.mark.parametrize("name", ["NUL \0", " ", "é/🎈.*>", "x" * 10_000])
def test_any_text_that_is_not_empty_is_a_name(name: str) -> None:
    assert BroadcastChannel(name).name == name


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", ValueError, "a channel name has at least one character"),
        ("\ud800", ValueError, "a channel name has a lone surrogate at index 0"),
        (None, TypeError, "a channel name is a str, not NoneType"),
        (b"lobby", TypeError, "a channel name is a str, not bytes"),
    ],
)
def test_what_is_no_name_is_refused(name: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        BroadcastChannel(name)


# -- what is posted


@pytest.mark.parametrize(
    ("message", "published"),
    [
        ("hello", "hello"),
        ("", ""),
        ("NUL \0 é", "NUL \0 é"),
        (Markup("<b>"), "<b>"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
    ],
)
def test_text_and_bytes_are_published_as_they_are(
    outbox: FakeOutbox, message: str | bytes, published: str | bytes
) -> None:
    LOBBY.post_message(message)
    assert outbox.entries == [("publish", "lobby", published)]
    assert type(outbox.entries[0][2]) is type(published)


@pytest.mark.parametrize(
    ("message", "published"),
    [
        ({"name": "Zoë", "n": [1, 2.5, True, None]}, '{"name": "Zoë", "n": [1, 2.5, true, null]}'),
        ([], "[]"),
        (None, "null"),
        (5, "5"),
        ((1, 2), "[1, 2]"),
        ({1: 2}, '{"1": 2}'),
    ],
)
def test_other_plain_data_is_published_as_json(
    outbox: FakeOutbox, message: object, published: str
) -> None:
    LOBBY.post_message(message)
    assert outbox.entries == [("publish", "lobby", published)]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (object(), TypeError),
        ({"a": {1}}, TypeError),
        ({"a": b"bytes inside"}, TypeError),
        ({(1, 2): 3}, TypeError),
        (datetime.now(UTC), TypeError),
        (math.nan, ValueError),
        ([math.inf], ValueError),
        ("\ud800", ValueError),
        ({"a": "\ud800"}, ValueError),
        (cyclic(), ValueError),
        (nested(50_000), ValueError),
    ],
)
def test_what_cannot_be_carried_is_refused_and_nothing_is_published(
    outbox: FakeOutbox, message: object, error: type[Exception]
) -> None:
    # A65 is different in JavaScript: there nobody learns of it but the receivers.
    with pytest.raises(error):
        LOBBY.post_message(message)
    assert outbox.entries == []


def test_data_that_changes_after_it_was_posted_was_posted_as_it_was(outbox: FakeOutbox) -> None:
    # A64.
    record, buffer = {"n": 1}, bytearray(b"before")
    LOBBY.post_message(record)
    LOBBY.post_message(buffer)
    record["n"], buffer[:] = 2, b"after!"
    assert [entry[2] for entry in outbox.entries] == ['{"n": 1}', b"before"]


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_every_json_value_is_published_as_text_that_reads_back(value: object) -> None:
    event = message_event(FakeHost())
    copy_context().run(post_in, event, value)
    (entry,) = outbox_of(event).entries
    published = value if isinstance(value, str) else message_event(FakeHost(), str(entry[2])).json()
    assert published == value


def post_in(event: ExtendableEvent, message: object) -> None:
    current_outbox.set(outbox_of(event))
    LOBBY.post_message(message)


# -- where it goes


def test_a_channel_made_at_module_level_finds_the_event_that_runs() -> None:
    one, other = message_event(FakeHost()), message_event(FakeHost())
    copy_context().run(post_in, one, "to one")
    copy_context().run(post_in, other, "to other")
    assert outbox_of(one).entries == [("publish", "lobby", "to one")]


def test_what_is_posted_after_the_event_leaves_at_once() -> None:
    host = FakeHost()
    event = message_event(host)
    outbox_of(event).seal()
    copy_context().run(post_in, event, "late")
    assert host.leaving == [("publish", "lobby", "late")]


def test_publications_and_messages_of_an_event_keep_their_order() -> None:
    event = message_event(FakeHost())
    event.source.send("first")
    copy_context().run(post_in, event, "second")
    event.source.send("third")
    assert [entry[0] for entry in outbox_of(event).entries] == ["send", "publish", "send"]


def test_posting_in_a_program_that_is_no_holdfast_is_an_error() -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^BroadcastChannel\.post_message needs a running"):
        copy_context().run(LOBBY.post_message, "hello")


def test_a_wrong_message_is_the_first_thing_to_hear_of() -> None:
    with pytest.raises(TypeError):
        copy_context().run(LOBBY.post_message, object())
