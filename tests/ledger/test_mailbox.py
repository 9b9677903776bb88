from __future__ import annotations

import gc
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from holdfast.errors import UnknownDelivery
from holdfast.ledger.mailbox import PIPELINE, Closed, Content, Mailbox, Resume


def mailbox_with(*contents: Content) -> Mailbox:
    mailbox = Mailbox()
    for content in contents:
        mailbox.put(content)
    return mailbox


def take_all(mailbox: Mailbox) -> list[tuple[int, int, Content]]:
    taken = []
    while (delivery := mailbox.take()) is not None:
        taken.append(delivery)
    return taken


# Order.


def test_deliveries_are_numbered_from_one_in_the_order_they_came() -> None:
    mailbox = mailbox_with("a", b"b", Closed(1000, ""))
    assert take_all(mailbox) == [(1, 1, "a"), (2, 1, b"b"), (3, 1, Closed(1000, ""))]


def test_an_empty_mailbox_has_nothing_to_take() -> None:
    assert mailbox_with().take() is None


def test_messages_may_be_empty() -> None:
    assert take_all(mailbox_with("", b"", "")) == [(1, 1, ""), (2, 1, b""), (3, 1, "")]


def test_numbers_count_over_the_life_of_the_connection() -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    mailbox.ack(1, 1)
    mailbox.put("b")
    assert mailbox.take() == (2, 1, "b")


def test_several_are_in_flight_at_once_but_not_without_end() -> None:
    mailbox = mailbox_with(*map(str, range(PIPELINE + 2)))
    assert [number for number, _, _ in take_all(mailbox)] == list(range(1, PIPELINE + 1))


def test_each_acknowledgement_lets_one_more_go() -> None:
    mailbox = mailbox_with(*map(str, range(PIPELINE + 2)))
    take_all(mailbox)
    mailbox.ack(1, 1)
    assert take_all(mailbox) == [(PIPELINE + 1, 1, str(PIPELINE))]


# Acknowledgement.


def test_an_acknowledgement_returns_what_was_finished() -> None:
    mailbox = mailbox_with("a", "b")
    take_all(mailbox)
    assert [mailbox.ack(1, 1), mailbox.ack(2, 1)] == ["a", "b"]


def test_one_acknowledgement_may_cover_several_and_names_the_last() -> None:
    mailbox = mailbox_with("a", "b", "c")
    take_all(mailbox)
    assert mailbox.ack(2, 1, 2) == "b"
    assert (mailbox.count, mailbox.ack(3, 1)) == (1, "c")


@pytest.mark.parametrize(("number", "count"), [(1, 2), (3, 2), (3, 3), (1, 0), (0, 0), (0, -1)])
def test_an_acknowledgement_covers_the_oldest_in_flight_and_nothing_else(
    number: int, count: int
) -> None:
    mailbox = mailbox_with("a", "b")
    take_all(mailbox)
    mailbox.put("waits")
    with pytest.raises(UnknownDelivery):
        mailbox.ack(number, 1, count)
    assert mailbox.count == 3


def test_a_delivery_is_acknowledged_once() -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    mailbox.ack(1, 1)
    with pytest.raises(UnknownDelivery, match="delivery 1, attempt 1, is not in flight"):
        mailbox.ack(1, 1)


def test_what_is_not_in_flight_cannot_be_acknowledged() -> None:
    with pytest.raises(UnknownDelivery):
        mailbox_with("a").ack(1, 1)


@pytest.mark.parametrize(
    ("number", "attempt", "count"),
    [(0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (0, 1, 0), (1, 1, 2), (2, 1, 2)],
)
def test_the_only_delivery_is_acknowledged_as_what_it_is(
    number: int, attempt: int, count: int
) -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    with pytest.raises(UnknownDelivery):
        mailbox.ack(number, attempt, count)
    assert (mailbox.count, mailbox.ack(1, 1)) == (1, "a")


def test_deliveries_are_acknowledged_in_order() -> None:
    mailbox = mailbox_with("a", "b")
    take_all(mailbox)
    with pytest.raises(UnknownDelivery):
        mailbox.ack(2, 1)


def test_a_refused_acknowledgement_forgets_nothing() -> None:
    mailbox = mailbox_with("a", "b")
    take_all(mailbox)
    for number, attempt in [(2, 1), (1, 2), (0, 1)]:
        with pytest.raises(UnknownDelivery):
            mailbox.ack(number, attempt)
    assert (mailbox.count, mailbox.ack(1, 1)) == (2, "a")


def test_a_late_acknowledgement_by_a_lost_worker_does_not_count() -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    mailbox.requeue()
    mailbox.take()
    with pytest.raises(UnknownDelivery):
        mailbox.ack(1, 1)
    assert mailbox.ack(1, 2) == "a"


# Redelivery.


def test_requeue_puts_lost_deliveries_in_front() -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    mailbox.put("b")
    mailbox.requeue()
    assert mailbox.take() == (1, 2, "a")


def test_requeue_tells_how_many_were_lost() -> None:
    mailbox = mailbox_with("a", "b")
    take_all(mailbox)
    mailbox.put("c")
    assert mailbox.requeue() == 2


def test_losing_a_worker_that_had_nothing_changes_nothing() -> None:
    mailbox = mailbox_with("a")
    assert mailbox.requeue() == 0
    assert mailbox.take() == (1, 1, "a")


def test_a_redelivery_travels_alone() -> None:
    mailbox = mailbox_with("a", "b", "c")
    take_all(mailbox)
    mailbox.requeue()
    assert take_all(mailbox) == [(1, 2, "a")]
    mailbox.ack(1, 2)
    assert take_all(mailbox) == [(2, 2, "b")]


def test_after_the_redeliveries_several_travel_together_again() -> None:
    mailbox = mailbox_with("a")
    mailbox.take()
    mailbox.put("b")
    mailbox.put("c")
    mailbox.requeue()
    mailbox.take()
    mailbox.ack(1, 2)
    assert take_all(mailbox) == [(2, 1, "b"), (3, 1, "c")]


def test_only_the_front_message_ages() -> None:
    mailbox = mailbox_with("poison", "b")
    for _ in range(3):
        take_all(mailbox)
        mailbox.requeue()
    assert mailbox.abandon(3) == (1, "poison")
    assert mailbox.take() == (2, 2, "b")


# Abandoning.


def test_a_delivery_is_abandoned_when_its_attempts_are_used_up() -> None:
    mailbox = mailbox_with("a", "b")
    attempts = []
    while (abandoned := mailbox.abandon(3)) is None:
        delivery = mailbox.take()
        assert delivery is not None
        attempts.append(delivery[1])
        mailbox.requeue()
    assert (attempts, abandoned, mailbox.count) == ([1, 2, 3], (1, "a"), 1)


def test_what_was_never_in_flight_is_not_abandoned() -> None:
    mailbox = mailbox_with("a")
    assert mailbox.abandon(0) is None
    assert mailbox.count == 1


def test_a_close_can_be_abandoned_too() -> None:
    mailbox = mailbox_with(Closed(1006, ""))
    mailbox.take()
    mailbox.requeue()
    assert mailbox.abandon(1) == (1, Closed(1006, ""))
    assert mailbox.count == 0


# The short way for the usual message.


def test_what_is_put_and_taken_is_in_flight() -> None:
    mailbox = mailbox_with()
    assert mailbox.put_and_take("abc") == 1
    assert (mailbox.is_in_flight, mailbox.count, mailbox.size) == (True, 1, 3)
    assert (mailbox.take(), mailbox.ack(1, 1)) == (None, "abc")


# What the owner sees.


def test_count_and_size_include_in_flight() -> None:
    mailbox = mailbox_with("abc", b"de", "")
    mailbox.take()
    assert (mailbox.count, mailbox.size) == (3, 5)
    mailbox.ack(1, 1)
    assert (mailbox.count, mailbox.size) == (2, 2)


def test_in_flight_counts_taken_deliveries() -> None:
    mailbox = mailbox_with("a")
    seen = [mailbox.is_in_flight]
    for happens in (mailbox.take, mailbox.requeue, mailbox.take, lambda: mailbox.ack(1, 2)):
        happens()
        seen.append(mailbox.is_in_flight)
    assert seen == [False, True, False, True, False]


def test_repr_shows_what_waits_and_what_is_in_flight() -> None:
    mailbox = mailbox_with("a", "bc", "d")
    mailbox.take()
    assert repr(mailbox) == "<Mailbox 2 waiting, 1 in flight, 4 bytes>"


@pytest.mark.parametrize("contents", [["long" * 99], ["long" * 99, b"", "c"]])
def test_an_empty_mailbox_keeps_nothing_of_what_it_had(contents: list[Content]) -> None:
    mailbox = mailbox_with(*contents)
    for number, _, _ in take_all(mailbox):
        mailbox.ack(number, 1)
    assert {type(held) for held in gc.get_referents(mailbox)} <= {type, int, type(None)}


# Against a model.


@dataclass
class Kept:
    number: int
    content: Content
    attempt: int = 1
    in_flight: bool = False


contents = st.one_of(
    st.text(max_size=5), st.binary(max_size=5), st.builds(Closed, st.just(1000), st.just(""))
)


# Endpoints that are begun again.


@pytest.mark.parametrize("contents", [[], ["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_resume_comes_before_all_that_waits(contents: list[str]) -> None:
    mailbox = Mailbox()
    for content in contents:
        mailbox.put(content)
    mailbox.put_resume()
    assert mailbox.count == len(contents) + 1
    assert [mailbox.take() for _ in range(mailbox.count)] == [
        (0, 1, Resume()),
        *((number, 1, content) for number, content in enumerate(contents, 1)),
    ]
    assert mailbox.take() is None


def test_a_resume_has_the_number_of_what_was_done_last() -> None:
    mailbox = Mailbox()
    for content in "ab":
        mailbox.put(content)
        mailbox.take()
    mailbox.ack(1, 1)
    mailbox.requeue()
    mailbox.put_resume()
    assert mailbox.take() == (1, 1, Resume())
    mailbox.ack(1, 1)
    assert mailbox.take() == (2, 2, "b")


@pytest.mark.parametrize("behind", [[], ["a", "b"]])
def test_there_is_one_resume_at_most(behind: list[str]) -> None:
    mailbox = Mailbox()
    for content in behind:
        mailbox.put(content)
    mailbox.put_resume()
    mailbox.put_resume()
    assert mailbox.count == len(behind) + 1
    mailbox.take()
    mailbox.requeue()
    mailbox.put_resume()
    assert mailbox.take() == (0, 2, Resume())


def test_what_waits_behind_a_resume_keeps_its_attempts() -> None:
    mailbox = Mailbox()
    mailbox.put("a")
    for _ in range(2):
        mailbox.take()
        mailbox.requeue()
    mailbox.put_resume()
    assert not mailbox.is_last_chance(3)
    assert mailbox.take() == (0, 1, Resume())
    assert mailbox.take() is None
    mailbox.ack(0, 1)
    assert mailbox.is_last_chance(3)
    assert mailbox.take() == (1, 3, "a")


def test_what_is_put_back_has_never_left() -> None:
    mailbox = Mailbox()
    for content in "abc":
        mailbox.put(content)
    mailbox.take()
    mailbox.take()
    assert mailbox.put_back() == 2
    assert not mailbox.is_in_flight
    assert mailbox.put_back() == 0
    assert [mailbox.take() for _ in range(3)] == [(1, 1, "a"), (2, 1, "b"), (3, 1, "c")]


@pytest.mark.parametrize(
    ("contents", "has_closed"),
    [
        ([], False),
        (["a"], False),
        (["a", "b"], False),
        ([Closed(1000, "")], True),
        (["a", Closed(1000, "")], True),
    ],
)
def test_a_cleared_mailbox_tells_whether_the_close_was_in_it(
    contents: list[Content], has_closed: bool
) -> None:
    mailbox = Mailbox()
    for content in contents:
        mailbox.put(content)
    mailbox.take()
    assert mailbox.clear() == has_closed
    assert (mailbox.count, mailbox.size, mailbox.is_in_flight) == (0, 0, False)
    assert mailbox.take() is None
    mailbox.put("z")
    assert mailbox.take() == (len(contents) + 1, 1, "z")


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox is a list of contents, of which the first few are in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox()
        self.kept: list[Kept] = []
        self.last_number = 0

    def in_flight(self) -> list[Kept]:
        return [each for each in self.kept if each.in_flight]

    def may_go(self) -> Kept | None:
        busy = self.in_flight()
        following = self.kept[len(busy) : len(busy) + 1]
        if not following or len(busy) >= PIPELINE or any(each.attempt > 1 for each in busy):
            return None
        # A redelivery waits until it can travel alone.
        return None if busy and following[0].attempt > 1 else following[0]

    @rule(some=st.lists(contents, min_size=1, max_size=6))
    def put(self, some: list[Content]) -> None:
        for content in some:
            self.mailbox.put(content)
            self.last_number += 1
            self.kept.append(Kept(self.last_number, content))

    @rule()
    def take(self) -> None:
        expected, taken = self.may_go(), self.mailbox.take()
        if expected is None:
            assert taken is None
        else:
            assert taken == (expected.number, expected.attempt, expected.content)
            expected.in_flight = True

    @rule()
    def take_all(self) -> None:
        while self.may_go() is not None:
            self.take()
        self.take()

    @precondition(lambda self: not self.kept)
    @rule(content=contents)
    def put_and_take(self, content: Content) -> None:
        self.last_number += 1
        self.kept.append(Kept(self.last_number, content, in_flight=True))
        assert self.mailbox.put_and_take(content) == self.last_number

    @precondition(lambda self: self.in_flight())
    @rule(count=st.integers(1, PIPELINE))
    def ack(self, count: int) -> None:
        count = min(count, len(self.in_flight()))
        done, self.kept = self.kept[:count], self.kept[count:]
        last = done[-1]
        assert self.mailbox.ack(last.number, last.attempt, count) == last.content

    @rule(number=st.integers(-1, 3), attempt=st.integers(-1, 2), count=st.integers(-1, 3))
    def ack_wrongly(self, number: int, attempt: int, count: int) -> None:
        busy = self.in_flight()
        front = busy[0] if busy else Kept(self.last_number + 1, "")
        is_right = 0 < count <= len(busy) and number == count - 1 and attempt == 0
        if not is_right:
            with pytest.raises(UnknownDelivery):
                self.mailbox.ack(front.number + number, front.attempt + attempt, count)

    @rule()
    def lose_the_worker(self) -> None:
        busy = self.in_flight()
        assert self.mailbox.requeue() == len(busy)
        for each in busy:
            each.attempt, each.in_flight = each.attempt + 1, False

    @precondition(lambda self: not self.in_flight())
    @rule(max_attempts=st.integers(1, 3))
    def abandon(self, max_attempts: int) -> None:
        if self.kept and self.kept[0].attempt > max_attempts:
            gone = self.kept.pop(0)
            assert self.mailbox.abandon(max_attempts) == (gone.number, gone.content)
        else:
            assert self.mailbox.abandon(max_attempts) is None

    @invariant()
    def keeps_the_same(self) -> None:
        assert self.mailbox.count == len(self.kept)
        assert self.mailbox.size == sum(len(each.content) for each in self.kept)
        assert self.mailbox.is_in_flight == bool(self.in_flight())


TestMailboxAgainstItsModel = MailboxMachine.TestCase


# The last attempt.


def test_the_last_chance_is_the_last_attempt() -> None:
    mailbox = Mailbox()
    mailbox.put("a")
    assert not mailbox.is_last_chance(2)
    mailbox.take()
    mailbox.requeue()
    assert mailbox.is_last_chance(2)
    assert not mailbox.is_last_chance(3)


def test_last_chance_concerns_only_waiting_deliveries() -> None:
    mailbox = Mailbox()
    mailbox.put("a")
    mailbox.take()
    mailbox.requeue()
    mailbox.take()
    assert not mailbox.is_last_chance(2)


def test_each_delivery_has_chances_of_its_own() -> None:
    mailbox = Mailbox()
    for content in "ab":
        mailbox.put(content)
    mailbox.take()
    mailbox.requeue()
    mailbox.take()
    mailbox.ack(1, 2)
    assert not mailbox.is_last_chance(2)
