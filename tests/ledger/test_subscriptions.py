from __future__ import annotations

import string

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.ledger.subscriptions import Subscriptions


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
