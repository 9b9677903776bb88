"""The worker's HTTP server: accepts connections, and waits for them when it stops.

Shell. Private. A handshake is an ordinary request with one thing more in its scope, a
`http/asgi.py:UpgradeHandle`: the application answers it like any other, or has the socket given to
the keeper. So rejections are full HTTP responses, and nothing is written before the decision.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from holdfast.http.forwarded import Proxies
from holdfast.http.protocol import HttpProtocol, HttpShared
from holdfast.http.timeouts import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.config import HttpLimits
    from holdfast.http.limits import HttpCounts
    from holdfast.http.request_task import Application
    from holdfast.worker.handover import SocketTaker

log = logging.getLogger("holdfast.worker")

BACKLOG = 2048

# A client that is gone without a word, while it listens to a stream that has nothing to say, is
# noticed by nobody but the kernel: after 60 s of silence it asks 3 times, 20 s apart. nginx leaves
# this to the system, which begins after two hours. Accepted sockets have it from the listening one.
PROBES = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 20, socket.TCP_KEEPCNT: 3}


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
        side: Application,
        handover: SocketTaker,
        *,
        limits: HttpLimits,
        counts: HttpCounts,
        on_counted: Callable[[dict[str, int]], None],
        drain_timeout: float,
        trusted_proxies: str,
    ) -> None:
        self._drain_timeout = drain_timeout
        self._loop = asyncio.get_running_loop()
        connections: set[HttpProtocol] = set()
        self._sweep = Sweep(limits, counts, connections, on_counted)
        proxies = Proxies(trusted_proxies)
        self._shared = HttpShared(
            self._loop, side, handover, proxies, limits, counts, connections, self._sweep.note
        )
        self._listener: socket.socket | None = None
        self._acceptor: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on."""
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in PROBES.items():
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
        self._listener = listener
        self._acceptor = await self._loop.create_server(
            self.new_protocol, sock=listener, backlog=BACKLOG
        )
        self._sweep.start(self._loop, self._shared.set_date)

    def new_protocol(self) -> HttpProtocol:
        """Return what serves one more connection."""
        return HttpProtocol(self._shared)

    @property
    def handled(self) -> int:
        """Requests that have been answered."""
        return self._shared.handled

    @property
    def is_idle(self) -> bool:
        """True while no request is being answered; a connection that is kept alive is nothing."""
        return not self._shared.requests

    def stop_accepting(self, *, lingers: bool) -> None:
        """Accept nothing more from this moment.

        Args:
            lingers: answer one more request on each connection that is kept alive, and close it
                then; others take over from this worker. Else close those at once.
        """
        self._shared.keeps_alive = False
        if self._acceptor is None or self._listener is None:
            return
        self._acceptor.close()
        self._listener.close()
        for connection in tuple(self._shared.connections):
            connection.shutdown(lingers=lingers)

    async def finish(self) -> None:
        """Return when all requests have been answered. Call `stop_accepting` first."""
        if self._acceptor is None:
            return
        try:
            async with asyncio.timeout(self._drain_timeout):
                await self._shared.wait_until_empty()
        except TimeoutError:
            self._cancel_requests()
        self._sweep.stop()

    def _cancel_requests(self) -> None:
        requests = tuple(self._shared.requests)
        log.error("requests that were not answered in time and are cancelled: %d", len(requests))
        for request in requests:
            if request.task is not None:
                request.task.cancel()
