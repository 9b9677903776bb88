"""A keeper without descriptors and a worker without processes, in somebody else's event loop.

Shell. Private. What `asgi/application.py` starts and stops: a switchboard over an ASGI server's
sockets, and a worker at the other end of a link in memory.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from holdfast.asgi.handshake import NativeEndpoints
from holdfast.asgi.sockets import AsgiSockets
from holdfast.framing.close_codes import GOING_AWAY
from holdfast.inprocess.ends import GENERATION, NEVER, settings_of_worker
from holdfast.inprocess.link import WorkerEnd
from holdfast.keeper.switchboard import Switchboard
from holdfast.wire import control
from holdfast.wire.identity import KEY_BYTES, NODE_BYTES
from holdfast.worker.handover import make_record
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import as_new
from holdfast.worker.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from holdfast.asgi.sockets import Accepted
    from holdfast.config import AsgiSettings
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.core.scope import GlobalScope
    from holdfast.http.asgi import HttpSide

log = logging.getLogger("holdfast")

# A record has a key, which nobody reads where the handshake was answered by somebody else.
ANY_KEY = [(b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")]


class Service:
    """One application in one event loop, from `start` to `stop`."""

    def __init__(
        self, app: GlobalScope, settings: AsgiSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app = app
        self._drain_timeout = settings.drain_timeout
        self._switchboard = Switchboard(
            settings.keeper,
            secrets.token_bytes(NODE_BYTES),
            secrets.token_bytes(KEY_BYTES),
            self._hear_keeper,
            sockets=partial(_open_sockets, loop),
        )
        number = int(time.time())
        self._link = WorkerEnd(number, self._switchboard, loop)
        self._host = WorkerHost(number, self._link, loop)
        self._runtime = Runtime(
            settings_of_worker(settings, worker=number),
            self._host,
            self._link,
            loop,
            endpoints=NativeEndpoints(),
            patience=self._be_patient,
        )

    @property
    def http(self) -> HttpSide:
        """Answers requests, and handshakes that a `Handshake` dresses up as requests."""
        return self._runtime.http

    async def start(self) -> None:
        """Take the application through its lifecycle, and be ready for connections.

        Raises:
            ApplicationError: it cannot be started.
        """
        # In another event loop it may have lived before.
        await self._runtime.start(partial(as_new, self._app))
        # An event loop that ends closes its async generators: so this is noticed even where nobody
        # calls `stop`.
        self._presence = self._be_present()
        await anext(self._presence)
        self._switchboard.prefer(GENERATION)
        self._switchboard.end_turn()

    async def stop(self) -> None:
        """Close what is still open, let everything finish, within its time, and shut down.

        Raises:
            ApplicationError: a listener of shutdown failed.
        """
        self._runtime.quiesce(stops=True)
        self._switchboard.close_all(GOING_AWAY, "")
        self._switchboard.end_turn()
        try:
            await self._runtime.leave()
        finally:
            await self._presence.aclose()

    async def give(self, accepted: Accepted, upgrade: Upgrade, outbox: Outbox, /) -> None:
        """Give a connection whose handshake was answered to the keeper; return when it has it."""
        self._link.keeper_end.give_socket(upgrade.connection.serial, accepted)
        record = make_record(
            upgrade, outbox, ANY_KEY, b"", self._host.leaving, address="", lost=False
        )
        self._link.send(record)
        await self._link.drain()

    @asynccontextmanager
    async def _be_patient(self) -> AsyncIterator[None]:
        timeout = self._drain_timeout
        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError:
            log.warning("stopped before everything had finished: drain_timeout is %g s", timeout)
            self._host.cancel_works()

    async def _be_present(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._host.detach()

    def _hear_keeper(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.Empty):
            self._switchboard.prefer(NEVER)


def _open_sockets(loop: asyncio.AbstractEventLoop, switchboard: Switchboard) -> AsgiSockets:
    return AsgiSockets(
        switchboard.ledger,
        switchboard.limits,
        loop,
        switchboard.end_turn,
        switchboard.admission.leave,
    )
