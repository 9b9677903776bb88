"""The WebSocket endpoints of mounted applications that run in this worker.

Shell. Private. An endpoint is a task. What it and its connection say to each other goes through a
`endpoints/protocol.py:EndpointProtocol`; all that endpoints have said in one turn of the loop leaves in one
write. An endpoint begins with a handshake (`EndpointRunner.attend`), or because its worker has gone and
the keeper asks for it (`EndpointRunner.takes`).
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.core.ports import Metadata, current_outbox
from holdfast.endpoints.record import Endpoint
from holdfast.endpoints.task import EndpointTask
from holdfast.framing.close_codes import GOING_AWAY, INTERNAL_ERROR
from holdfast.http.mounts import Mounts, path_below
from holdfast.wire import messages as wire
from holdfast.worker.stream_link import Nowhere

if TYPE_CHECKING:
    from contextvars import Context

    from holdfast.http.asgi import UpgradeHandle
    from holdfast.http.exchange import Receive, Scope, Send
    from holdfast.http.mounts import Mounted
    from holdfast.web.request import Request
    from holdfast.worker.host import WorkerHost
    from holdfast.worker.stream_link import Link

log = logging.getLogger("holdfast.worker")

# A tuple: a union would be built anew for each message.
DELIVERIES = (wire.DeliverText, wire.DeliverBinary, wire.DeliverClose)


# What may leave in one turn before whoever sends has to wait until it has left; as much as
# asyncio's transports take before they ask uvicorn to wait. A message has a price of its own, or
# empty ones would be free.
HIGH_WATER = 64 * 1024  # bytes
PER_MESSAGE = 64  # bytes

# For how much of the drain timeout endpoints may go on with what they have in hand, and when
# nobody waits for them any more. The rest is for the application to shut down.
PATIENCE = 0.5
END_OF_PATIENCE = 0.75

# How long a worker that leaves keeps an endpoint that the keeper gives it all the same: the keeper
# has not heard yet that it leaves.
BOUNCE = 0.05  # seconds


class EndpointRunner:
    """Runs endpoints; `http/mounts.py:Endpoints`.

    Args:
        event_timeout: seconds that an endpoint may go on when it knows that its connection has
            ended; 0 for ever.
    """

    def __init__(
        self,
        host: WorkerHost,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        *,
        event_timeout: float = 0.0,
    ) -> None:
        self.attended: dict[int, EndpointTask | None] = {}
        """By serial, the connections that are or were attended here. None: it was released."""
        self.host = host
        self.link = link
        self.loop = loop
        self.event_timeout = event_timeout
        self.handled = 0
        """Messages that came for endpoints."""
        self._mounts = Mounts(())
        self._context: Context | None = None
        self._tasks: dict[asyncio.Task[None], EndpointTask] = {}
        # Those that have said something in this turn, and how much that is.
        self._spoken: dict[EndpointTask, None] = {}
        self._size = 0
        self._is_draining = self._is_stopping = False
        self._changed = asyncio.Event()
        # Whether the log has it that an endpoint's second `accept` was not like the first.
        self._is_strangeness_known = False

    def open(self, mounts: Mounts) -> None:
        """Endpoints of these mounts may begin; to be called once, in the application's context."""
        self._mounts = mounts
        self._context = copy_context()

    # --- endpoints begin ------------------------------------------------------------------------

    async def attend(
        self,
        mounted: Mounted,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        handle: UpgradeHandle,
    ) -> None:
        """Begin an endpoint for a handshake; return when that is answered."""
        url = request.url.href
        endpoint_task = EndpointTask(
            self,
            Endpoint.of_request(scope),
            Metadata(url, None, frozenset()),
            serial=self.host.new_serial(),
            closes=self._is_stopping or mounted.mount.closes(path_below(scope)),
        )
        handshake = endpoint_task.shake_hands(send, handle)
        # In this request's context: what its server keeps there may be wanted.
        self._begin(endpoint_task, mounted, copy_context())
        await handshake.answered(receive)

    def _resume(self, delivery: wire.DeliverResume) -> None:
        """Begin an endpoint again."""
        endpoint = Endpoint.decode(delivery.endpoint)
        place = endpoint.place
        mounted = self._mounts.find(place)
        endpoint_task = EndpointTask(
            self,
            endpoint,
            self.host.about(delivery.about),
            serial=delivery.connection,
            attachment=delivery.attachment,
            closes=self._is_stopping
            or (mounted is not None and mounted.mount.closes(path_below(place))),
            resume=delivery,
        )
        self.attended[delivery.connection] = endpoint_task
        if self._is_draining:
            endpoint_task.protocol.leave()
            self.loop.call_later(BOUNCE, endpoint_task.end, GOING_AWAY)
        elif mounted is None:
            log.error("%r: nothing is mounted there any more, the connection closes", endpoint.path)
            endpoint_task.end(GOING_AWAY)
        else:
            assert self._context is not None  # The application is loaded.
            self._begin(endpoint_task, mounted, self._context.copy())

    def _begin(self, endpoint_task: EndpointTask, mounted: Mounted, context: Context) -> None:
        mounted.dress(endpoint_task.scope)
        # What the endpoint posts on channels leaves with what it sends.
        context.run(current_outbox.set, endpoint_task.outbox)
        task = self.loop.create_task(endpoint_task.run(mounted.app), context=context)
        endpoint_task.task = task
        # The loop itself keeps only weak references to tasks.
        self._tasks[task] = endpoint_task
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        endpoint_task = self._tasks.pop(task)
        endpoint_task.task = None
        if not endpoint_task.protocol.is_ended:
            # Cancelled before its first step, or once too often.
            endpoint_task.end(INTERNAL_ERROR)
        if endpoint_task.handshake is not None:
            endpoint_task.handshake.give_up()
        self._changed.set()

    # --- what the keeper says -------------------------------------------------------------------

    def takes(self, message: wire.ToWorker) -> bool:
        """Take a message if it is for an endpoint, and tell whether it was."""
        if isinstance(message, DELIVERIES):
            if message.connection not in self.attended:
                return False
            endpoint_task = self.attended[message.connection]
            if endpoint_task is not None:
                self.handled += 1
                endpoint_task.deliver(message)
        elif isinstance(message, wire.DeliverResume):
            self._resume(message)
        elif isinstance(message, wire.Pressure):
            self._press(message)
        else:
            return False
        return True

    def _press(self, pressure: wire.Pressure) -> None:
        """A client does not read, or does again."""
        endpoint_task = self.attended.get(pressure.connection)
        if endpoint_task is not None:
            endpoint_task.press(is_high=pressure.is_high)

    def refuse(self, serial: int) -> None:
        """The keeper did not take the connection."""
        endpoint_task = self.attended.get(serial)
        if endpoint_task is not None:
            endpoint_task.lose()

    def cut(self) -> None:
        """Nothing that is said from here on is heard: as if this worker did not exist any more."""
        self.link = Nowhere()

    def lose_keeper(self) -> None:
        """All connections are gone."""
        for endpoint_task in self._attendants():
            endpoint_task.lose()

    # --- what endpoints say ---------------------------------------------------------------------

    def note(self, endpoint_task: EndpointTask, size: int = 0) -> None:
        """Have what was said leave at the end of this turn.

        Args:
            size: how much that is, in bytes.
        """
        if not self._spoken:
            self.loop.call_soon(self.flush)
        self._spoken[endpoint_task] = None
        self._size += size + PER_MESSAGE

    @property
    def is_full(self) -> bool:
        """True when so much was said in this turn that `make_room` is due."""
        return self._size > HIGH_WATER

    async def make_room(self) -> None:
        """Return when what was said has left, and the keeper was listened to."""
        self.flush()
        await self.link.drain()
        # The keeper may have said that a client does not read.
        await asyncio.sleep(0)

    def flush(self) -> None:
        """Send what was said in this turn."""
        spoken, self._spoken, self._size = self._spoken, {}, 0
        link = self.link
        for endpoint_task in spoken:
            protocol = endpoint_task.protocol
            for message in protocol.take():
                link.collect(message)
            if protocol.is_over:
                self._forget(endpoint_task)
        link.flush()

    def note_strange(self, path: str, first: str | None, second: str | None) -> None:
        """An endpoint that was begun again accepted with another subprotocol: say so, once."""
        if not self._is_strangeness_known:
            self._is_strangeness_known = True
            log.warning(
                "the endpoint of %r, begun again, accepted the subprotocol %r; its client has "
                "agreed on %r, and that stays",
                path,
                second,
                first,
            )

    def _forget(self, endpoint_task: EndpointTask) -> None:
        serial = endpoint_task.protocol.serial
        if self.attended.get(serial) is endpoint_task:
            if endpoint_task.protocol.is_leaving:
                # What the keeper had sent by then is for another worker.
                self.attended[serial] = None
            else:
                del self.attended[serial]
        self._changed.set()

    # --- the worker's end -----------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True while no endpoint is here."""
        return not self._tasks and not any(self.attended.values())

    def stop(self, timeout: float) -> None:
        """The whole server stops: connections close, and their endpoints are told.

        Args:
            timeout: as for `finish`.
        """
        self._is_stopping = True
        for endpoint_task in self._attendants():
            endpoint_task.closes = True
        self.loop.call_later(timeout * PATIENCE, self._cancel_all)

    def drain(self) -> None:
        """Let go of all connections, as soon as their endpoints have nothing in hand."""
        self._is_draining = True
        for endpoint_task in self._attendants():
            endpoint_task.drain()

    def note_opened(self, endpoint_task: EndpointTask) -> None:
        """A connection was given to the keeper."""
        if self._is_draining:
            endpoint_task.drain()

    async def finish(self, timeout: float) -> None:
        """Return when no endpoint is here any more. Call `drain` first.

        Args:
            timeout: seconds in which the worker has to leave. Endpoints that are not done after
                half of it are cancelled; those that do not heed that are left behind.
        """
        begin = self.loop.time()
        if not await self._until_idle(begin + timeout * PATIENCE):
            self._cancel_all()
            if not await self._until_idle(begin + timeout * END_OF_PATIENCE):
                for endpoint_task in self._attendants():
                    endpoint_task.give_up()
                self.flush()

    def _cancel_all(self) -> None:
        for endpoint_task in {*self._attendants(), *self._tasks.values()}:
            endpoint_task.cancel("the worker is to leave (--drain-timeout)")

    def _attendants(self) -> list[EndpointTask]:
        return [
            endpoint_task for endpoint_task in self.attended.values() if endpoint_task is not None
        ]

    async def _until_idle(self, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                while not self.is_idle:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
