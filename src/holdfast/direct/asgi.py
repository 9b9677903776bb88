"""An application as an ASGI 3 application: `uvicorn chat:app`.

Shell. Private; applications come here through `core/scope.py:ServiceWorker.asgi`. The lifespan runs
install, activate and startup, and in the end shutdown. Servers that know no lifespan get there with
the first request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.config import AsgiSettings, KeeperLimits
from holdfast.direct.handshake import Handshake, Warnings
from holdfast.direct.service import Service
from holdfast.framing.origin import OriginPolicy
from holdfast.worker.loader import ApplicationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from holdfast.core.scope import ServiceWorker
    from holdfast.hosts.exchange import Receive, Scope, Send

__all__ = ["Application", "settings"]


def settings(
    *, allow_origins: Iterable[str], max_message: int, max_outbound: int, **others: Any
) -> AsgiSettings:
    """Make settings of what `core/scope.py:ServiceWorker.asgi` was given.

    Raises:
        ValueError: an origin is none.
    """
    origins = tuple(allow_origins)
    OriginPolicy(origins)
    limits = KeeperLimits(max_message=max_message, max_outbound=max_outbound, max_memory=0)
    return AsgiSettings(allow_origins=origins, keeper=limits, **others)


class Application:
    """What an ASGI server calls.

    Args:
        app: serves in one event loop at a time; in another one it starts anew.
    """

    def __init__(self, app: ServiceWorker, settings: AsgiSettings) -> None:
        self._app = app
        self._settings = settings
        self._warnings = Warnings()
        # The one that serves, or will.
        self._service: asyncio.Task[Service] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            service = await self._serving()
            await service.http(scope, receive, send)
        elif kind == "websocket":
            service = await self._serving()
            handshake = Handshake(service, scope, receive, send, self._warnings)
            await handshake.run()
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            raise ValueError(f"holdfast serves http and websocket, not {kind!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start when the server does, and stop when it stops."""
        await receive()
        try:
            service = await self._serving()
        except ApplicationError as error:
            message = f"{error.summary}\n{error.traceback}".rstrip()
            await send({"type": "lifespan.startup.failed", "message": message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._service = None
        try:
            await service.stop()
        except ApplicationError as error:
            message = f"{error.summary}\n{error.traceback}".rstrip()
            await send({"type": "lifespan.shutdown.failed", "message": message})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _serving(self) -> Service:
        """Return what serves in this loop, and start it if nothing does.

        Raises:
            ApplicationError: it could not be started.
        """
        starting = self._service
        if starting is None or starting.get_loop() is not asyncio.get_running_loop():
            if starting is not None and _has_started(starting):
                starting.result().abandon()
            starting = self._service = asyncio.create_task(self._start())
        if not starting.done():
            # Whoever waits may be cancelled, and others wait too.
            await asyncio.wait([starting])
        return starting.result()

    async def _start(self) -> Service:
        service = Service(self._app, self._settings, asyncio.get_running_loop())
        await service.start()
        return service


def _has_started(starting: asyncio.Task[Service]) -> bool:
    return starting.done() and not starting.cancelled() and starting.exception() is None
