"""HTTP/1.1 on one connection: in which order requests are answered, and how it ends.

Shell. Private. `http/reader.py` reads requests, `http/request_task.py` answers each of them,
`http/limits.py` says how much a client may ask. Requests may come before earlier ones are
answered; one is answered at a time.

    READING ─► HANDSHAKE               the last request wants a WebSocket
    READING ─► REFUSED ─► LINGERING    an answer of the server's own is the last
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from email.utils import formatdate
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from holdfast.http.asgi import EXTENSION, WHOLE_RESPONSE
from holdfast.http.forwarded import forwarded_scheme
from holdfast.http.limits import (
    BAD_REQUEST,
    BODY_TIMEOUT,
    HEADER_TIMEOUT,
    MAX_PIPELINED,
    OVERLOADED,
    PIPELINE_FULL,
    Phase,
    Refused,
    Vigil,
)
from holdfast.http.reader import BODY, IDLE, RequestReader
from holdfast.http.request_task import RequestTask
from holdfast.http.response import ResponseEncoder
from holdfast.http.upgrade_handle import SocketHandle

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.config import HttpLimits
    from holdfast.http.forwarded import Proxies
    from holdfast.http.head import Special
    from holdfast.http.limits import HttpCounts, Refusal
    from holdfast.http.request_task import Application
    from holdfast.worker.handover import SocketTaker

log = logging.getLogger("holdfast.worker")

# Where linux/tcp.h has tcpi_bytes_acked in struct tcp_info: what the client's side has taken.
BYTES_ACKED = struct.Struct("=120xQ")

# struct linger: on, and for no time. Then close means reset.
NO_LINGER = struct.pack("ii", 1, 0)


class Stage(Enum):
    """What becomes of the bytes that come."""

    READING = "they are parsed"
    HANDSHAKE = "they are for whoever gets the socket"
    REFUSED = "they are dropped, and the answers before the refusal are not out yet"
    LINGERING = "they are dropped, and the client may read the last answer"


# An attribute of an Enum takes 200 ns in Python 3.11, a global 5.
READING, HANDSHAKE, REFUSED, LINGERING = Stage


class HttpShared:
    """What all connections of one server have in common.

    Args:
        app: what answers requests.
        connections: those that are open, kept here.
        on_refusal: called with what is refused, and the client's address.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: Application,
        handover: SocketTaker,
        proxies: Proxies,
        limits: HttpLimits,
        counts: HttpCounts,
        connections: set[HttpProtocol],
        on_refusal: Callable[[Refusal, tuple[str, int] | None], None],
    ) -> None:
        self.loop = loop
        self.app = app
        self.handover = handover
        self.proxies = proxies
        self.limits = limits
        self.counts = counts
        self.connections = connections
        self.on_refusal = on_refusal
        # Those whose task has not ended, and how many of their responses are not complete.
        self.requests: set[RequestTask] = set()
        self.answering = 0
        self.most_at_once = limits.limit_concurrency or inf
        self.handled = 0
        self.keeps_alive = limits.keep_alive > 0
        self.date_field = b""
        # Set when there is no connection and no request; None until somebody waits for that.
        self.emptied: asyncio.Event | None = None

    def set_date(self) -> None:
        """To be called about once a second."""
        self.date_field = f"date: {formatdate(usegmt=True)}\r\n".encode()

    def look(self) -> None:
        """Something has ended."""
        if self.emptied is not None and not (self.connections or self.requests):
            self.emptied.set()

    async def wait_until_empty(self) -> None:
        """Return when there is no connection and no request."""
        self.emptied = asyncio.Event()
        self.look()
        await self.emptied.wait()


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "__weakref__",
        "_client",
        "_handle",
        "_is_last",
        "_is_paused",
        "_last_answer",
        "_reader",
        "_requests",
        "_server",
        "_shared",
        "_stage",
        "transport",
        "vigil",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(self, shared: HttpShared) -> None:
        self._shared = shared
        self._reader = RequestReader(self, shared.limits)
        self._stage = READING
        # Not wholly answered: the first is being answered, the others wait. All but the last have
        # come whole.
        self._requests: list[RequestTask] = []
        self._is_last = not shared.keeps_alive  # the next request on this connection
        self._is_paused = False  # reading
        self._handle: SocketHandle | None = None
        self._last_answer = b""  # once the connection is REFUSED
        self.writable: asyncio.Event | None = None
        self.vigil = Vigil()

    # --- the transport calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._shared.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        for request in self._requests:
            request.leave()
        self._requests.clear()
        self.resume_writing()
        if self._handle is not None:
            self._handle.lose()
        self._reader.close()
        self._shared.connections.discard(self)
        self._shared.look()

    def pause_writing(self) -> None:
        self.writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self.writable is not None:
            self.writable.set()
            self.writable = None

    def data_received(self, data: bytes) -> None:
        if self._stage is READING:
            try:
                rest = self._reader.receive(data)
            except Refused as error:
                self._refuse(error.refusal)
            except Exception:
                log.exception("a request could not be read, which is holdfast's fault")
                self._refuse(BAD_REQUEST)
            else:
                if rest is not None:
                    self._wait_for_decision(rest)
        elif self._handle is not None:
            self._handle.receive(data)
        # Else RFC 9112 section 9.6: read, so that the answer is not lost, and dropped.

    # --- the reader calls -----------------------------------------------------------------------

    def begin_request(self, head: RequestReader) -> None:
        """Have a request answered, now or in its turn."""
        requests, shared = self._requests, self._shared
        if not requests:
            if shared.answering >= shared.most_at_once:
                raise Refused(OVERLOADED)
        elif len(requests) > MAX_PIPELINED:
            raise Refused(PIPELINE_FULL)
        target = head.target
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "method": head.method.decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": head.headers,
        }
        special = head.special
        if special is not None:
            self._use_forwarded(scope, special)
        # A declined handshake ends the connection: its parser has stopped for good.
        closes = self._is_last or head.is_handshake or not head.keeps_alive
        response = ResponseEncoder(scope["method"], head.version, closes=closes)
        awaits_continue = special is not None and special.expects_100
        request = RequestTask(self, scope, response, awaits_continue=awaits_continue)
        extensions: dict[str, object] = {WHOLE_RESPONSE: request.respond}
        if head.is_handshake:
            extensions[EXTENSION] = self._new_handle(scope)
        scope["extensions"] = extensions
        if requests:
            self.pause_reading()
        else:
            self._start(request)
        requests.append(request)

    def _use_forwarded(self, scope: dict[str, Any], special: Special) -> None:
        proxies, client = self._shared.proxies, self._client
        if not proxies.trusts(None if client is None else client[0]):
            return
        if special.chain is not None:
            scope["client"] = proxies.client(client, special.chain)
        if special.scheme is not None:
            scope["scheme"] = forwarded_scheme(special.scheme) or "http"

    def _new_handle(self, scope: dict[str, Any]) -> SocketHandle:
        client = scope["client"]
        address = client[0] if client else ""
        self._handle = SocketHandle(self, self._shared.handover, scope["headers"], address)
        return self._handle

    def feed_body(self, data: bytes) -> None:
        # Without any, the request is answered already, and nobody will ask for its body.
        if self._requests:
            self._requests[-1].feed(data)

    def end_body(self) -> None:
        if self._requests:
            self._requests[-1].end_body()

    def shutdown(self, *, lingers: bool) -> None:
        """Close the connection when the requests that came are answered.

        Args:
            lingers: if there are none, the next one is on its way perhaps, and answered.
        """
        self._is_last = True
        if self._requests:
            self._requests[-1].response.closes = True
        elif not lingers:
            self.transport.close()

    # --- requests call --------------------------------------------------------------------------

    @property
    def date_field(self) -> bytes:
        return self._shared.date_field

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()

    def end_response(self, request: RequestTask) -> None:
        shared, requests = self._shared, self._requests
        shared.handled += 1
        shared.answering -= 1
        del requests[0]
        if request.response.closes:
            self.transport.close()
        elif requests:
            if not self.transport.is_closing():
                self._start(requests[0])
        elif self._stage is REFUSED:
            self._end()
        elif self._is_paused:
            self.resume_reading()

    def end_task(self, request: RequestTask) -> None:
        shared = self._shared
        shared.requests.discard(request)
        if not request.response.is_complete:
            shared.answering -= 1
        if shared.emptied is not None:
            shared.look()

    def cut(self, *, abruptly: bool) -> None:
        if abruptly:
            _reset(self.transport)
        else:
            self.transport.close()

    def release(self) -> None:
        """Somebody else has the socket; to the application it is as if its client had left."""
        self._requests[0].leave()
        self.transport.abort()

    def _start(self, request: RequestTask) -> None:
        shared = self._shared
        shared.answering += 1
        shared.requests.add(request)
        request.start(shared.app, shared.loop)

    def _wait_for_decision(self, rest: bytes) -> None:
        """The last request is a handshake, and perhaps the socket is given away."""
        assert self._handle is not None
        self._stage = HANDSHAKE
        self._handle.receive(rest)

    # --- the end --------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """Answer nothing on this connection but what is being answered, and then this."""
        shared, requests, reader = self._shared, self._requests, self._reader
        shared.counts.count(refusal.counter)
        shared.on_refusal(refusal, self._client)
        with_body = not reader.is_head_request
        self._last_answer = refusal.encode(shared.date_field, with_body=with_body)
        self._stage = REFUSED
        if reader.position is BODY:
            # It is the body of the last request that will never be complete.
            request = requests.pop() if requests else None
            if request is not None:
                request.leave()
            if request is None or request.response.framing is not None:
                # No place for an answer is left.
                self._last_answer = b""
        if not requests:
            self._end()

    def _end(self) -> None:
        """Write the last of this connection, and let the client read it, while it still sends."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(self._last_answer)
        self.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
            self._stage = LINGERING
        else:
            transport.close()

    # --- time passes ----------------------------------------------------------------------------

    def condition(self) -> tuple[Phase, object]:
        """Return what this connection is doing, and what changes when it gets on with that."""
        waiting = self.transport.get_write_buffer_size()
        if waiting:
            return Phase.WRITING, taken(self.transport) or waiting
        stage, requests, reader = self._stage, self._requests, self._reader
        if stage is LINGERING:
            return Phase.LINGERING, None
        if stage is not READING or self.transport.is_closing():
            return Phase.BUSY, None
        if reader.position is BODY:
            is_expected = not (self._is_paused or (requests and requests[-1].awaits_continue))
            return (Phase.BODY, reader.pieces) if is_expected else (Phase.BUSY, None)
        if requests:
            return Phase.BUSY, None
        is_idle = reader.position is IDLE or (self._is_last and not reader.has_begun)
        return Phase.IDLE if is_idle else Phase.HEAD, reader.heads

    def expire(self, phase: Phase) -> None:
        """End the connection: it has got nowhere for too long."""
        match phase:
            case Phase.HEAD if self._reader.has_begun:
                self._refuse(HEADER_TIMEOUT)
            case Phase.BODY:
                self._refuse(BODY_TIMEOUT)
            case Phase.WRITING:
                self._shared.counts.count("write_timeout")
                _reset(self.transport)
            case Phase.LINGERING:
                self.transport.abort()
            case _:
                # RFC 9110 section 15.5.9: nothing was asked, so nothing is answered.
                self.transport.close()


def taken(transport: asyncio.Transport) -> int:
    """Return how many bytes the client has acknowledged; 0 where nobody knows."""
    try:
        sock = transport.get_extra_info("socket")
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
    except OSError:
        return 0  # not TCP
    return int(BYTES_ACKED.unpack(info)[0]) if len(info) == BYTES_ACKED.size else 0


def _reset(transport: asyncio.Transport) -> None:
    """Close, and have the kernel forget what it has for this client too (nginx can as well)."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()


def _address(name: object) -> Any:
    """Return a socket's name as ASGI has it; None if it has none."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
