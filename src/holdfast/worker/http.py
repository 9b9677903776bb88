"""The worker's HTTP server: uvicorn, embedded, with one addition.

Shell. Private. uvicorn's own way of upgrading (its `ws=` option) drops what a client sent behind
its handshake and wants the response written by the new protocol object. Here a handshake is an
ordinary request with one thing more in its scope, a `SocketGiver`: the application answers it like
any other, or has the socket given to the keeper. So rejections are full HTTP responses, written
by uvicorn, and nothing is written before the decision.

`HttpToolsProtocol` is uvicorn's internal class; `tests/worker/test_http.py` fails if a new
version changes what is relied on here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.framing.handshake import is_upgrade_request
from holdfast.hosts.asgi import EXTENSION

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from typing import Any

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.hosts.asgi import HttpSide
    from holdfast.worker.handover import SocketTaker

__all__ = ["HttpServer"]

# What a client may send behind its handshake request before it is answered. RFC 6455 section 4.1
# allows nothing at all; what fits one read is kept, more is a client that will not wait.
MAX_LEFTOVER = 256 * 1024  # bytes

BACKLOG = 2048

# What uvicorn logs when a stream broke off; by then hosts/asgi.py has reported why.
BROKEN_STREAM = "ASGI callable returned without completing response."


class HttpServer:
    """Serves the application on a listening socket until told to stop.

    Args:
        keep_alive: seconds that a connection may wait for its next request.
        drain_timeout: seconds that requests in flight may take when the server stops.
        trusted_proxies: whose X-Forwarded-For and X-Forwarded-Proto count.
    """

    def __init__(
        self,
        side: HttpSide,
        handover: SocketTaker,
        *,
        keep_alive: float,
        drain_timeout: float,
        trusted_proxies: str,
    ) -> None:
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        config = uvicorn.Config(
            side,
            interface="asgi3",
            # A factory is all uvicorn makes of it (Server.startup: create_protocol).
            http=cast("type[asyncio.Protocol]", partial(HttpProtocol, handover, self)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=trusted_proxies,
            backlog=BACKLOG,
            timeout_keep_alive=cast("int", keep_alive),
            timeout_graceful_shutdown=cast("int", drain_timeout),
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        self.lingers = False
        """True when connections that are kept alive get one more answer before they are closed."""

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it.
            await asyncio.sleep(0)

    @property
    def handled(self) -> int:
        """Requests that have begun, and so will end."""
        return self._server.server_state.total_requests

    @property
    def is_idle(self) -> bool:
        """True while no request is being answered; a connection that is kept alive is nothing."""
        return not self._server.server_state.tasks

    def stop_accepting(self, *, lingers: bool) -> None:
        """Accept nothing more from this moment; uvicorn itself looks ten times a second.

        Args:
            lingers: answer one more request on each connection that is kept alive, and close it
                then; others take over from this worker. Else close those at once.
        """
        self.lingers = lingers
        if self._serving is None:
            return
        for server in self._server.servers:
            server.close()
        self._server.should_exit = True

    async def finish(self) -> None:
        """Return when all requests have been answered. Call `stop_accepting` first."""
        if self._serving is not None:
            await self._serving


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != BROKEN_STREAM


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals are the supervisor's; a worker is told what to do over its control link.
        yield


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol; a handshake request gets a `SocketGiver` in its scope."""

    def __init__(
        self, handover: SocketTaker, server: HttpServer, *args: object, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._handover = handover
        self._server = server
        self._is_last = False  # the next request on this connection
        self._giver: Giver | None = None
        # Of pipelined requests, those before the last one; empty for nearly every connection.
        self._earlier: list[RequestResponseCycle] = []

    def on_headers_complete(self) -> None:
        is_handshake = self.parser.should_upgrade() and self.parser.get_method() == b"GET"
        if is_handshake and is_upgrade_request(self.headers):
            self._giver = Giver(self, self._handover)
            extensions: dict[str, Any] = {EXTENSION: self._giver}
            self.scope["extensions"] = extensions
        earlier = self.cycle
        super().on_headers_complete()
        if self.pipeline:
            self._earlier.append(earlier)
        elif self._earlier:
            self._earlier.clear()
        if self._is_last:
            self.cycle.keep_alive = False
        if self._giver is not None:
            # The parser has stopped for good; a declined handshake ends the connection.
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells only the last request that its client has left. One before it may be
        # streaming still, and would for ever.
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._earlier.clear()

    def shutdown(self) -> None:
        """Close the connection, soon: its next request may be on its way already."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if not (is_idle and self._server.lingers):
            super().shutdown()
            return
        self._is_last = True
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def data_received(self, data: bytes) -> None:
        if self._giver is not None:
            self._giver.receive(data)
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as stop:
            if self._giver is not None:
                self._giver.receive(data[stop.args[0] :])


class Giver:
    """The socket of one handshake request; `hosts/asgi.py:SocketGiver`."""

    def __init__(self, protocol: HttpProtocol, handover: SocketTaker) -> None:
        self._protocol = protocol
        self._handover = handover
        self._leftover = b""

    def receive(self, data: bytes) -> None:
        """Keep what came behind the request; the rest stays in the kernel."""
        self._leftover += data
        self._protocol.transport.pause_reading()
        if len(self._leftover) > MAX_LEFTOVER:
            self._protocol.transport.abort()

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        protocol = self._protocol
        transport = protocol.transport
        await self._flush_earlier_responses()
        is_lost = transport.is_closing()
        if not is_lost:
            transport.pause_reading()
            descriptor = transport.get_extra_info("socket").fileno()
            await self._handover.give_descriptor(upgrade.connection.serial, descriptor)
        headers = protocol.scope["headers"]
        client = protocol.scope["client"]
        self._handover.announce(
            upgrade,
            outbox,
            list(headers),
            self._leftover,
            address=client[0] if client else "",
            lost=is_lost,
        )
        # To uvicorn the request ends as if its client had left; the keeper's copy of the socket
        # keeps the TCP connection open.
        protocol.cycle.disconnected = True
        transport.abort()

    async def _flush_earlier_responses(self) -> None:
        """A response to an earlier request on this connection may still be on its way out."""
        transport = self._protocol.transport
        # Rare, and transports tell nobody when they run empty.
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
