from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.core.channels import Channels, Inbound
from holdfast.errors import MessagesLost
from tests.core.fakes import FakeHost, run

if TYPE_CHECKING:
    from holdfast.core.ports import Host


class Ear:
    """Something that listens: `heard` is what it heard, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.heard: list[Any] = []
        self.lost = 0
        self.wakes = 0

    def receive(self, host: Host, message: Any) -> None:
        self.heard.append(message)

    def lose(self, host: Host, count: int) -> None:
        self.lost += count

    def wake_iterations(self) -> None:
        self.wakes += 1


# -- who is told what is listened to


def test_a_host_is_told_of_names_that_were_listened_on_before_it_came() -> None:
    # Applications make their channels while they are imported.
    channels, host = Channels(), FakeHost()
    channels.add(Ear("lobby"))
    channels.attach(host)
    assert host.listening == ["lobby"]


def test_a_host_is_told_when_the_first_listens_and_when_the_last_stops() -> None:
    channels, host = Channels(), FakeHost()
    channels.attach(host)
    one, other = Ear("lobby"), Ear("lobby")
    channels.add(one)
    channels.add(other)
    channels.add(other)
    assert host.listening == ["lobby"]
    channels.remove(one)
    assert host.listening == ["lobby"]
    channels.remove(other)
    assert host.listening == []


def test_a_host_is_told_in_order_of_one_that_stops_and_listens_again() -> None:
    channels, host, ear = Channels(), FakeHost(), Ear("lobby")
    channels.attach(host)
    for _ in range(3):
        channels.add(ear)
        channels.remove(ear)
    assert host.listening == []
    channels.add(ear)
    assert host.listening == ["lobby"]


def test_removing_what_does_not_listen_is_no_error() -> None:
    channels, host = Channels(), FakeHost()
    channels.attach(host)
    channels.add(Ear("lobby"))
    channels.remove(Ear("lobby"))
    channels.remove(Ear("kitchen"))
    assert host.listening == ["lobby"]


def test_a_host_that_goes_is_told_nothing_more() -> None:
    # And each other one is told, whoever else listens.
    channels, host, other = Channels(), FakeHost(), FakeHost()
    channels.attach(host)
    channels.attach(other)
    channels.add(Ear("lobby"))
    channels.detach(host)
    channels.add(Ear("kitchen"))
    assert host.listening == []
    assert other.listening == ["lobby", "kitchen"]


def test_leaving_host_notifies_every_iterating_listener() -> None:
    channels = Channels()
    ears = [Ear("lobby"), Ear("lobby"), Ear("kitchen")]
    for ear in ears:
        channels.add(ear)
    channels.host_leaves()
    assert [ear.wakes for ear in ears] == [1, 1, 1]


# -- who hears what


def test_a_publication_reaches_all_of_its_name_and_no_others() -> None:
    channels, host = Channels(), FakeHost()
    one, other, elsewhere = Ear("lobby"), Ear("lobby"), Ear("kitchen")
    for ear in (one, other, elsewhere):
        channels.add(ear)
    channels.deliver(host, "lobby", "hello", 0, is_json=False)
    channels.deliver(host, "cellar", "hello", 0, is_json=False)
    assert (one.heard, other.heard, elsewhere.heard) == (["hello"], ["hello"], [])


def test_who_posted_it_does_not_hear_it() -> None:
    channels = Channels()
    one, other = Ear("lobby"), Ear("lobby")
    channels.add(one)
    channels.add(other)
    channels.deliver(FakeHost(), "lobby", "hello", one.number, is_json=False)
    assert (one.heard, other.heard) == ([], ["hello"])


def test_a_channel_keeps_its_number_when_it_stops_and_listens_again() -> None:
    # Or it would hear what it posted before.
    channels = Channels()
    ear, other = Ear("lobby"), Ear("lobby")
    channels.add(ear)
    number = ear.number
    channels.remove(ear)
    channels.add(other)
    channels.add(ear)
    assert ear.number == number != other.number


def test_json_is_parsed_for_each_who_hears_it() -> None:
    channels = Channels()
    one, other = Ear("lobby"), Ear("lobby")
    channels.add(one)
    channels.add(other)
    channels.deliver(FakeHost(), "lobby", '{"n": [1]}', 0, is_json=True)
    one.heard[0]["n"].append(2)
    assert other.heard == [{"n": [1]}]


def test_a_listener_that_stops_another_while_it_hears_disturbs_nobody() -> None:
    channels = Channels()

    class Stopping(Ear):
        def receive(self, host: Host, message: Any) -> None:
            super().receive(host, message)
            channels.remove(self)

    ears = [Stopping("lobby"), Stopping("lobby"), Ear("lobby")]
    for ear in ears:
        channels.add(ear)
    channels.deliver(FakeHost(), "lobby", "hello", 0, is_json=False)
    assert [ear.heard for ear in ears] == [["hello"]] * 3


def test_everyone_is_told_of_what_never_came() -> None:
    channels = Channels()
    ears = [Ear("lobby"), Ear("kitchen")]
    for ear in ears:
        channels.add(ear)
    channels.lose(FakeHost(), 3)
    assert [ear.lost for ear in ears] == [3, 3]


# -- what waits


def test_messages_wait_in_order() -> None:
    inbound = Inbound(3)
    for message in "abc":
        inbound.put(message)
    assert [inbound.take() for _ in "abc"] == ["a", "b", "c"]


def test_over_its_limit_the_oldest_is_lost() -> None:
    inbound = Inbound(2)
    for message in "abc":
        inbound.put(message)
    assert list(inbound.messages) == ["b", "c"]
    assert inbound.lost == 1


def test_an_iteration_goes_on_with_what_waits() -> None:
    inbound = Inbound(2, FakeHost().new_outbox())
    inbound.put("a")
    assert run(inbound.has_more()) is True


def test_an_iteration_that_has_nothing_waits_until_something_comes() -> None:
    inbound = Inbound(2, FakeHost().new_outbox())
    waiting = inbound.has_more()
    waiting.send(None)
    waiting.send(None)
    inbound.put("a")
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    assert end.value.value is True


def test_an_iteration_that_was_cancelled_is_not_woken() -> None:
    inbound = Inbound(2, FakeHost().new_outbox())
    waiting = inbound.has_more()
    waiter = waiting.send(None)
    waiter.set_result(None)
    waiting.close()
    inbound.put("a")
    assert list(inbound.messages) == ["a"]


def test_told_iteration_ends_after_its_last_message() -> None:
    inbound = Inbound(2, FakeHost().new_outbox())
    inbound.put("a")
    inbound.end()
    assert run(inbound.has_more()) is True
    inbound.take()
    assert run(inbound.has_more()) is False


@pytest.mark.parametrize("lose", ["too slow", "never came"])
def test_an_iteration_that_has_lost_messages_raises(lose: str) -> None:
    inbound = Inbound(1, FakeHost().new_outbox())
    if lose == "too slow":
        inbound.put("a")
        inbound.put("b")
    else:
        inbound.lose(1)
    with pytest.raises(MessagesLost) as lost:
        run(inbound.has_more())
    assert lost.value.count == 1


@pytest.mark.parametrize("leaves", ["before", "while it waits"])
def test_unwaited_iteration_ends_with_its_host(leaves: str) -> None:
    host = FakeHost()
    outbox = host.new_outbox()
    inbound = Inbound(1, outbox)
    outbox.seal()
    waiting = inbound.has_more()
    if leaves == "while it waits":
        waiting.send(None)
    host.is_leaving = True
    inbound.wake()
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    assert end.value.value is False


def test_iteration_of_running_listener_outlasts_leaving_host() -> None:
    host = FakeHost()
    inbound = Inbound(1, host.new_outbox())
    host.is_leaving = True
    waiting = inbound.has_more()
    waiting.send(None)
    inbound.put("a")
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    assert end.value.value is True
