"""The worker's HTTP server: uvicorn, embedded, with a protocol class of ours.

Shell. Private. uvicorn's own way of upgrading (its `ws=` option) drops what a client sent behind
its handshake and wants the response written by the new protocol object. Here a handshake is an
ordinary request with one thing more in its scope, a `UpgradeHandle`: the application answers it like
any other, or has the socket given to the keeper. So rejections are full HTTP responses, written
by uvicorn, and nothing is written before the decision. See `http/protocol.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, cast

import uvicorn

from holdfast.http.forwarded import Proxies
from holdfast.http.protocol import HttpProtocol
from holdfast.http.timeouts import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from holdfast.config import HttpLimits
    from holdfast.http.asgi import HttpSide
    from holdfast.http.limits import HttpCounts, Refusal
    from holdfast.worker.handover import SocketTaker

BACKLOG = 2048

# A client that is gone without a word, while it listens to a stream that has nothing to say, is
# noticed by nobody but the kernel: after 60 s of silence it asks 3 times, 20 s apart. nginx leaves
# this to the system, which begins after two hours. Accepted sockets have it from the listening one.
PROBES = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 20, socket.TCP_KEEPCNT: 3}

# What uvicorn logs when a stream broke off; by then http/asgi.py has reported why.
BROKEN_STREAM = "ASGI callable returned without completing response."


class HttpServer:
    """Serves the application on a listening socket until told to stop.

    Args:
        counts: what is refused is counted there.
        on_counted: called with what was counted since the last call, about once a second.
        drain_timeout: seconds that requests in flight may take when the server stops.
        trusted_proxies: whose X-Forwarded-For and X-Forwarded-Proto count, as for `Proxies`.

    Raises:
        ValueError: `trusted_proxies` are none.
    """

    def __init__(
        self,
        side: HttpSide,
        handover: SocketTaker,
        *,
        limits: HttpLimits,
        counts: HttpCounts,
        on_counted: Callable[[dict[str, int]], None],
        drain_timeout: float,
        trusted_proxies: str,
    ) -> None:
        self.limits = limits
        self.counts = counts
        self.proxies = Proxies(trusted_proxies)
        # None: any number may be.
        self.answering: set[RequestResponseCycle] | None = (
            set() if limits.limit_concurrency else None
        )
        """Requests that are being answered; None if there is no limit to them."""
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
            proxy_headers=False,  # http/forwarded.py
            backlog=BACKLOG,
            timeout_graceful_shutdown=cast("int", drain_timeout),
        )
        self._server = _Server(config)
        self._sweep = Sweep(limits, counts, self._server.server_state.connections, on_counted)
        self._serving: asyncio.Task[None] | None = None
        self.lingers = False
        """True when connections that are kept alive get one more answer before they are closed."""

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on."""
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in PROBES.items():
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it.
            await asyncio.sleep(0)
        self._sweep.start(asyncio.get_running_loop())

    def note(self, refusal: Refusal, client: tuple[str, int] | None) -> None:
        """Count a refusal; the log has one line for all of a second."""
        self.counts.count(refusal.counter)
        self._sweep.note(refusal, client)

    @property
    def is_overloaded(self) -> bool:
        """True while as many requests are being answered as may be."""
        return self.answering is not None and len(self.answering) >= self.limits.limit_concurrency

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
            self._sweep.stop()


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != BROKEN_STREAM


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals are the supervisor's; a worker is told what to do over its control link.
        yield
