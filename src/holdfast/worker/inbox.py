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
from typing import TYPE_CHECKING

from holdfast.core.dispatch import Failure, dispatch
from holdfast.core.errors import AttachmentError
from holdfast.core.events import WebSocketCloseEvent, WebSocketMessageEvent
from holdfast.core.outlet import current_outlet
from holdfast.hosts.reporting import report_failure
from holdfast.wire.messages import Ack, Close, DeliverClose
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator
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
        self._link = link
        self._loop = loop
        self._ready: deque[Delivery] = deque()
        # By connection with an event that runs: what waits behind it, if anything does.
        self._behind: dict[int, deque[Delivery] | None] = {}
        self._has_runner = False
        # The loop itself keeps only weak references to tasks.
        self._runners: set[asyncio.Task[None]] = set()

    def put(self, delivery: Delivery) -> None:
        """Run a delivery as soon as its connection is free."""
        if delivery.connection in self._behind:
            waiting = self._behind[delivery.connection]
            if waiting is None:
                self._behind[delivery.connection] = deque((delivery,))
            else:
                waiting.append(delivery)
            return
        self._behind[delivery.connection] = None
        self._ready.append(delivery)
        if not self._has_runner:
            self._start_runner()

    def _start_runner(self) -> None:
        self._has_runner = bool(self._ready)
        if self._has_runner:
            task = self._loop.create_task(self._run())
            self._runners.add(task)
            task.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        """Take what is ready, until nothing is or until a listener suspends."""
        runner = Runner(self._start_runner)
        while self._ready and not runner.is_event:
            delivery = self._ready.popleft()
            serial = delivery.connection
            kept: Kept = (delivery.about, delivery.attachment)
            kept = await runner.drive(self._handle(delivery, kept), copy_context())
            while waiting := self._behind[serial]:
                # Sent before the one in front had ended: what that one changed counts.
                following = self._handle(waiting.popleft(), kept)
                kept = await runner.drive(following, copy_context())
            del self._behind[serial]
        if not runner.is_event:
            self._has_runner = False

    async def _handle(self, delivery: Delivery, kept: Kept) -> Kept:
        """Run one event and acknowledge it; return what its connection keeps."""
        outbox = WireOutbox()
        event = self._event(delivery, kept, outbox)
        current_outlet.set(event)
        try:
            failure = await dispatch(event, self._app.listeners(event.type))
            if failure is None:
                event.source.commit()
        except AttachmentError as error:
            failure = Failure(error, closes=False)
        except CancelledError as error:
            failure = Failure(error, closes=False)
        event.end_dispatch()
        if failure is None:
            actions = outbox.actions
            kept = (event.source.about, event.source.attachment)
        else:
            actions = await self._fail(event, failure)
            kept = (kept[0], event.source.attachment)
        self._link.send(Ack(delivery.connection, delivery.number, delivery.attempt, actions))
        return kept

    def _event(self, delivery: Delivery, kept: Kept, outbox: WireOutbox) -> Event:
        serial, number, attempt = delivery.connection, delivery.number, delivery.attempt
        if isinstance(delivery, DeliverClose):
            return WebSocketCloseEvent(
                self._host, outbox, serial, *kept, delivery.code, delivery.reason, number, attempt
            )
        return WebSocketMessageEvent(
            self._host, outbox, serial, *kept, delivery.data, number, attempt
        )

    async def _fail(self, event: Event, failure: Failure) -> list[Action]:
        """Report; what the listeners asked for is discarded, the connection stays."""
        what = f"a {event.type} listener, message {event.number}, attempt {event.attempt},"
        await report_failure(self._app, self._host, event, failure.error, what)
        return [Close(event.source.serial, INTERNAL_ERROR, "")] if failure.closes else []


class Runner:
    """Steps coroutines within one task, until the first one suspends.

    Args:
        on_suspend: called then; from there on this task belongs to that coroutine.
    """

    __slots__ = ("_on_suspend", "is_event")

    def __init__(self, on_suspend: Callable[[], None]) -> None:
        self._on_suspend = on_suspend
        self.is_event = False

    @coroutine
    def drive(self, work: Coroutine[Any, Any, Kept], context: Context) -> Generator[Any, Any, Kept]:
        """Run `work` to its end in `context` and return its result.

        A context of its own per event: or a variable that one listener sets, without ever
        suspending, would be seen by the next event.
        """
        step = context.run
        try:
            awaited = step(work.send, None)
            if not self.is_event:
                self.is_event = True
                self._on_suspend()
            while True:
                try:
                    result = yield awaited
                except BaseException as error:
                    awaited = step(work.throw, error)
                else:
                    awaited = step(work.send, result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
