"""A keeper without descriptors and a worker without processes, in somebody else's event loop.

Shell. Private. What `asgi/application.py` starts and stops: a switchboard over an ASGI server's sockets,
and the parts of a worker at the other end of a link in memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

from holdfast.asgi.handshake import NativeEndpoints
from holdfast.asgi.sockets import AsgiSockets
from holdfast.core.events import ShutdownEvent
from holdfast.core.ports import current_outbox
from holdfast.core.registration import Registration
from holdfast.framing.close_codes import GOING_AWAY
from holdfast.http.asgi import HttpSide
from holdfast.http.mounts import Mounts
from holdfast.inprocess.link import WorkerEnd
from holdfast.keeper.switchboard import Switchboard
from holdfast.wire import control
from holdfast.wire.identity import KEY_BYTES, NODE_BYTES
from holdfast.worker.handover import make_record
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import run_event, start, start_mounts
from holdfast.worker.websocket_side import WebSocketSide

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from holdfast.asgi.sockets import AsgiSocket
    from holdfast.config import AsgiSettings
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.core.scope import GlobalScope
    from holdfast.http.exchange import Receive, Send
    from holdfast.ledger.ledger import Ledger

log = logging.getLogger("holdfast")


# The only generation there is.
GENERATION = 1

# A record has a key, which nobody reads where the handshake was answered by somebody else.
ANY_KEY = [(b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")]


class Service:
    """One application in one event loop, from `start` to `stop`."""

    def __init__(
        self, app: GlobalScope, settings: AsgiSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app = app
        self._settings = settings
        self._loop = loop
        self._empty = asyncio.Event()
        self._switchboard = Switchboard(
            settings.keeper,
            secrets.token_bytes(NODE_BYTES),
            secrets.token_bytes(KEY_BYTES),
            self._hear_keeper,
            sockets=self._make_sockets,
        )
        number = int(time.time())
        self._link = WorkerEnd(
            number, self._switchboard, loop, lambda messages: self._side.receive(messages)
        )
        self._host = WorkerHost(number, self._link, loop)
        self._side = WebSocketSide(
            self._host,
            self._link,
            loop,
            event_timeout=settings.event_timeout,
            on_stranger=log.critical,
        )
        self._mounts = Mounts(())
        self.http: HttpSide
        """Answers requests, and handshakes that a `Handshake` dresses up as requests."""

    async def start(self) -> None:
        """Take the application through its lifecycle, and be ready for connections.

        Raises:
            ApplicationError: it cannot be started.
        """
        app = self._app
        # In another event loop it may have lived before.
        app.registration = Registration()
        # What the application does outside of events leaves at once.
        outside = self._host.new_outbox()
        outside.seal(self._host.leaving)
        current_outbox.set(outside)
        await self._side.greet()
        settings = self._settings
        await start(app, self._host, first=True, timeout=settings.lifecycle_timeout)
        self._mounts = await start_mounts(app)
        self.http = HttpSide(
            app,
            self._host,
            develop=settings.develop,
            max_body=settings.max_body,
            request_timeout=settings.request_timeout,
            allow_origins=settings.allow_origins,
            mounts=self._mounts,
            endpoints=NativeEndpoints(),
        )
        # An event loop that ends closes its async generators: so this is noticed even where nobody
        # calls `stop`.
        self._presence = self._be_present()
        await anext(self._presence)
        self._side.join(app, GENERATION)
        self._switchboard.prefer(GENERATION)
        self._switchboard.end_turn()

    async def stop(self) -> None:
        """Close what is still open, let everything finish, within its time, and shut down.

        Raises:
            ApplicationError: a listener of shutdown failed.
        """
        host, timeout = self._host, self._settings.drain_timeout
        host.leave()
        self._switchboard.close_all(GOING_AWAY, "")
        self._switchboard.end_turn()
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
                await host.finish_works()
        except TimeoutError:
            log.warning("stopped before everything had finished: drain_timeout is %g s", timeout)
            host.cancel_works()
        await self._presence.aclose()
        await self._mounts.shutdown()
        try:
            await run_event(self._app, host, ShutdownEvent, self._settings.lifecycle_timeout)
        finally:
            self._app.registration.step("retire")

    async def _be_present(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._host.detach()

    # --- connections ----------------------------------------------------------------------------

    def adopt(self, upgrade: Upgrade, outbox: Outbox, send: Send, *, lost: bool) -> AsgiSocket:
        """Own a connection whose handshake was answered.

        Args:
            lost: the client has left meanwhile; the connection opens only to close.
        """
        record = make_record(
            upgrade, outbox, ANY_KEY, b"", self._host.leaving, address="", lost=lost
        )
        sock = self._sockets.open(record, self._link.keeper_end.ready, send)
        if lost:
            self._sockets.lose(sock)
        return sock

    async def serve(self, sock: AsgiSocket, receive: Receive) -> None:
        """Return when the connection has ended and its close event was handled."""
        await self._sockets.serve(sock, receive)

    def _make_sockets(self, ledger: Ledger) -> AsgiSockets:
        self._sockets = AsgiSockets(
            ledger, self._settings.keeper, self._loop, lambda: self._switchboard.end_turn()
        )
        return self._sockets

    def _hear_keeper(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.Empty):
            self._empty.set()
