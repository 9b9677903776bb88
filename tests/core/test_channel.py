from __future__ import annotations

import gc
import math
import weakref
from contextvars import copy_context
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.channel import BroadcastChannel
from holdfast.core.channels import channels
from holdfast.core.ports import current_outbox
from holdfast.errors import ChannelClosed, MessagesLost, NotInsideHoldfast
from tests.core.fakes import FakeHost, FakeOutbox, message_event, outbox_of, run, suspend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast.core.channel import GapEvent, MessageEvent
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
    assert outbox.entries == [("publish", "lobby", published, 0, 0)]
    assert type(outbox.entries[0][2]) is type(published)


@pytest.mark.parametrize(
    ("message", "published"),
    [
        ({"name": "Zoë", "n": [1, 2.5, True, None]}, '{"name":"Zoë","n":[1,2.5,true,null]}'),
        ([], "[]"),
        (None, "null"),
        (5, "5"),
        ((1, 2), "[1,2]"),
    ],
)
def test_other_plain_data_is_published_as_json(
    outbox: FakeOutbox, message: object, published: str
) -> None:
    # The model differs: there, connections get nothing of it.
    LOBBY.post_message(message)
    assert outbox.entries == [("publish_json", "lobby", published, 0, 0)]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (object(), TypeError),
        ({"a": {1}}, TypeError),
        ({"a": b"bytes inside"}, TypeError),
        ({(1, 2): 3}, TypeError),
        ({1: 2}, TypeError),
        ([{"a": ({None: 2},)}], TypeError),
        (datetime.now(UTC), TypeError),
        (math.nan, ValueError),
        ([math.inf], ValueError),
        ("\ud800", ValueError),
        ({"a": "\ud800"}, ValueError),
        (cyclic(), ValueError),
        (nested(50_000), ValueError),
    ],
)
def test_unsendable_data_is_refused_and_not_published(
    outbox: FakeOutbox, message: object, error: type[Exception]
) -> None:
    # The model differs: there, nobody learns of it but the receivers.
    with pytest.raises(error):
        LOBBY.post_message(message)
    assert outbox.entries == []


def test_posted_data_is_a_copy(outbox: FakeOutbox) -> None:
    record, buffer = {"n": 1}, bytearray(b"before")
    LOBBY.post_message(record)
    LOBBY.post_message(buffer)
    record["n"], buffer[:] = 2, b"after!"
    assert [entry[2] for entry in outbox.entries] == ['{"n":1}', b"before"]


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
    assert outbox_of(one).entries == [("publish", "lobby", "to one", 0, 0)]


def test_what_is_posted_after_the_event_leaves_at_once() -> None:
    host = FakeHost()
    event = message_event(host)
    outbox_of(event).seal()
    copy_context().run(post_in, event, "late")
    assert host.leaving == [("publish", "lobby", "late", 0, 0)]


def test_publications_and_messages_of_an_event_keep_their_order() -> None:
    event = message_event(FakeHost())
    event.source.send("first")
    copy_context().run(post_in, event, "second")
    event.source.send("third")
    assert [entry[0] for entry in outbox_of(event).entries] == ["send", "publish", "send"]


def test_posting_outside_holdfast_is_an_error() -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^BroadcastChannel\.post_message needs a running"):
        copy_context().run(LOBBY.post_message, "hello")


def test_invalid_message_is_reported_before_missing_host() -> None:
    with pytest.raises(TypeError):
        copy_context().run(LOBBY.post_message, object())


def test_a_publication_may_leave_out_the_connection_it_came_from() -> None:
    event = message_event(FakeHost())
    context = copy_context()
    context.run(current_outbox.set, outbox_of(event))
    context.run(LOBBY.post_message, "hello", exclude=event.source)
    context.run(LOBBY.post_message, {"n": 1}, exclude=event.source)
    assert outbox_of(event).entries == [
        ("publish", "lobby", "hello", 0, event.source.serial),
        ("publish_json", "lobby", '{"n":1}', 0, event.source.serial),
    ]


def test_only_a_connection_can_be_left_out(outbox: FakeOutbox) -> None:
    with pytest.raises(TypeError, match="exclude is a Connection, not str"):
        LOBBY.post_message("hello", exclude="id-5")  # type: ignore[arg-type]
    assert outbox.entries == []


# -- listening


@pytest.fixture
def host(outbox: FakeOutbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    """A host that delivers to the channels of this process; an event of it runs."""
    # Applications that other tests have imported listen as well.
    monkeypatch.setattr(channels, "_listening", {})
    channels.attach(outbox.host)
    yield outbox.host
    channels.detach(outbox.host)
    assert outbox.host.listening == []


@pytest.fixture
def kitchen() -> Iterator[BroadcastChannel]:
    with BroadcastChannel("kitchen", max_queue=3) as channel:
        yield channel


def post(host: FakeHost, data: str | bytes, name: str = "kitchen", poster: int = 0) -> None:
    """Somebody publishes; the host delivers."""
    channels.deliver(host, name, data, poster, is_json=False)


def test_a_listener_hears_what_others_post(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[MessageEvent] = []
    kitchen.add_event_listener("message", heard.append)
    assert host.listening == ["kitchen"]
    post(host, "soup")
    post(host, b"salt")
    channels.deliver(host, "kitchen", '{"n": 1}', 0, is_json=True)
    assert heard == []
    assert host.run_spawned() == []
    assert [event.data for event in heard] == ["soup", b"salt", {"n": 1}]
    assert [event.channel for event in heard] == [kitchen] * 3
    # What is handed out is not published again.
    assert host.commits == [[], [], []]
    assert host.leaving == []


def test_a_channel_does_not_hear_itself(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[MessageEvent] = []
    other = BroadcastChannel("kitchen")
    for channel in (kitchen, other):
        channel.add_event_listener("message", heard.append)
    post(host, "soup", poster=kitchen.number)
    host.run_spawned()
    assert [event.channel for event in heard] == [other]
    other.close()


def test_a_channel_that_listens_says_so_when_it_posts(
    host: FakeHost, kitchen: BroadcastChannel, outbox: FakeOutbox
) -> None:
    kitchen.on("message")(print)
    kitchen.post_message("soup")
    assert outbox.entries == [("publish", "kitchen", "soup", kitchen.number, 0)]
    assert kitchen.number > 0


def test_listeners_are_added_once_and_removed(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[MessageEvent] = []
    listener = heard.append
    kitchen.add_event_listener("message", listener)
    kitchen.add_event_listener("message", listener)
    post(host, "soup")
    host.run_spawned()
    assert len(heard) == 1
    kitchen.remove_event_listener("message", listener)
    kitchen.remove_event_listener("message", listener)
    assert host.listening == []
    post(host, "salt")
    assert host.run_spawned() == []
    assert len(heard) == 1


def test_one_of_two_listeners_may_go(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[MessageEvent] = []
    kitchen.add_event_listener("message", print)
    kitchen.add_event_listener("message", heard.append)
    kitchen.remove_event_listener("message", print)
    post(host, "soup")
    host.run_spawned()
    assert len(heard) == 1


def test_a_listener_may_remove_itself(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[object] = []

    @kitchen.on("message")
    def once(event: MessageEvent) -> None:
        heard.append(event.data)
        kitchen.remove_event_listener("message", once)

    post(host, "soup")
    post(host, "salt")
    assert host.run_spawned() == []
    assert heard == ["soup"]


def test_channel_hears_after_its_host_is_gone(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[object] = []
    kitchen.on("message")(lambda event: heard.append(event.data))
    post(host, "soup")
    host.spawned.pop().close()
    other = FakeHost()
    post(other, "salt")
    assert other.run_spawned() == []
    assert heard == ["soup", "salt"]


def test_a_listener_that_waits_at_one_host_does_not_end_the_work_of_another(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    heard: list[object] = []

    @kitchen.on("message")
    async def slow(event: MessageEvent) -> None:
        heard.append(event.data)
        await suspend()

    post(host, "soup")
    first = host.spawned.pop()
    first.send(None)
    other = FakeHost()
    post(other, "salt")
    second = other.spawned.pop()
    steps = second.__await__()
    next(steps)
    with pytest.raises(StopIteration):
        first.send(None)
    post(other, "pepper")
    assert other.spawned == []
    assert list(steps) == [None]
    assert heard == ["soup", "salt", "pepper"]


def test_messages_are_handed_out_one_after_the_other(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    steps: list[str] = []

    @kitchen.on("message")
    async def slow(event: MessageEvent) -> None:
        steps.append(f"begin {event.data}")
        await suspend()
        steps.append(f"end {event.data}")

    post(host, "a")
    post(host, "b")
    host.run_spawned()
    assert steps == ["begin a", "end a", "begin b", "end b"]


def test_channel_listener_actions_leave_after_return(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    @kitchen.on("message")
    def answer(event: MessageEvent) -> None:
        LOBBY.post_message(event.data)
        assert host.commits == []

    post(host, "soup")
    host.run_spawned()
    assert host.commits == [[("publish", "lobby", "soup", 0, 0)]]


def test_a_listener_that_raises_is_reported_and_the_next_message_comes(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    @kitchen.on("message")
    def fail(event: MessageEvent) -> None:
        LOBBY.post_message(event.data)
        if event.data == "bad":
            raise ValueError("no")

    post(host, "bad")
    post(host, "good")
    assert host.run_spawned() == []
    ((what, error),) = host.reports
    assert what == "a message listener of BroadcastChannel('kitchen')"
    assert isinstance(error, ValueError)
    assert host.commits == [[("publish", "lobby", "good", 0, 0)]]


def test_slow_listener_gets_a_gap_event(host: FakeHost, kitchen: BroadcastChannel) -> None:
    heard: list[object] = []
    kitchen.on("message")(lambda event: heard.append(event.data))
    kitchen.on("gap")(lambda event: heard.append(("lost", event.lost)))
    for number in range(5):
        post(host, str(number))
    host.run_spawned()
    assert heard == [("lost", 2), "2", "3", "4"]


def test_publications_that_never_reached_the_process_are_told_too(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    gaps: list[GapEvent] = []
    kitchen.add_event_listener("gap", gaps.append)
    channels.lose(host, 2)
    assert host.run_spawned() == []
    kitchen.add_event_listener("message", print)
    channels.lose(host, 3)
    host.run_spawned()
    assert [(gap.channel, gap.lost) for gap in gaps] == [(kitchen, 3)]


def test_a_channel_has_two_events(kitchen: BroadcastChannel) -> None:
    with pytest.raises(ValueError, match="no event 'close' of a channel"):
        kitchen.add_event_listener("close", print)
    with pytest.raises(ValueError, match="no event 'close' of a channel"):
        kitchen.remove_event_listener("close", print)
    with pytest.raises(TypeError, match="a listener is callable"):
        kitchen.add_event_listener("message", 5)
    assert kitchen.number == 0


@pytest.mark.parametrize("type", [None, 5, b"message", ["message"], print])
def test_an_event_of_a_channel_is_named_by_text(kitchen: BroadcastChannel, type: Any) -> None:
    words = "^the type of an event is a str, not "
    for call in (kitchen.add_event_listener, kitchen.remove_event_listener):
        with pytest.raises(TypeError, match=words):
            call(type, print)
    with pytest.raises(TypeError, match=words):
        kitchen.on(type)
    assert kitchen.number == 0


def test_decorator_for_unknown_event_raises(
    kitchen: BroadcastChannel,
) -> None:
    with pytest.raises(ValueError, match="no event 'close' of a channel"):
        kitchen.on("close")  # type: ignore[call-overload]


def test_a_channel_that_only_posts_is_kept_by_nobody(host: FakeHost, outbox: FakeOutbox) -> None:
    # The model differs: there, each one that was ever made hears everything, and is never freed.
    # Nor is its name.
    channel = BroadcastChannel("kitchen")
    channel.post_message("soup")
    assert host.listening == []
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert gone() is None


def test_a_channel_that_listens_is_kept_until_it_is_closed(host: FakeHost) -> None:
    heard: list[object] = []

    def make() -> weakref.ref[BroadcastChannel]:
        channel = BroadcastChannel("kitchen")
        channel.on("message")(lambda event: heard.append(event.data))
        return weakref.ref(channel)

    ref = make()
    gc.collect()
    post(host, "soup")
    host.run_spawned()
    assert heard == ["soup"]
    channel = ref()
    assert channel is not None
    channel.close()
    del channel
    gc.collect()
    assert ref() is None


# -- iterating


async def collect(messages: AsyncIterator[Any], count: int) -> list[Any]:
    return [await anext(messages) for _ in range(count)]


def test_an_iteration_gets_what_others_post_from_now_on(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    post(host, "too early")
    messages = aiter(kitchen)
    assert host.listening == ["kitchen"]
    post(host, "soup")
    post(host, "salt")
    assert run(collect(messages, 2)) == ["soup", "salt"]
    run(messages.aclose())
    assert host.listening == []


def test_every_iteration_gets_everything(host: FakeHost, kitchen: BroadcastChannel) -> None:
    one, other = aiter(kitchen), aiter(kitchen)
    post(host, "soup")
    assert run(collect(one, 1)) == run(collect(other, 1)) == ["soup"]
    run(one.aclose())
    assert host.listening == ["kitchen"]
    run(other.aclose())


def test_an_iteration_waits(host: FakeHost, kitchen: BroadcastChannel) -> None:
    messages = aiter(kitchen)
    waiting = collect(messages, 1)
    waiting.send(None)
    post(host, "soup")
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    assert end.value.value == ["soup"]
    run(messages.aclose())


def test_an_iteration_that_falls_behind_raises(host: FakeHost, kitchen: BroadcastChannel) -> None:
    messages = aiter(kitchen)
    for number in range(5):
        post(host, str(number))
    with pytest.raises(MessagesLost, match=r"^2 messages were lost"):
        run(collect(messages, 1))
    assert host.listening == []


def test_an_iteration_is_told_what_never_reached_the_process(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    messages = aiter(kitchen)
    channels.lose(host, 1)
    with pytest.raises(MessagesLost):
        run(collect(messages, 1))


def test_an_iteration_ends_when_its_worker_leaves(
    host: FakeHost, kitchen: BroadcastChannel, outbox: FakeOutbox
) -> None:
    messages = aiter(kitchen)
    outbox.seal()
    waiting = collect(messages, 1)
    waiting.send(None)
    host.is_leaving = True
    channels.host_leaves()
    with pytest.raises(StopAsyncIteration):
        waiting.send(None)


def test_iterating_outside_holdfast_is_an_error(kitchen: BroadcastChannel) -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^iterating over a BroadcastChannel needs"):
        copy_context().run(aiter, kitchen)
    assert kitchen.number == 0


# -- closing


def test_a_closed_channel_says_so(host: FakeHost, kitchen: BroadcastChannel) -> None:
    assert not kitchen.closed
    kitchen.close()
    kitchen.close()
    assert kitchen.closed
    assert repr(kitchen) == "closed BroadcastChannel('kitchen')"
    with pytest.raises(ChannelClosed):
        kitchen.post_message("soup")
    with pytest.raises(ChannelClosed):
        kitchen.add_event_listener("message", print)
    with pytest.raises(ChannelClosed):
        aiter(kitchen)


def test_messages_before_close_are_still_iterated(
    host: FakeHost, kitchen: BroadcastChannel
) -> None:
    heard: list[Any] = []
    kitchen.on("message")(lambda event: heard.append(event.data))
    messages = aiter(kitchen)
    post(host, "soup")
    kitchen.close()
    assert host.listening == []
    post(host, "too late")
    host.run_spawned()
    assert heard == ["soup"]
    assert run(collect(messages, 1)) == ["soup"]
    with pytest.raises(StopAsyncIteration):
        run(collect(messages, 1))


def test_a_channel_is_closed_at_the_end_of_its_block() -> None:
    with BroadcastChannel("kitchen") as channel:
        assert not channel.closed
    assert channel.closed


@pytest.mark.parametrize(
    ("limit", "error"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (True, TypeError)]
)
def test_a_queue_has_a_limit(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_queue is"):
        BroadcastChannel("kitchen", max_queue=limit)
