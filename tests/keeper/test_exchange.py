from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.core.ports import About
from holdfast.keeper import commands as do
from holdfast.keeper.connection import Connection, State
from holdfast.keeper.exchange import MAX_WAITING, Exchange
from holdfast.wire.codec import decode_about, encode_about
from holdfast.wire.messages import PublishJson, PublishText

if TYPE_CHECKING:
    from holdfast.wire.messages import Publish


def connection(serial: int) -> Connection:
    return Connection(serial, encode_about(About("http://a/", None, frozenset())), None)


def text(data: str, channel: str = "room", *, exclude: int = 0) -> Publish:
    return PublishText(channel, data, 0, exclude)


# Connections.


def test_a_publication_goes_to_all_that_are_subscribed_and_open() -> None:
    # A74, A80.
    exchange = Exchange()
    one, other, closing = connection(1), connection(2), connection(3)
    for each in (one, other, closing):
        exchange.subscribe(each, "room")
    closing.state = State.CLOSING
    assert exchange.publish(text("a")) == [do.WriteMany([one, other], "a")]
    assert exchange.publish(text("a", exclude=1)) == [do.WriteMany([other], "a")]
    assert list(exchange.members("room")) == [one, other, closing]


def test_nobody_hears_what_nobody_is_subscribed_to() -> None:
    exchange = Exchange()
    one = connection(1)
    exchange.subscribe(one, "room")
    exchange.unsubscribe(one, "room")
    exchange.subscribe(one, "another room")
    exchange.drop(one)
    assert exchange.publish(text("a")) == []
    assert exchange.publish(text("a", "another room")) == []


def test_a_connection_carries_the_names_of_its_channels() -> None:
    # A79.
    exchange = Exchange()
    one = connection(1)
    exchange.subscribe(one, "a")
    exchange.subscribe(one, "b")
    exchange.unsubscribe(one, "a")
    assert decode_about(one.about).channels == {"b"}


# Workers.


def test_workers_that_listen_get_the_publication_itself() -> None:
    exchange = Exchange()
    assert exchange.listen(2, "room") == []
    assert exchange.listen(1, "room") == []
    action = PublishJson("room", "{}", 7, 0)
    assert exchange.publish(action) == [do.PublishTo([2, 1], action)]
    exchange.unlisten(2, "room")
    assert exchange.publish(action) == [do.PublishTo([1], action)]


def test_what_the_last_listener_misses_waits_for_the_next() -> None:
    # I-R2-2: until it has started.
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.deafen(1)
    assert exchange.publish(text("a")) == []
    assert exchange.has_waiting
    assert exchange.publish(text("b")) == []
    assert exchange.publish(text("c", "another room")) == []
    assert exchange.listen(2, "room") == [
        do.PublishTo([2], text("a")),
        do.PublishTo([2], text("b")),
    ]
    assert not exchange.has_waiting
    assert exchange.publish(text("d")) == [do.PublishTo([2], text("d"))]


def test_while_another_listens_nothing_waits() -> None:
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.listen(2, "room")
    exchange.deafen(1)
    assert exchange.publish(text("a")) == [do.PublishTo([2], text("a"))]
    assert not exchange.has_waiting


def test_a_listener_that_leaves_the_channel_misses_nothing() -> None:
    # It has closed its channel object; nobody is to be woken for it.
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.unlisten(1, "room")
    exchange.publish(text("a"))
    assert not exchange.has_waiting


def test_what_a_worker_says_late_takes_the_channel_from_nobody_else() -> None:
    # I-R3-2, I-R6-3, I-4.7: one that leaves closes its channel objects after the next one has made
    # its own.
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.deafen(1)
    exchange.listen(2, "room")
    exchange.unlisten(1, "room")
    assert exchange.publish(text("a")) == [do.PublishTo([2], text("a"))]


def test_what_no_worker_listens_to_any_more_is_forgotten_when_one_is_ready() -> None:
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.deafen(1)
    exchange.publish(text("a"))
    exchange.settle()
    assert not exchange.has_waiting
    exchange.publish(text("b"))
    assert not exchange.has_waiting
    assert exchange.listen(2, "room") == []


def test_only_so_many_wait() -> None:
    exchange = Exchange()
    exchange.listen(1, "room")
    exchange.deafen(1)
    for number in range(MAX_WAITING + 1):
        exchange.publish(text(str(number)))
    waiting = exchange.listen(2, "room")
    assert len(waiting) == MAX_WAITING
    assert waiting[-1] == do.PublishTo([2], text(str(MAX_WAITING - 1)))


# Whatever happens: a worker hears everything from when it listens, in order, and once.


class ExchangeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange()
        self.heard: dict[int, list[str]] = {}
        self.expected: dict[int, list[str]] = {}
        self.missed: list[str] | None = None  # since the last listener has gone
        self.published = 0

    @rule(worker=st.integers(1, 3))
    def listen(self, worker: int) -> None:
        if worker not in self.expected:
            self.expected[worker], self.missed = self.missed or [], None
            self.heard[worker] = []
        self.run(self.exchange.listen(worker, "room"))

    @rule(worker=st.integers(1, 3))
    def unlisten(self, worker: int) -> None:
        self.expected.pop(worker, None)
        self.exchange.unlisten(worker, "room")

    @rule(worker=st.integers(1, 3))
    def deafen(self, worker: int) -> None:
        self.exchange.deafen(worker)
        if self.expected.pop(worker, None) is not None and not self.expected:
            self.missed = []

    @rule()
    def settle(self) -> None:
        self.exchange.settle()
        self.missed = None

    @rule()
    def publish(self) -> None:
        self.published += 1
        for expected in self.expected.values():
            expected.append(str(self.published))
        if self.missed is not None and not self.expected:
            self.missed.append(str(self.published))
        self.run(self.exchange.publish(text(str(self.published))))

    def run(self, commands: list[do.Command]) -> None:
        for command in commands:
            assert isinstance(command, do.PublishTo)
            for worker in command.workers:
                self.heard[worker].append(str(command.publication.data))

    @invariant()
    def who_listens_has_heard_everything(self) -> None:
        for worker, expected in self.expected.items():
            assert self.heard[worker] == expected
        assert self.exchange.has_waiting == bool(self.missed)


TestExchangeAgainstItsModel = ExchangeMachine.TestCase
