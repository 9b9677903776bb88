"""An application as an ASGI 3 application: `uvicorn chat:app`.

Shell. Private; applications come here through `app.py:ServiceWorker.asgi`. The lifespan runs
install, activate and startup, and in the end shutdown. Servers that know no lifespan get there with
the first request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.asgi.handshake import Handshake, Warnings
from holdfast.asgi.service import Service
from holdfast.worker.loader import ApplicationError

if TYPE_CHECKING:
    from holdfast.config import AsgiSettings
    from holdfast.core.scope import GlobalScope
    from holdfast.http.exchange import Receive, Scope, Send

# After a start that failed: requests until then fail for the same reason. Each with a start of its
# own would make it worse for a database that has just come back.
PAUSE = 1.0  # seconds


class Application:
    """What an ASGI server calls.

    Args:
        app: serves in one event loop at a time; in another one it starts anew.
    """

    def __init__(self, app: GlobalScope, settings: AsgiSettings) -> None:
        self._app = app
        self._settings = settings
        self._warnings = Warnings()
        # The one that serves, or will, or could not be started.
        self._service: asyncio.Task[Service] | None = None
        self._again_at = 0.0  # by the loop's clock, if it could not

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
            service = await self._serving(by_lifespan=True)
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

    async def _serving(self, *, by_lifespan: bool = False) -> Service:
        """Return what serves in this loop, and start it if nothing does.

        Raises:
            ApplicationError: it could not be started.
        """
        starting, loop = self._service, asyncio.get_running_loop()
        if starting is None or starting.get_loop() is not loop or self._has_failed(starting):
            starting = self._service = loop.create_task(self._start())
        if not starting.done():
            # Whoever waits may be cancelled, and others wait too.
            await asyncio.wait([starting])
        error = starting.exception()
        if not isinstance(error, ApplicationError):
            return starting.result()
        if not by_lifespan:
            # Else the server shows it.
            self._warnings.say(f"{error.summary}\n{error.traceback}".rstrip(), logging.ERROR)
        # Not the same one again: it would keep the frames of each request that it was raised to.
        again = ApplicationError(error.summary)
        again.traceback = error.traceback
        raise again

    def _has_failed(self, starting: asyncio.Task[Service]) -> bool:
        """Tell whether it failed so long ago that it is worth another try."""
        if not starting.done() or starting.get_loop().time() < self._again_at:
            return False
        return isinstance(starting.exception(), ApplicationError)

    async def _start(self) -> Service:
        loop = asyncio.get_running_loop()
        service = Service(self._app, self._settings, loop)
        try:
            await service.start()
        finally:
            self._again_at = loop.time() + PAUSE
        return service
