"""Tools for tests: drive an application in memory, or start a real server.

    from holdfast.testing import TestClient

    async with TestClient(app) as client:
        response = await client.fetch("/")
        async with client.connect("/ws") as ws:
            await ws.send("x")
            assert await ws.receive() == "x"
            await client.crash_worker()  # ws stays open

TestClient and what it returns (WebSocket, Stream, Clock) need neither port nor process. The pytest
fixture `holdfast_server`, a StartServer, gives a real Server.
"""

# Enters: an application. Leaves: responses, messages, what its listeners raised. Doors: core,
# config, wire, hosts, inprocess, keeper, worker.

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.testing.client import TestClient
    from holdfast.testing.clock import Clock
    from holdfast.testing.errors import ConnectionClosed, ServerFailed, UpgradeRefused
    from holdfast.testing.server import Server, StartServer
    from holdfast.testing.stream import Stream
    from holdfast.testing.websocket import WebSocket
    from holdfast.worker.loader import ApplicationError

__all__ = [
    "ApplicationError",
    "Clock",
    "ConnectionClosed",
    "Server",
    "ServerFailed",
    "StartServer",
    "Stream",
    "TestClient",
    "UpgradeRefused",
    "WebSocket",
]

_HOMES = {
    "ApplicationError": "holdfast.worker.loader",
    "Clock": "holdfast.testing.clock",
    "ConnectionClosed": "holdfast.testing.errors",
    "Server": "holdfast.testing.server",
    "ServerFailed": "holdfast.testing.errors",
    "StartServer": "holdfast.testing.server",
    "Stream": "holdfast.testing.stream",
    "TestClient": "holdfast.testing.client",
    "UpgradeRefused": "holdfast.testing.errors",
    "WebSocket": "holdfast.testing.websocket",
}

if not TYPE_CHECKING:
    # Imported when asked for: pytest imports `holdfast.testing.plugin`, and with it this file, in
    # every project of an environment that has holdfast installed.
    def __getattr__(name: str) -> object:
        from importlib import import_module

        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(home), name)

    def __dir__() -> list[str]:
        # `help(holdfast.testing)` shows what is listed here.
        return sorted({*globals(), *__all__})
