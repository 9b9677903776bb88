"""Deliveries → events → acknowledgements.

Shell. Private. Deliveries of one connection run one after the other; connections run beside each
other. The acknowledgement that leaves when the listeners have returned carries all they asked
for, and is the commit point.

One task, a runner, takes delivery after delivery and steps each event's coroutine itself. When a
listener suspends, that runner becomes the event's own task and another runner takes the rest. So
`asyncio.timeout`, task groups and the like see a task of their own whenever they can tell, and a
listener that never waits costs no task.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import deque
from contextvars import copy_context
from types import coroutine
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.dispatch import Failure, Suspended, begin
from holdfast.core.errors import AttachmentError
from holdfast.core.events import WebSocketCloseEvent, WebSocketMessageEvent
from holdfast.core.outbox import current_outbox
from holdfast.hosts.reporting import report_failure
from holdfast.wire.messages import Ack, Close, DeliverClose
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Generator, Iterable
    from contextvars import Context
    from typing import Any, TypeAlias

    from holdfast.core.ports import About
    from holdfast.core.scope import ServiceWorker
    from holdfast.wire.messages import Action, Deliver
    from holdfast.worker.host import WorkerHost
    from holdfast.worker.stream_link import StreamLink

    Delivery: TypeAlias = Deliver | DeliverClose
    Event: TypeAlias = WebSocketMessageEvent | WebSocketCloseEvent
    # What a connection keeps from one event to the next: its details and its attachment.
    Kept: TypeAlias = tuple[bytes | About, bytes]

__all__ = ["Inbox"]

INTERNAL_ERROR = 1011


class Inbox:
    """Runs what the keeper delivers."""

    def __init__(
        self,
        app: ServiceWorker,
        host: WorkerHost,
        link: StreamLink,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._app = app
        self._host = host
        self._leaving = host.leaving
        self._link = link
        self._loop = loop
        self._ready: deque[Delivery] = deque()
        # By connection with an event that runs: what waits behind it, if anything does.
        self._behind: dict[int, deque[Delivery] | None] = {}
        # What connections keep, by serial, where the keeper may not have seen it yet when it sent
        # its next delivery; in the order of our acknowledgements, whose count comes first.
        self._unseen: dict[int, tuple[int, Kept]] = {}
        self._acks = 0
        self._has_runner = False
        # The loop itself keeps only weak references to tasks.
        self._runners: set[asyncio.Task[None]] = set()

    def put_all(self, deliveries: Iterable[Delivery]) -> None:
        """Run deliveries, each as soon as its connection is free."""
        behind, ready = self._behind, self._ready
        for delivery in deliveries:
            serial = delivery.connection
            if serial not in behind:
                behind[serial] = None
                ready.append(delivery)
            elif (waiting := behind[serial]) is None:
                behind[serial] = deque((delivery,))
            else:
                waiting.append(delivery)
        if not self._has_runner:
            self._start_runner()

    def _start_runner(self) -> None:
        self._has_runner = bool(self._ready)
        if self._has_runner:
            task = self._loop.create_task(self._run())
            self._runners.add(task)
            task.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        """Take what is ready, until nothing is or until a listener waits."""
        behind, ready = self._behind, self._ready
        is_event = False
        while ready and not is_event:
            delivery = ready.popleft()
            serial = delivery.connection
            kept = self._kept_by(delivery)
            while True:
                # A context of its own per event: or a variable that one listener sets would be
                # seen by the next.
                context = copy_context()
                done: Kept | Waiting = context.run(self._handle, delivery, kept)
                if isinstance(done, Waiting):
                    if not is_event:
                        is_event = True
                        self._start_runner()
                    done = await _drive(self._end(done), context)
                waiting = behind[serial]
                if not waiting:
                    break
                # Sent before the one in front had ended: what that one changed counts.
                delivery, kept = waiting.popleft(), done
            del behind[serial]
        if not is_event:
            self._has_runner = False

    def _handle(self, delivery: Delivery, kept: Kept) -> Kept | Waiting:
        """Run one event as far as it goes without waiting."""
        outbox = WireOutbox(self._host)
        current_outbox.set(outbox)
        if isinstance(delivery, DeliverClose):
            event: Event = _close_event(outbox, delivery, kept)
        else:
            event = WebSocketMessageEvent(
                outbox,
                delivery.connection,
                *kept,
                delivery.data,
                delivery.number,
                delivery.attempt,
            )
        source = event.source
        outcome = begin(event, self._app.listeners(event.type))
        if outcome is None:
            try:
                source.commit()
            except AttachmentError as error:
                outcome = Failure(error, closes=False)
            else:
                actions = outbox.seal(self._leaving)
                return self._ack(delivery, actions, kept, source.about, source.attachment)
        return Waiting(delivery, kept, event, outbox, outcome)

    async def _end(self, waiting: Waiting) -> Kept:
        """Run an event that waits, or has failed, to its end."""
        delivery, kept, event, outbox, outcome = waiting
        source = event.source
        try:
            if isinstance(outcome, Suspended):
                outcome = await outcome.finish()
            if outcome is None:
                source.commit()
        except (AttachmentError, CancelledError) as error:
            outcome = Failure(error, closes=False)
        actions = outbox.seal(self._leaving)
        if outcome is None:
            return self._ack(delivery, actions, kept, source.about, source.attachment)
        actions = await self._fail(event, outcome)
        # What was flushed before a failure is committed all the same.
        return self._ack(delivery, actions, kept, kept[0], source.attachment)

    def _ack(
        self,
        delivery: Delivery,
        actions: list[Action],
        kept: Kept,
        about: bytes | About,
        attachment: bytes,
    ) -> Kept:
        """Commit; return what the connection keeps now."""
        self._acks += 1
        self._link.send(Ack(delivery.connection, delivery.number, delivery.attempt, actions))
        if attachment is kept[1] and about is kept[0]:
            return kept
        # Put last: the order of the dictionary is the order of acknowledgements.
        self._unseen.pop(delivery.connection, None)
        self._unseen[delivery.connection] = (self._acks, (about, attachment))
        return (about, attachment)

    def _kept_by(self, delivery: Delivery) -> Kept:
        """What the connection of a delivery keeps: as delivered, unless we know better."""
        unseen = self._unseen
        if not unseen:
            return (delivery.about, delivery.attachment)
        while unseen:
            serial = next(iter(unseen))
            count, _ = unseen[serial]
            if count > delivery.seen:
                break
            del unseen[serial]
        if delivery.connection in unseen:
            return unseen[delivery.connection][1]
        return (delivery.about, delivery.attachment)

    async def _fail(self, event: Event, failure: Failure) -> list[Action]:
        """Report; what the listeners asked for is discarded, the connection stays."""
        what = f"a {event.type} listener, message {event.number}, attempt {event.attempt},"
        await report_failure(self._app, self._host, event, failure.error, what)
        return [Close(event.source.serial, INTERNAL_ERROR, "")] if failure.closes else []


def _close_event(outbox: WireOutbox, delivery: DeliverClose, kept: Kept) -> WebSocketCloseEvent:
    return WebSocketCloseEvent(
        outbox,
        delivery.connection,
        *kept,
        delivery.code,
        delivery.reason,
        delivery.number,
        delivery.attempt,
    )


class Waiting(NamedTuple):
    """An event that did not end at once."""

    delivery: Delivery
    kept: Kept
    event: Event
    outbox: WireOutbox
    outcome: Failure | Suspended | None


@coroutine
def _drive(work: Coroutine[Any, Any, Kept], context: Context) -> Generator[Any, Any, Kept]:
    """Run `work` to its end in `context`, as part of the task that awaits this."""
    step = context.run
    try:
        awaited = step(work.send, None)
        while True:
            try:
                result = yield awaited
            except BaseException as error:
                awaited = step(work.throw, error)
            else:
                awaited = step(work.send, result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
