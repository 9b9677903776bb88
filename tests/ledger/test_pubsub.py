from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.core.ports import Metadata
from holdfast.ledger import commands as do
from holdfast.ledger.connection import Connection, State
from holdfast.ledger.pubsub import MAX_WAITING, PubSub
from holdfast.wire.codec import decode_metadata, encode_metadata
from holdfast.wire.messages import PublishJson, PublishText

if TYPE_CHECKING:
    from holdfast.wire.messages import Publish

import string

from holdfast.ledger.pubsub import Subscriptions


def connection(serial: int) -> Connection:
    return Connection(serial, encode_metadata(Metadata("http://a/", None, frozenset())), None)


def text(data: str, channel: str = "room", *, exclude: int = 0) -> Publish:
    return PublishText(channel, data, 0, exclude)


# Connections.


def test_a_publication_goes_to_all_that_are_subscribed_and_open() -> None:
    pubsub = PubSub()
    one, other, closing = connection(1), connection(2), connection(3)
    for each in (one, other, closing):
        pubsub.subscribe(each, "room")
    closing.state = State.CLOSING
    assert pubsub.publish(text("a")) == [do.WriteMany([one, other], "a")]
    assert pubsub.publish(text("a", exclude=1)) == [do.WriteMany([other], "a")]
    assert list(pubsub.members("room")) == [one, other, closing]


def test_nobody_hears_what_nobody_is_subscribed_to() -> None:
    pubsub = PubSub()
    one = connection(1)
    pubsub.subscribe(one, "room")
    pubsub.unsubscribe(one, "room")
    pubsub.subscribe(one, "another room")
    pubsub.drop(one)
    assert pubsub.publish(text("a")) == []
    assert pubsub.publish(text("a", "another room")) == []


def test_a_connection_carries_the_names_of_its_channels() -> None:
    pubsub = PubSub()
    one = connection(1)
    pubsub.subscribe(one, "a")
    pubsub.subscribe(one, "b")
    assert decode_metadata(one.about).channels == {"a", "b"}
    pubsub.unsubscribe(one, "a")
    assert decode_metadata(one.about).channels == {"b"}


# Workers.


def test_workers_that_listen_get_the_publication_itself() -> None:
    pubsub = PubSub()
    assert pubsub.listen(2, "room") == []
    assert pubsub.listen(1, "room") == []
    action = PublishJson("room", "{}", 7, 0)
    assert pubsub.publish(action) == [do.PublishTo([2, 1], action)]
    pubsub.unlisten(2, "room")
    assert pubsub.publish(action) == [do.PublishTo([1], action)]


def test_publications_wait_for_next_listener() -> None:
    # Until it has started.
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.unlisten_all(1)
    assert pubsub.publish(text("a")) == []
    assert pubsub.has_waiting
    assert pubsub.publish(text("b")) == []
    assert pubsub.publish(text("c", "another room")) == []
    assert pubsub.listen(2, "room") == [
        do.PublishTo([2], text("a")),
        do.PublishTo([2], text("b")),
    ]
    assert not pubsub.has_waiting
    assert pubsub.publish(text("d")) == [do.PublishTo([2], text("d"))]


def test_while_another_listens_nothing_waits() -> None:
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.listen(2, "room")
    pubsub.unlisten_all(1)
    assert pubsub.publish(text("a")) == [do.PublishTo([2], text("a"))]
    assert not pubsub.has_waiting


def test_a_listener_that_leaves_the_channel_misses_nothing() -> None:
    # It has closed its channel object; nobody is to be woken for it.
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.unlisten(1, "room")
    pubsub.publish(text("a"))
    assert not pubsub.has_waiting


def test_late_unlisten_leaves_other_listeners() -> None:
    # One that leaves closes its channel objects after the next one has made
    # its own.
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.unlisten_all(1)
    pubsub.listen(2, "room")
    pubsub.unlisten(1, "room")
    assert pubsub.publish(text("a")) == [do.PublishTo([2], text("a"))]


def test_ready_worker_ends_waiting_publications() -> None:
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.unlisten_all(1)
    pubsub.publish(text("a"))
    pubsub.settle()
    assert not pubsub.has_waiting
    pubsub.publish(text("b"))
    assert not pubsub.has_waiting
    assert pubsub.listen(2, "room") == []


def test_waiting_publications_are_limited() -> None:
    pubsub = PubSub()
    pubsub.listen(1, "room")
    pubsub.unlisten_all(1)
    for number in range(MAX_WAITING + 1):
        pubsub.publish(text(str(number)))
    waiting = pubsub.listen(2, "room")
    assert len(waiting) == MAX_WAITING
    assert waiting[-1] == do.PublishTo([2], text(str(MAX_WAITING - 1)))


# Whatever happens: a worker hears everything from when it listens, in order, and once.


class ExchangeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pubsub = PubSub()
        self.heard: dict[int, list[str]] = {}
        self.expected: dict[int, list[str]] = {}
        self.missed: list[str] | None = None  # since the last listener has gone
        self.published = 0

    @rule(worker=st.integers(1, 3))
    def listen(self, worker: int) -> None:
        if worker not in self.expected:
            self.expected[worker], self.missed = self.missed or [], None
            self.heard[worker] = []
        self.run(self.pubsub.listen(worker, "room"))

    @rule(worker=st.integers(1, 3))
    def unlisten(self, worker: int) -> None:
        self.expected.pop(worker, None)
        self.pubsub.unlisten(worker, "room")

    @rule(worker=st.integers(1, 3))
    def unlisten_all(self, worker: int) -> None:
        self.pubsub.unlisten_all(worker)
        if self.expected.pop(worker, None) is not None and not self.expected:
            self.missed = []

    @rule()
    def settle(self) -> None:
        self.pubsub.settle()
        self.missed = None

    @rule()
    def publish(self) -> None:
        self.published += 1
        for expected in self.expected.values():
            expected.append(str(self.published))
        if self.missed is not None and not self.expected:
            self.missed.append(str(self.published))
        self.run(self.pubsub.publish(text(str(self.published))))

    def run(self, commands: list[do.Command]) -> None:
        for command in commands:
            assert isinstance(command, do.PublishTo)
            for worker in command.workers:
                self.heard[worker].append(str(command.publication.data))

    @invariant()
    def who_listens_has_heard_everything(self) -> None:
        for worker, expected in self.expected.items():
            assert self.heard[worker] == expected
        assert self.pubsub.has_waiting == bool(self.missed)


TestExchangeAgainstItsModel = ExchangeMachine.TestCase


def subscriptions(*pairs: tuple[str, int]) -> Subscriptions[int]:
    index: Subscriptions[int] = Subscriptions()
    for channel, member in pairs:
        index.add(channel, member)
    return index


def test_a_channel_knows_its_members_in_order_of_subscription() -> None:
    index = subscriptions(("room", 3), ("other", 9), ("room", 1), ("room", 2))
    assert list(index.members("room")) == [3, 1, 2]


def test_a_member_knows_its_channels() -> None:
    index = subscriptions(("a", 1), ("b", 1), ("c", 2))
    assert list(index.channels(1)) == ["a", "b"]


def test_nobody_is_subscribed_to_what_was_never_heard_of() -> None:
    index = subscriptions()
    assert list(index.members("room")) == []
    assert list(index.channels(1)) == []


def test_subscribing_twice_counts_once_and_keeps_the_place() -> None:
    index = subscriptions(("room", 1), ("room", 2), ("room", 1))
    assert list(index.members("room")) == [1, 2]


def test_remove_undoes_one_subscription() -> None:
    index = subscriptions(("a", 1), ("b", 1), ("a", 2))
    index.remove("a", 1)
    assert list(index.members("a")) == [2]
    assert list(index.channels(1)) == ["b"]


def test_removing_what_was_never_added_is_no_error() -> None:
    index = subscriptions(("a", 1))
    index.remove("a", 2)
    index.remove("b", 1)
    assert list(index.members("a")) == [1]


def test_drop_removes_a_member_from_all_its_channels() -> None:
    index = subscriptions(("a", 1), ("b", 1), ("a", 2))
    index.drop(1)
    assert list(index.members("a")) == [2]
    assert list(index.members("b")) == []
    assert list(index.channels(1)) == []


def test_dropping_a_stranger_is_no_error() -> None:
    index = subscriptions(("a", 1))
    index.drop(2)
    assert list(index.members("a")) == [1]


def test_members_are_a_live_view() -> None:
    index = subscriptions(("room", 1))
    members = index.members("room")
    index.add("room", 2)
    assert list(members) == [1, 2]


def test_members_may_be_anything_hashable() -> None:
    index: Subscriptions[object] = Subscriptions()
    member = object()
    index.add("room", member)
    assert member in index.members("room")


def has_nothing_in_it(index: Subscriptions[int]) -> bool:
    # The promise is about memory, so it is looked for where the memory would be.
    return not any(vars(index).values())


def test_what_is_not_subscribed_takes_no_memory() -> None:
    index = subscriptions(("a", 1), ("b", 1), ("b", 2))
    index.members("c")
    index.channels(3)
    index.remove("a", 1)
    index.drop(1)
    index.remove("b", 2)
    assert has_nothing_in_it(index)


# Against a model.

channels = st.sampled_from(string.ascii_letters[:4])
members = st.integers(1, 4)


class SubscriptionsMachine(RuleBasedStateMachine):
    """Subscriptions are a list of pairs without doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.index: Subscriptions[int] = Subscriptions()
        self.pairs: list[tuple[str, int]] = []

    @rule(channel=channels, member=members)
    def add(self, channel: str, member: int) -> None:
        self.index.add(channel, member)
        if (channel, member) not in self.pairs:
            self.pairs.append((channel, member))

    @rule(channel=channels, member=members)
    def remove(self, channel: str, member: int) -> None:
        self.index.remove(channel, member)
        self.pairs = [pair for pair in self.pairs if pair != (channel, member)]

    @rule(member=members)
    def drop(self, member: int) -> None:
        self.index.drop(member)
        self.pairs = [pair for pair in self.pairs if pair[1] != member]

    @invariant()
    def both_ways_say_the_same(self) -> None:
        for channel in {channel for channel, _ in self.pairs}:
            expected = [m for c, m in self.pairs if c == channel]
            assert list(self.index.members(channel)) == expected
        for member in range(1, 5):
            assert list(self.index.channels(member)) == [c for c, m in self.pairs if m == member]

    @invariant()
    def takes_memory_only_for_what_is_subscribed(self) -> None:
        assert has_nothing_in_it(self.index) == (not self.pairs)


TestSubscriptionsAgainstTheirModel = SubscriptionsMachine.TestCase
