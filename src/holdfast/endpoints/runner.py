"""Runs the WebSocket endpoints of mounted applications that are in this worker.

Shell. Private. Each endpoint has a task (`endpoints/task.py`). A request for a WebSocket begins
an endpoint (`EndpointRunner.begin`). If the endpoint's worker exits, the keeper has another worker
resume it (`EndpointRunner.takes`). The runner finds the task for what the keeper says, and ends the
tasks when the worker leaves.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.core.ports import Metadata, current_outbox
from holdfast.endpoints.handshake import HandshakeAnswer
from holdfast.endpoints.record import Endpoint
from holdfast.endpoints.stages import RELEASED
from holdfast.endpoints.task import EndpointTask, Shared
from holdfast.endpoints.writer import TurnWriter
from holdfast.framing.close_codes import GOING_AWAY, INTERNAL_ERROR
from holdfast.http.mounts import Mounts, path_below
from holdfast.wire import messages as wire

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


# For how much of the drain timeout endpoints may go on with what they have in hand, and when
# nobody waits for them any more. The rest is for the application to shut down.
PATIENCE = 0.5
END_OF_PATIENCE = 0.75

# How long a worker that leaves keeps an endpoint that the keeper gives it all the same: the keeper
# has not heard yet that it leaves.
BOUNCE = 0.05  # seconds


class EndpointRunner:
    """The endpoints of one worker; `http/mounts.py:Endpoints`.

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
        self.tasks: dict[int, EndpointTask | None] = {}
        """By the serial of its connection, each endpoint; None for a connection that was released.
        """
        self.handled = 0
        """Messages that came for endpoints."""
        self._host = host
        self._loop = loop
        self._writer = TurnWriter(link, loop)
        self._shared = Shared(host, loop, self._writer, event_timeout)
        self._mounts = Mounts(())
        self._context: Context | None = None
        # The loop itself keeps only weak references to tasks.
        self._running: dict[asyncio.Task[None], EndpointTask] = {}
        self._is_draining = self._is_stopping = False
        self._changed = asyncio.Event()

    def open(self, mounts: Mounts) -> None:
        """Run endpoints of these mounts; to be called once, in the application's context."""
        self._mounts = mounts
        self._context = copy_context()

    # --- endpoints begin ------------------------------------------------------------------------

    async def begin(
        self,
        mounted: Mounted,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        handle: UpgradeHandle,
    ) -> None:
        """Begin an endpoint for a request; return when the request is answered."""
        answer = HandshakeAnswer(send, handle, self._loop)
        endpoint_task = EndpointTask(
            self._shared,
            Endpoint.of_request(scope),
            Metadata(request.url.href, None, frozenset()),
            serial=self._host.new_serial(),
            closes=self._is_stopping or mounted.mount.closes(path_below(scope)),
            answer=answer,
        )
        # Before the socket is given away: the first message may come at once.
        self.tasks[endpoint_task.protocol.serial] = endpoint_task
        if self._is_draining:
            endpoint_task.drain()
        # In this request's context: what its server keeps there may be wanted.
        self._start(endpoint_task, mounted, copy_context())
        await endpoint_task.answered(answer, receive)

    def _resume(self, delivery: wire.DeliverResume) -> None:
        endpoint = Endpoint.decode(delivery.endpoint)
        place = endpoint.place
        mounted = self._mounts.find(place)
        closes = mounted is not None and mounted.mount.closes(path_below(place))
        endpoint_task = self.tasks[delivery.connection] = EndpointTask(
            self._shared,
            endpoint,
            self._host.about(delivery.about),
            serial=delivery.connection,
            closes=self._is_stopping or closes,
            resume=delivery,
        )
        if self._is_draining:
            endpoint_task.protocol.leave()
            self._loop.call_later(BOUNCE, self._end, endpoint_task, GOING_AWAY)
        elif mounted is None:
            log.error("%r: nothing is mounted there any more, the connection closes", endpoint.path)
            self._end(endpoint_task, GOING_AWAY)
        else:
            assert self._context is not None  # The application is loaded.
            self._start(endpoint_task, mounted, self._context.copy())

    def _start(self, endpoint_task: EndpointTask, mounted: Mounted, context: Context) -> None:
        mounted.make_child_scope(endpoint_task.scope)
        # What the endpoint posts on channels leaves with what it sends.
        context.run(current_outbox.set, endpoint_task.outbox)
        task = self._loop.create_task(endpoint_task.run(mounted.app), context=context)
        endpoint_task.task = task
        self._running[task] = endpoint_task
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        endpoint_task = self._running.pop(task)
        endpoint_task.task = None
        if endpoint_task.protocol.is_ended:
            self._forget(endpoint_task)
        else:
            # Cancelled before its first step, or once too often.
            self._end(endpoint_task, INTERNAL_ERROR)
        self._changed.set()

    def _end(self, endpoint_task: EndpointTask, code: int) -> None:
        endpoint_task.end(code)
        self._forget(endpoint_task)

    def _forget(self, endpoint_task: EndpointTask) -> None:
        """Keep no endpoint whose connection has ended or is another worker's."""
        protocol = endpoint_task.protocol
        if protocol.is_over and self.tasks.get(protocol.serial) is endpoint_task:
            if protocol.stage is RELEASED:
                # What the keeper had sent by then is for another worker.
                self.tasks[protocol.serial] = None
            else:
                del self.tasks[protocol.serial]
            self._changed.set()

    # --- what the keeper says -------------------------------------------------------------------

    def takes(self, message: wire.ToWorker) -> bool:
        """Take a message if it is for an endpoint, and tell whether it was."""
        if isinstance(message, DELIVERIES):
            if message.connection not in self.tasks:
                return False
            endpoint_task = self.tasks[message.connection]
            if endpoint_task is not None:
                self.handled += 1
                endpoint_task.deliver(message)
                if type(message) is wire.DeliverClose:
                    self._forget(endpoint_task)
        elif isinstance(message, wire.DeliverResume):
            self._resume(message)
        elif isinstance(message, wire.Pressure):
            endpoint_task = self.tasks.get(message.connection)
            if endpoint_task is not None:
                endpoint_task.press(is_high=message.is_high)
        else:
            return False
        return True

    def refuse(self, serial: int) -> None:
        """The keeper did not take the connection."""
        endpoint_task = self.tasks.get(serial)
        if endpoint_task is not None:
            self._lose(endpoint_task)

    def cut(self) -> None:
        """Let the keeper hear nothing more, as if this worker did not exist."""
        self._writer.cut()

    def lose_keeper(self) -> None:
        """All connections are gone. A request has its own way to its client, and goes on."""
        for endpoint_task in self._present():
            if not endpoint_task.protocol.has_request:
                self._lose(endpoint_task)

    def _lose(self, endpoint_task: EndpointTask) -> None:
        endpoint_task.lose()
        self._forget(endpoint_task)

    # --- the worker's end -----------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True while no endpoint is here."""
        return not self._running and not any(self.tasks.values())

    def stop(self, timeout: float) -> None:
        """The whole server stops: connections close, and their endpoints are told.

        Args:
            timeout: as for `finish`.
        """
        self._is_stopping = True
        for endpoint_task in self._present():
            endpoint_task.closes = True
        self._loop.call_later(timeout * PATIENCE, self._cancel_all)

    def drain(self) -> None:
        """Release all connections, each as soon as its endpoint has nothing in hand."""
        self._is_draining = True
        for endpoint_task in self._present():
            endpoint_task.drain()

    async def finish(self, timeout: float) -> None:
        """Return when no endpoint is here any more. Call `drain` first.

        Args:
            timeout: seconds in which the worker has to leave. Endpoints that are not done after
                half of it are cancelled; those that do not heed that are left behind.
        """
        begin = self._loop.time()
        if not await self._until_idle(begin + timeout * PATIENCE):
            self._cancel_all()
            if not await self._until_idle(begin + timeout * END_OF_PATIENCE):
                self._give_up()

    def _cancel_all(self) -> None:
        for endpoint_task in self._present():
            endpoint_task.cancel("the worker is to leave (--drain-timeout)")

    def _give_up(self) -> None:
        """Go on without endpoints that do not heed that they were cancelled."""
        for endpoint_task in self._present():
            path = endpoint_task.endpoint.path
            log.error("the endpoint of %r has not ended and is left behind", path)
            self._end(endpoint_task, INTERNAL_ERROR)
        self._writer.flush()

    def _present(self) -> list[EndpointTask]:
        return [endpoint_task for endpoint_task in self.tasks.values() if endpoint_task is not None]

    async def _until_idle(self, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                while not self.is_idle:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
