"""A pytest plugin: Starlette's test client talks to applications through holdfast.

Its WebSocket sessions drive an ASGI application; this puts a keeper's switchboard and ledger, and
a worker's `EndpointRunner`, between the two. What an endpoint raises is raised in the test, as
Starlette's client does; in a server it would be logged.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import httpx
import starlette.testclient

from holdfast import ServiceWorker
from holdfast.asgi.handshake import Handshake, Warnings
from holdfast.asgi.service import Service
from holdfast.config import AsgiSettings

if TYPE_CHECKING:
    from collections.abc import Callable

# Starlette's tests name the successor, which does as well.
if importlib.util.find_spec("httpx2") is None:
    sys.modules["httpx2"] = httpx

Session = starlette.testclient.WebSocketTestSession


class Through:
    """An application behind holdfast."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        errors: list[BaseException] = []
        worker = ServiceWorker()
        worker.mount(self._guarded(errors))
        service = Service(worker, AsgiSettings(), asyncio.get_running_loop())
        await service.start()
        # Not those of an ASGI host, which only pass messages on, but those of a server's worker.
        service.http._endpoints = service._runtime._runner
        # Starlette's client does not say what it can do.
        scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        await Handshake(service, scope, receive, send, Warnings()).run()
        if errors:
            raise errors[0]

    def _guarded(self, errors: list[BaseException]) -> Callable[..., Any]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "websocket":
                return
            try:
                await self._app(scope, receive, send)
            except BaseException as error:
                errors.append(error)
                raise

        return app


def through_holdfast(session: Any, app: Any, scope: Any, portal_factory: Any) -> None:
    init(session, Through(app), scope, portal_factory)


init = Session.__init__
Session.__init__ = through_holdfast  # type: ignore[assignment,method-assign]
