"""What a worker does for the keeper: it takes deliveries and publications, and answers questions.

Shell. Private. The counterpart of `http/asgi.py:HttpSide`; whoever runs an application over a
keeper has both.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.endpoints.runner import EndpointRunner
from holdfast.wire import messages as wire
from holdfast.worker.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.scope import GlobalScope
    from holdfast.worker.host import WorkerHost
    from holdfast.worker.stream_link import Link

log = logging.getLogger("holdfast.worker")

# A tuple: a union would be built anew for each message.
DELIVERIES = (wire.DeliverText, wire.DeliverBinary, wire.DeliverClose)


class WebSocketSide:
    """The worker's side of the link to the keeper.

    Args:
        event_timeout: as for Inbox.
        on_stranger: called, with the reason, when the keeper is of another version of holdfast.
    """

    def __init__(
        self,
        host: WorkerHost,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        *,
        event_timeout: float,
        on_stranger: Callable[[str], None],
    ) -> None:
        self._host = host
        self._link = link
        self._loop = loop
        self._event_timeout = event_timeout
        self._on_stranger = on_stranger
        self._app: GlobalScope | None = None
        self._generation = 0
        self._welcomed = asyncio.Event()
        self._drained = asyncio.Event()
        self.runner = EndpointRunner(host, link, loop, event_timeout=event_timeout)
        """Runs the endpoints of mounted applications; to be opened before `join`."""
        self.inbox: Inbox | None = None
        """What runs deliveries, once they may come; another one after each loss of the keeper."""

    async def greet(self) -> None:
        """Say hello; return when the keeper has said what connection ids are made of."""
        self._link.send(wire.Hello(wire.VERSION))
        await self._welcomed.wait()

    def join(self, app: GlobalScope, generation: int) -> None:
        """Take deliveries and publications for `app` from now on."""
        self._app = app
        self._generation = generation
        self.inbox = Inbox(
            app, self._host, self._link, self._loop, event_timeout=self._event_timeout
        )
        self._drained.clear()
        self._host.attach()
        self._link.send(wire.Ready(generation))

    async def drained(self) -> None:
        """Return when the keeper says that nothing is in flight here, and nothing will be."""
        # What has never joined has nothing to be drained of.
        if self.inbox is not None:
            await self._drained.wait()

    def receive(self, messages: list[wire.ToWorker]) -> None:
        """Take what the keeper says."""
        deliveries: list[wire.Deliver | wire.DeliverClose] = []
        runner = self.runner
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
            assert self.inbox is not None  # It exists before the keeper hears of Ready.
            self.inbox.put_all(deliveries)

    def lose_keeper(self) -> None:
        """Go on with what needs no connection."""
        self._host.keeper_lost()
        self.runner.lose_keeper()
        if self.inbox is not None:
            self.inbox.cut()
        # With the keeper, all that this worker could have been drained of is gone.
        self._drained.set()

    def greet_another(self) -> None:
        """Another keeper is at the end of the link: begin as with the first one."""
        if self.inbox is not None:
            self.inbox.cut()
        self._link.send(wire.Hello(wire.VERSION))

    def _receive_refusal(self, refusal: wire.Refused) -> None:
        if refusal.why:
            log.error("the keeper refused connection %#x: %s", refusal.serial, refusal.why)
        self.runner.refuse(refusal.serial)

    def _receive_welcome(self, welcome: wire.Welcome) -> None:
        if welcome.version != wire.VERSION:
            self._on_stranger(f"the keeper speaks version {welcome.version} of the wire, this "
                              f"worker {wire.VERSION}; restart holdfast")  # fmt: skip
        self._host.be_named(welcome.node, welcome.key)
        if self._app is not None:
            self.join(self._app, self._generation)
        self._welcomed.set()
