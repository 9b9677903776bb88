"""The one life of a worker, whatever it runs in.

Shell. Private. All hosts call `start`, `serve`, `quiesce` and `leave`, and bring ends: the link to
the keeper, what brings requests, the loop (and so the clock), and how long to wait in the end
(`worker/ends.py`). The steps and their order are here, and nowhere else:

`start`    greet the keeper; load the application; install and activate it, if it is the first of
           its generation; run startup; start the lifespans of what is mounted; join.
`join`     take deliveries and publications, and tell the keeper. A part of `start`, or, for a
           spare, of `serve`.
`serve`    take requests.
`quiesce`  take no more requests; what has no end by itself comes to one. Deliveries go on.
`leave`    finish what is in hand: requests, endpoints, deliveries, then the work passed to
           `wait_until`; end the lifespans of what is mounted; run shutdown; retire.

Publications are heard until the deliveries are finished and no longer: a listener may pass work to
`wait_until` for each of them, and a worker that hears on would not come to the end of its work.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from holdfast.core.events import ShutdownEvent
from holdfast.core.ports import current_outbox
from holdfast.endpoints.runner import EndpointRunner
from holdfast.http.asgi import HttpSide
from holdfast.http.mounts import Mounts
from holdfast.wire import messages as wire
from holdfast.worker.inbox import Inbox
from holdfast.worker.loader import run_event, start, start_mounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from holdfast.config import WorkerSettings
    from holdfast.core.scope import GlobalScope
    from holdfast.http.mounts import Endpoints
    from holdfast.worker.ends import Requests
    from holdfast.worker.host import WorkerHost
    from holdfast.worker.monitor import Work
    from holdfast.worker.stream_link import Link

log = logging.getLogger("holdfast.worker")

# A tuple: a union would be built anew for each message.
DELIVERIES = (wire.DeliverText, wire.DeliverBinary, wire.DeliverClose)


class Runtime:
    """One worker, from its hello to its end; `worker/stream_link.py:Receiver`.

    Args:
        requests: brings requests; None if somebody else calls `http`.
        endpoints: runs the WebSocket endpoints of mounted applications, where they are not the
            worker's own.
        patience: what `leave` waits in for all that is in hand, to end it in time. It may swallow
            the TimeoutError that it raises.
        on_stranger: called, with the reason, when the keeper is of another version of holdfast.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        host: WorkerHost,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        *,
        requests: Requests | None = None,
        endpoints: Endpoints | None = None,
        patience: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        on_stranger: Callable[[str], None] = log.critical,
    ) -> None:
        self._settings = settings
        self._host = host
        self._link = link
        self._loop = loop
        self._requests = requests
        self._patience = patience
        self._on_stranger = on_stranger
        self._runner = EndpointRunner(host, link, loop, event_timeout=settings.event_timeout)
        self._endpoints = endpoints or self._runner
        self._mounts = Mounts(())
        # What runs deliveries, once they may come; another one after each loss of the keeper.
        self._inbox: Inbox | None = None
        self._welcomed = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_draining = False
        self._app: GlobalScope
        self.http: HttpSide
        """Answers requests, from the end of `start` on."""

    # --- one life -------------------------------------------------------------------------------

    async def start(self, load: Callable[[], GlobalScope]) -> None:
        """Take an application through its start, and be ready.

        Args:
            load: returns the application, which has not lived before.

        Raises:
            ApplicationError: it cannot be started.
        """
        settings, host = self._settings, self._host
        # What the application does outside of events leaves at once.
        outside = host.new_outbox()
        outside.seal(host.leaving)
        current_outbox.set(outside)
        self._link.start(self)
        self._link.send(wire.Hello(wire.VERSION))
        await self._welcomed.wait()
        self._app = app = load()
        # In one process, workers of several generations may have one application object.
        self._registration = app.registration
        await start(app, host, first=settings.first, timeout=settings.lifecycle_timeout)
        self._mounts = await start_mounts(app)
        self._runner.open(self._mounts)
        self.http = self._make_http()
        if not settings.spare:
            self._join()

    async def serve(self) -> None:
        """Take requests from now on, and all else too."""
        if self._inbox is None:
            self._join()
        if self._requests is not None:
            await self._requests.start(self.http)

    def quiesce(self, *, stops: bool) -> None:
        """Take no more requests.

        Args:
            stops: whether all workers stop, and connections are closed; else others take over.
        """
        if stops:
            self._runner.stop(self._settings.drain_timeout)
        if self._requests is not None:
            self._requests.stop_accepting(lingers=not stops)
        self._host.leave()

    def drain(self) -> None:
        """Let go of connections that have an endpoint here; told again, it changes nothing."""
        if not self._is_draining:
            self._is_draining = True
            self._runner.drain()

    async def leave(self) -> None:
        """Finish what is in hand, and shut down. Call `quiesce` first.

        Returns only when the keeper has said that no delivery will come.

        Raises:
            ApplicationError: a listener of shutdown failed.
            Exception: what `patience` raises; then nothing was shut down.
        """
        self.drain()
        async with self._patience():
            await self._finish()
        self._host.detach()
        await self._mounts.shutdown()
        try:
            await run_event(self._app, self._host, ShutdownEvent, self._settings.lifecycle_timeout)
        finally:
            self._registration.step("retire")
            await self._link.drain()

    def cut(self) -> None:
        """Be gone at once, as a process that is killed; nothing that still runs has any effect."""
        self._host.detach()
        self._runner.cut()

    async def _finish(self) -> None:
        if self._requests is not None:
            await self._requests.finish()
        await self._runner.finish(self._settings.drain_timeout)
        # What has never joined has nothing to be drained of.
        if self._inbox is not None:
            await self._drained.wait()
        self._host.detach()
        await self._host.finish_works()

    def _make_http(self) -> HttpSide:
        settings, requests = self._settings, self._requests
        return HttpSide(
            self._app,
            self._host,
            develop=settings.develop,
            max_body=settings.max_body,
            request_timeout=settings.request_timeout,
            allow_origins=settings.allow_origins,
            on_limit=_nothing if requests is None else requests.count,
            mounts=self._mounts,
            endpoints=self._endpoints,
        )

    def _join(self) -> None:
        """Take deliveries and publications from now on."""
        self._inbox = Inbox(
            self._app,
            self._host,
            self._link,
            self._loop,
            event_timeout=self._settings.event_timeout,
        )
        self._drained.clear()
        self._host.attach()
        self._link.send(wire.Ready(self._settings.generation))

    @property
    def works(self) -> list[Work]:
        """All that may be in hand, but for requests."""
        assert self._inbox is not None
        return [self._inbox, self._runner, self._host]

    # --- what the keeper says -------------------------------------------------------------------

    def receive(self, messages: list[wire.ToWorker], /) -> None:
        deliveries: list[wire.Deliver | wire.DeliverClose] = []
        runner = self._runner
        for message in messages:
            if isinstance(message, DELIVERIES):
                if not runner.tasks or not runner.takes(message):
                    deliveries.append(message)
            elif runner.takes(message):
                pass
            elif isinstance(message, wire.Welcome):
                self._receive_welcome(message)
            elif isinstance(message, wire.Refused):
                self._receive_refusal(message)
            elif isinstance(message, wire.Drained):
                self._drained.set()
            elif isinstance(message, wire.Probe):
                self._link.send(wire.Alive())
            else:
                self._host.receive(message)
        if deliveries:
            assert self._inbox is not None  # It exists before the keeper hears of Ready.
            self._inbox.put_all(deliveries)

    def lose_keeper(self, why: str, /) -> None:
        """Go on with what needs no connection, until there is another keeper."""
        log.warning("worker %d: %s", self._settings.worker, why)
        self._host.keeper_lost()
        self._runner.lose_keeper()
        if self._inbox is not None:
            self._inbox.cut()
        # With the keeper, all that this worker could have been drained of is gone.
        self._drained.set()

    def greet_another(self) -> None:
        """Another keeper is at the end of the link: begin as with the first one."""
        if self._inbox is not None:
            self._inbox.cut()
        self._link.send(wire.Hello(wire.VERSION))

    def _receive_refusal(self, refusal: wire.Refused) -> None:
        if refusal.why:
            log.error("the keeper refused connection %#x: %s", refusal.serial, refusal.why)
        self._runner.refuse(refusal.serial)

    def _receive_welcome(self, welcome: wire.Welcome) -> None:
        if welcome.version != wire.VERSION:
            self._on_stranger(f"the keeper speaks version {welcome.version} of the wire, this "
                              f"worker {wire.VERSION}; restart holdfast")  # fmt: skip
        self._host.be_named(welcome.node, welcome.key)
        if self._inbox is not None:
            self._join()
        self._welcomed.set()


def _nothing(_: str) -> None:
    """Limits are somebody else's."""
