"""One connection's deliveries, in order, each kept until a worker has acknowledged it.

Pure. The ledger owns one mailbox per connection and decides which worker a delivery goes to.

A delivery is waiting → in flight → acknowledged. When its worker is lost it goes back from in
flight to waiting, in front of all others, one attempt older. Several may be in flight at once,
always to one worker, which runs them one after the other; but a redelivery travels alone, so
that a message that kills its worker is found out and its neighbours are not blamed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from holdfast.core.errors import UnknownDelivery

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Closed", "Delivery", "Mailbox"]

# Deliveries of one connection that may be in flight together. One would make a client that
# pipelines wait a round trip between processes per message; more than a batch gains nothing.
PIPELINE = 16


class Closed(Struct, frozen=True):
    """The content of the last delivery: how the connection ended."""

    code: int
    reason: str


class Delivery(Struct, frozen=True, gc=False):
    """A message, or the close, on its way to a worker for the nth time."""

    number: int
    content: str | bytes | Closed
    attempt: int = 1


# An idle connection should cost next to nothing, and one delivery at a time is the usual case:
# a slot holds nothing, one delivery, or a queue of them.
if TYPE_CHECKING:
    Slot: TypeAlias = Delivery | deque[Delivery] | None


class Mailbox:
    """What a connection has sent and no worker has acknowledged yet."""

    __slots__ = ("_in_flight", "_last_number", "_size", "_waiting")

    def __init__(self) -> None:
        self._last_number = 0
        self._size = 0
        self._waiting: Slot = None
        self._in_flight: Slot = None

    def __repr__(self) -> str:
        waiting, in_flight = _count(self._waiting), _count(self._in_flight)
        return f"<Mailbox {waiting} waiting, {in_flight} in flight, {self._size} bytes>"

    def __len__(self) -> int:
        return _count(self._waiting) + _count(self._in_flight)

    @property
    def size(self) -> int:
        """Bytes, or characters of text, that are kept here."""
        return self._size

    @property
    def is_in_flight(self) -> bool:
        """True while some delivery is with a worker."""
        return self._in_flight is not None

    def put(self, content: str | bytes | Closed) -> None:
        self._last_number += 1
        delivery = Delivery(self._last_number, content)
        waiting = self._waiting
        self._waiting = delivery if waiting is None else _append(waiting, delivery)
        self._size += _size(content)

    def take(self) -> Delivery | None:
        """Return the next delivery, or None if none waits or enough are in flight."""
        waiting = self._waiting
        if waiting is None:
            return None
        in_flight = self._in_flight
        if in_flight is None:
            delivery, self._waiting = _pop(waiting)
            self._in_flight = delivery
            return delivery
        if _first(waiting).attempt > 1 or _first(in_flight).attempt > 1:
            return None
        if _count(in_flight) >= PIPELINE:
            return None
        delivery, self._waiting = _pop(waiting)
        self._in_flight = _append(in_flight, delivery)
        return delivery

    def ack(self, number: int, attempt: int) -> Delivery:
        """Forget the oldest delivery in flight: its worker has finished with it.

        Raises:
            UnknownDelivery: it is another one; nothing is forgotten.
        """
        in_flight = self._in_flight
        if in_flight is None:
            raise UnknownDelivery(number, attempt)
        delivery = _first(in_flight)
        if delivery.number != number or delivery.attempt != attempt:
            raise UnknownDelivery(number, attempt)
        _, self._in_flight = _pop(in_flight)
        self._size -= _size(delivery.content)
        return delivery

    def requeue(self) -> int:
        """Return a lost worker's deliveries to the front, in order, one attempt older.

        All of them: the worker may have begun each without an acknowledgement getting out.
        Returns how many there were.
        """
        in_flight = self._in_flight
        if in_flight is None:
            return 0
        lost = list(in_flight) if isinstance(in_flight, deque) else [in_flight]
        again = [structs.replace(delivery, attempt=delivery.attempt + 1) for delivery in lost]
        waiting = self._waiting
        rest = waiting if isinstance(waiting, deque) else ([] if waiting is None else [waiting])
        self._waiting = deque([*again, *rest])
        self._in_flight = None
        return len(lost)

    def abandon(self, max_attempts: int) -> Delivery | None:
        """Drop and return the next delivery if it was attempted `max_attempts` times.

        Called after `requeue`; the attempt it would be next is one over.
        """
        waiting = self._waiting
        if waiting is None or _first(waiting).attempt <= max_attempts:
            return None
        delivery, self._waiting = _pop(waiting)
        self._size -= _size(delivery.content)
        return delivery


def _size(content: str | bytes | Closed) -> int:
    # The length of a str is its UTF-8 size only for ASCII; a limit need not be exact.
    return 0 if isinstance(content, Closed) else len(content)


def _count(slot: Slot) -> int:
    if slot is None:
        return 0
    return len(slot) if isinstance(slot, deque) else 1


def _first(slot: Delivery | deque[Delivery]) -> Delivery:
    return slot[0] if isinstance(slot, deque) else slot


def _append(slot: Delivery | deque[Delivery], delivery: Delivery) -> deque[Delivery]:
    if isinstance(slot, deque):
        slot.append(delivery)
        return slot
    return deque((slot, delivery))


def _pop(slot: Delivery | deque[Delivery]) -> tuple[Delivery, Slot]:
    if isinstance(slot, deque):
        delivery = slot.popleft()
        return delivery, slot or None
    return slot, None
