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
from typing import TYPE_CHECKING, NamedTuple, final

from holdfast.core.dispatch import Failure, Suspended, begin
from holdfast.core.events import WebSocketCloseEvent, WebSocketMessageEvent
from holdfast.core.ports import current_outbox
from holdfast.errors import AttachmentError
from holdfast.framing.close_codes import INTERNAL_ERROR
from holdfast.http.reporting import report_failure
from holdfast.wire.messages import Ack, Close, DeliverClose
from holdfast.wire.outbox import WireOutbox
from holdfast.worker.stream_link import Nowhere

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Generator, Iterable
    from contextvars import Context
    from typing import Any, TypeAlias

    from holdfast.core.ports import Metadata
    from holdfast.core.scope import GlobalScope
    from holdfast.wire.messages import Action, Deliver
    from holdfast.worker.host import WorkerHost
    from holdfast.worker.stream_link import Link

    Delivery: TypeAlias = Deliver | DeliverClose
    Event: TypeAlias = WebSocketMessageEvent | WebSocketCloseEvent
    # What a connection keeps from one event to the next: its details and its attachment.
    Kept: TypeAlias = tuple[bytes | Metadata, bytes]

# How often listeners that take too long are looked for.
SWEEP = 1.0  # seconds


class Inbox:
    """Runs what the keeper delivers.

    Args:
        event_timeout: seconds that the listeners of one event may take; then they are cancelled,
            which counts as if they had raised. 0 for any time.
    """

    def __init__(
        self,
        app: GlobalScope,
        host: WorkerHost,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        *,
        event_timeout: float = 0.0,
    ) -> None:
        self._app = app
        self._registered = app.registered
        self._host = host
        self._leaving = host.leaving
        self._link = link
        self._loop = loop
        self._ready: deque[Delivery] = deque()
        # By connection with an event that waits: what has to wait behind it.
        self._behind: dict[int, deque[Delivery]] = {}
        # What connections keep, by serial, where the keeper may not have seen it yet when it sent
        # its next delivery; in the order of our acknowledgements, whose count comes first.
        self._unseen: dict[int, tuple[int, Kept]] = {}
        self._acks = 0
        self._runner: asyncio.Task[None] | None = None
        # Runners that became the tasks of events that wait, and since when.
        self._waiting: dict[asyncio.Task[None], float] = {}
        self._event_timeout = event_timeout
        self._overdue: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def handled(self) -> int:
        """Events that have ended, since the start."""
        return self._acks

    @property
    def is_idle(self) -> bool:
        """True while nothing is in hand."""
        return not (self._behind or self._ready)

    def cut(self) -> None:
        """The keeper is gone, and with it all connections: what is asked for goes nowhere.

        Events that run are not disturbed; those that wait behind them are forgotten.
        """
        self._link = Nowhere()
        for row in self._behind.values():
            row.clear()
        self._ready.clear()

    def put_all(self, deliveries: Iterable[Delivery]) -> None:
        """Run deliveries, each as soon as its connection is free."""
        self._ready += deliveries
        if self._runner is None:
            self._start_runner()

    def _start_runner(self) -> None:
        # Kept: the loop itself keeps only weak references to tasks.
        self._runner = self._loop.create_task(self._run()) if self._ready else None

    def _become_event(self) -> asyncio.Task[None]:
        """The runner belongs to an event from here on; another takes what is ready."""
        task = self._runner
        assert task is not None
        task.add_done_callback(self._waiting.pop)
        if self._event_timeout and self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP, self._cancel_overdue)
        # What ended before does not wait for it.
        self._link.flush()
        self._start_runner()
        return task

    def _cancel_overdue(self) -> None:
        """Cancel listeners that take too long; again and again those that do not heed it."""
        now = self._loop.time()
        for task, since in self._waiting.items():
            if now - since >= self._event_timeout:
                self._overdue.add(task)
                self._waiting[task] = now
                task.cancel()
        self._sweep = None
        if self._waiting:
            self._sweep = self._loop.call_later(SWEEP, self._cancel_overdue)

    async def _run(self) -> None:
        """Take what is ready, until nothing is or until a listener waits."""
        ready, behind, handle = self._ready, self._behind, self._handle
        actions: list[Action] = []
        count = 0  # events of one connection that ended without an acknowledgement yet
        while ready:
            delivery = ready.popleft()
            serial = delivery.connection
            if behind and serial in behind:
                behind[serial].append(delivery)
                continue
            # A context of its own per event: or a variable that one listener sets would be seen by
            # the next.
            context = copy_context()
            done = context.run(handle, delivery)
            if type(done) is Waiting:
                if count:
                    # Those before it, the last of which has the number before.
                    self._link.collect(Ack(serial, delivery.number - 1, 1, actions, count))
                await self._run_row(done, context)
                return
            actions = actions + done if count else done
            count += 1
            if not ready or ready[0].connection != serial or delivery.attempt > 1:
                self._link.collect(Ack(serial, delivery.number, delivery.attempt, actions, count))
                count = 0
        self._link.flush()
        self._runner = None

    async def _run_row(self, waiting: Waiting, context: Context) -> None:
        """Run an event that waits to its end, and then those behind it. The task is theirs."""
        done: list[Action] | Waiting = waiting
        delivery = waiting.delivery
        serial = delivery.connection
        row = self._behind[serial] = deque()
        task = self._become_event()
        while True:
            if type(done) is Waiting:
                self._waiting[task] = self._loop.time()
                await _drive(self._end(done, task), context)
            else:
                self._link.collect(Ack(serial, delivery.number, delivery.attempt, done, 1))
            # The next one may wait for long; this one is done.
            self._link.flush()
            if not row:
                break
            delivery = row.popleft()
            context = copy_context()
            done = context.run(self._handle, delivery)
        del self._behind[serial]

    def _handle(self, delivery: Delivery) -> list[Action] | Waiting:
        """Run one event as far as it goes without waiting; return what it asked for."""
        outbox = WireOutbox(self._host)
        current_outbox.set(outbox)
        about: bytes | Metadata = delivery.about
        attachment = delivery.attachment
        if self._unseen:
            about, attachment = self._unseen_by(delivery) or (about, attachment)
        event: Event
        # Not isinstance: to say no it takes 50 ns of these types.
        if type(delivery) is DeliverClose:
            event = _close_event(outbox, delivery, about, attachment)
            listeners = self._registered["websocketclose"]
        else:
            event = WebSocketMessageEvent(
                outbox,
                delivery.connection,
                about,
                attachment,
                delivery.data,
                delivery.number,
                delivery.attempt,
            )
            listeners = self._registered["websocketmessage"]
        outcome = begin(event, listeners)
        if outcome is None:
            source = event.source
            try:
                source.commit()
            except AttachmentError as error:
                outcome = Failure(error, closes=False)
            else:
                self._acks += 1
                if source.attachment is not attachment or source.about is not about:
                    self._keep(source.serial, (source.about, source.attachment))
                return outbox.seal(self._leaving)
        return Waiting(delivery, about, event, outbox, outcome)

    async def _end(self, waiting: Waiting, task: asyncio.Task[None]) -> None:
        """Run an event that waits, or has failed, to its end."""
        delivery, about, event, outbox, outcome = waiting
        source = event.source
        try:
            if isinstance(outcome, Suspended):
                outcome = await outcome.finish()
            if outcome is None:
                source.commit()
                about = source.about
        except (AttachmentError, CancelledError) as error:
            # Cancelled: what the listener waited for was, or the listener itself, by its own code.
            outcome = Failure(error, closes=False)
        if task in self._overdue:
            outcome = self._note_overdue(task, outcome)
        actions = outbox.seal(self._leaving)
        if isinstance(outcome, Failure):
            actions = await self._fail(event, outcome)
        self._acks += 1
        self._link.collect(Ack(source.serial, delivery.number, delivery.attempt, actions, 1))
        # What was flushed before a failure is committed all the same.
        self._keep(source.serial, (about, source.attachment))

    def _note_overdue(
        self, task: asyncio.Task[None], outcome: Failure | Suspended | None
    ) -> Failure | Suspended | None:
        """The listeners were cancelled; unless they ended well all the same, say why."""
        self._overdue.discard(task)
        while task.uncancel():
            pass  # The next event in this task has nothing to do with it.
        if outcome is None:
            return None
        timeout = self._event_timeout
        why = TimeoutError(f"the listeners took longer than {timeout:g} s (--event-timeout)")
        assert isinstance(outcome, Failure)
        why.__cause__ = outcome.take()
        return Failure(why, closes=outcome.closes)

    def _keep(self, serial: int, kept: Kept) -> None:
        """Remember what the connection keeps from now on, until the keeper has seen it."""
        # Put last: the order of the dictionary is the order of acknowledgements.
        self._unseen.pop(serial, None)
        self._unseen[serial] = (self._acks, kept)

    def _unseen_by(self, delivery: Delivery) -> Kept | None:
        """What the connection of a delivery keeps, if the keeper had not seen it yet."""
        unseen = self._unseen
        while unseen:
            serial = next(iter(unseen))
            count, _ = unseen[serial]
            if count > delivery.seen:
                break
            del unseen[serial]
        known = unseen.get(delivery.connection)
        return None if known is None else known[1]

    async def _fail(self, event: Event, failure: Failure) -> list[Action]:
        """Report; what the listeners asked for is discarded, the connection stays."""
        what = f"a {event.type} listener, message {event.number}, attempt {event.attempt},"
        await report_failure(self._app, self._host, event, failure.take(), what)
        return [Close(event.source.serial, INTERNAL_ERROR, "")] if failure.closes else []


def _close_event(
    outbox: WireOutbox, delivery: DeliverClose, about: bytes | Metadata, attachment: bytes
) -> WebSocketCloseEvent:
    return WebSocketCloseEvent(
        outbox,
        delivery.connection,
        about,
        attachment,
        delivery.code,
        delivery.reason,
        delivery.number,
        delivery.attempt,
    )


@final
class Waiting(NamedTuple):
    """An event that did not end at once."""

    delivery: Delivery
    about: bytes | Metadata
    event: Event
    outbox: WireOutbox
    outcome: Failure | Suspended | None


@coroutine
def _drive(work: Coroutine[Any, Any, None], context: Context) -> Generator[Any, Any, None]:
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
    except StopIteration:
        return
