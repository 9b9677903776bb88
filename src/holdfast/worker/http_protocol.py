"""HTTP/1.1 on one connection: uvicorn's protocol class, made safe for the open.

Shell. Private. llhttp parses, uvicorn's `RequestResponseCycle` writes responses and applies back
pressure. What is between them is here: what may be asked and how much of it, in which order answers
leave, and what becomes of an upgrade. Each rule that is not uvicorn's says what uvicorn does.

`HttpToolsProtocol` is uvicorn's internal class; `tests/worker/test_http_protocol.py` fails if a new
version changes what is relied on here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast.framing.handshake import is_upgrade_request
from holdfast.hosts.asgi import EXTENSION
from holdfast.worker.forwarded import forwarded_scheme
from holdfast.worker.http_limits import (
    BAD_REQUEST,
    BODY_TIMEOUT,
    FIELDS_TOO_LARGE,
    HEADER_TIMEOUT,
    MAX_PIPELINED,
    OVERLOADED,
    TARGET_TOO_LONG,
    UNKNOWN_CODING,
    Phase,
    Vigil,
    framing_excess,
)

if TYPE_CHECKING:
    from typing import Any

    from uvicorn._types import ASGI3Application

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.worker.handover import SocketTaker
    from holdfast.worker.http import HttpServer
    from holdfast.worker.http_limits import Refusal

__all__ = ["Giver", "HttpProtocol"]

log = logging.getLogger("holdfast.worker")

# What a client may send behind its handshake request before it is answered. RFC 6455 section 4.1
# allows nothing at all; what fits one read is kept, more is a client that will not wait.
MAX_LEFTOVER = 256 * 1024  # bytes

# Fields that decide how a request is read, or from whom it is.
SPECIAL = frozenset(
    (b"expect", b"host", b"transfer-encoding", b"x-forwarded-for", b"x-forwarded-proto")
)

SLASH = ord("/")
WHITESPACE = b" \t"  # RFC 9110 section 5.6.3: OWS

# Where linux/tcp.h has tcpi_bytes_acked in struct tcp_info: what the client's side has taken.
BYTES_ACKED = struct.Struct("=120xQ")


class Refused(Exception):
    """Stops the parser; what to answer is `HttpProtocol._refusal`."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, handover: SocketTaker, server: HttpServer, *args: object, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._handover = handover
        self._server = server
        self._max_header_size = server.limits.max_header_size
        self._max_headers = server.limits.max_headers
        self._is_last = not server.limits.keep_alive  # the next request on this connection
        self._giver: Giver | None = None
        # The one that is being answered, or was last. With a pipeline `cycle` is a later one.
        self._running: RequestResponseCycle | None = None
        # Of pipelined requests, those before the last one; empty for nearly every connection.
        self._earlier: list[RequestResponseCycle] = []
        # Set for good when the connection is to end with it, after what is being answered.
        self._refusal: Refusal | None = None
        self._lingers = False
        # The fields of this request that are SPECIAL.
        self._special: list[tuple[bytes, bytes]] = []
        self._ignores_upgrade = False
        # Bytes of an unfinished head so far; and with them, those that are being parsed.
        self._head_size = 0
        self._feed_size = 0
        # Heads, but for the first, that came in pieces; pieces of bodies.
        self._heads = 0
        self._pieces = 0
        self._body_size = 0  # since the last piece
        self._excess = 0
        self.vigil = Vigil()

    # --- bytes come -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._giver is not None:
            self._giver.receive(data)
            return
        if self._refusal is not None:
            return  # RFC 9112 section 9.6: read, so that the answer is not lost, and dropped.
        earlier, scope = self.cycle, self.scope
        self._feed_size = self._head_size + len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or self._explain(error))
            return
        except httptools.HttpParserUpgrade as stop:
            self._stop_parsing(data[stop.args[0] :])
            return
        cycle = self.cycle
        if cycle is earlier or cycle.scope is not self.scope:
            self._account(len(data), is_continued=self.scope is scope)
        else:
            self._head_size = 0

    def _account(self, size: int, *, is_continued: bool) -> None:
        """Account for a head or a body that comes in pieces; nearly all come in one."""
        if self._is_in_head:
            if is_continued:
                self._head_size += size
            elif self.cycle is None:
                self._head_size = size
            else:
                # Something else may have been before it in this read: only what is known counts.
                self._heads += 1
                self._head_size = self._parsed_size()
            if self._head_size > self._max_header_size:
                self._refuse(self._too_large())
            return
        self._head_size = 0
        self._pieces += 1
        self._excess = framing_excess(self._excess, size, self._body_size)
        self._body_size = 0
        if not self.cycle.more_body:
            self._excess = 0
        elif self._excess > self._max_header_size:
            # uvicorn keeps trailers for ever, and a field of one that never ends.
            self._refuse(BAD_REQUEST.because("more framing of chunks than data"))

    @property
    def _is_in_head(self) -> bool:
        """True before the first head is complete, and while a later one is not."""
        return self.cycle is None or self.cycle.scope is not self.scope

    def _parsed_size(self) -> int:
        size = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        return size + len(self.url) + len(" HTTP/1.1\r\n")

    def _stop_parsing(self, rest: bytes) -> None:
        if self._giver is not None:
            self._giver.receive(rest)
            return
        # RFC 9110 section 7.8: a server may ignore an upgrade. httptools cannot: it stops for good,
        # and takes what comes next, the body, for the next request. uvicorn drops the rest of this
        # read and parses the body's as requests. So: once more, without the field.
        self._ignores_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._head_size = 0
        self._special = []
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # --- the parser calls -----------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        # llhttp has dropped whitespace before it, and not behind it.
        field = (name, value.rstrip(WHITESPACE))
        if name in SPECIAL:
            self._special.append(field)
        headers = self.headers
        headers.append(field)
        if len(headers) > self._max_headers:
            self._stop(FIELDS_TOO_LARGE.because("too many header fields"))

    def on_headers_complete(self) -> None:
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        if self._feed_size > self._max_header_size and self._is_too_large(method):
            self._stop(self._too_large())
        special = self._special
        # One Host field and nothing else of interest: nearly every request.
        if len(special) != 1 or special[0][0] != b"host" or version != "1.1":
            self._check_special(version)
        special.clear()
        url = self.url
        if url[0] != SLASH or b"#" in url:
            url = self._origin_form(method)
        if parser.should_upgrade() and not self._offers_socket(method):
            return
        raw_path, _, query = url.partition(b"?")
        path = raw_path.decode("ascii")
        scope = self.scope
        scope["method"] = method.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        if version != "1.1":
            scope["http_version"] = version
        # Trailers come here from now on, and go nowhere: a client must not add a field, Host or
        # X-Forwarded-For for instance, behind the check (RFC 9110 section 6.5.1).
        self.headers = []
        self._begin(version)

    def _begin(self, version: str) -> None:
        """Have the request answered, now or in its turn."""
        earlier, answering = self.cycle, self._server.answering
        is_first = earlier is None or earlier.response_complete
        if answering is not None and is_first and self._server.is_overloaded:
            self._stop(OVERLOADED)
        kind = ExpectingCycle if self.expect_100_continue else RequestResponseCycle
        cycle = self.cycle = kind(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=(
                self.parser.should_keep_alive()
                # Of a client of 1.0, uvicorn closes each; nobody misses it.
                and version != "1.0"
                and not self._is_last
                # Its parser has stopped for good; a declined handshake ends the connection.
                and self._giver is None
            ),
            on_response=self.on_response_complete,
        )
        if is_first:
            self._earlier.clear()
            self._start_asgi_task(cycle, self.app)
        else:
            self._queue(cycle, earlier)

    def _queue(self, cycle: RequestResponseCycle, earlier: RequestResponseCycle) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self.cycle = earlier
            self._stop(OVERLOADED.because("too many requests in a pipeline"))
        self.flow.pause_reading()
        self.pipeline.appendleft((cycle, self.app))
        self._earlier.append(earlier)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        answering = self._server.answering
        if answering is not None:
            answering.add(cycle)
            task.add_done_callback(lambda _: answering.discard(cycle))

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            return  # It will come again.
        cycle = self.cycle
        # uvicorn leaves this as it is when the response was complete before the request.
        cycle.more_body = False
        if isinstance(cycle, ExpectingCycle):
            cycle.expect_nothing()
        if self._special:
            self._special.clear()  # of trailers
        cycle.message_event.set()

    # --- what a head says -----------------------------------------------------------------------

    def _check_special(self, version: str) -> None:
        """Check, and use, the fields that are not of interest in nearly every request."""
        if version not in ("1.1", "1.0"):
            self._stop(BAD_REQUEST.because(f"HTTP/{version}"))
        fields: dict[bytes, list[bytes]] = {}
        for name, value in self._special:
            fields.setdefault(name, []).append(value)
        # RFC 9112 section 3.2: one, and before it came to that, at most one. uvicorn takes any
        # number.
        hosts = len(fields.get(b"host", ()))
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._stop(BAD_REQUEST.because(f"{hosts} Host fields"))
        codings = fields.get(b"transfer-encoding")
        if codings is not None:
            self._check_coding(codings, version)
        expected = fields.get(b"expect", ())
        # RFC 9110 section 10.1.1: not for 1.0, which does not know interim responses. Whatever else
        # is expected need not be refused.
        self.expect_100_continue = version == "1.1" and any(
            value.lower() == b"100-continue" for value in expected
        )
        if b"x-forwarded-for" in fields or b"x-forwarded-proto" in fields:
            self._believe_proxy(fields)

    def _check_coding(self, codings: list[bytes], version: str) -> None:
        """llhttp looks at this only when the application has the request already."""
        # RFC 9112 section 6.1: in 1.0, faulty framing.
        if version == "1.0" or len(codings) > 1:
            self._stop(BAD_REQUEST.because("Transfer-Encoding in HTTP/1.0, or twice"))
        names = [name.strip(WHITESPACE) for name in codings[0].lower().split(b",")]
        if names != [b"chunked"]:
            is_framed = names[-1] == b"chunked" and all(names)
            self._stop(UNKNOWN_CODING if is_framed else BAD_REQUEST.because("not chunked"))

    def _believe_proxy(self, fields: dict[bytes, list[bytes]]) -> None:
        proxies, client = self._server.proxies, self.client
        if not proxies.trusts(None if client is None else client[0]):
            return
        chain = fields.get(b"x-forwarded-for")
        if chain is not None:
            self.scope["client"] = proxies.client(client, chain)
        scheme = fields.get(b"x-forwarded-proto")
        if scheme is not None:
            self.scope["scheme"] = forwarded_scheme(scheme) or self.scope["scheme"]

    def _origin_form(self, method: bytes) -> bytes:
        """Return path and query of a target of another form (RFC 9112 section 3.2)."""
        url = self.url
        if url == b"*" and method == b"OPTIONS":
            return url
        authority, _, rest = url.partition(b"://")[2].partition(b"/")
        authority, _, query = authority.partition(b"?")
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            parsed = None
        if (
            parsed is None
            or (parsed.schema or b"").lower() not in (b"http", b"https")
            or parsed.userinfo is not None
            or b"#" in url
        ):
            self._stop(BAD_REQUEST.because("the target"))
        # Section 3.2.2: the Host field does not count then. uvicorn leaves it as it is, and a proxy
        # in front may have gone by the target.
        headers = self.headers
        headers[:] = [(b"host", authority), *(each for each in headers if each[0] != b"host")]
        return b"/?" + query if query else b"/" + rest

    def _offers_socket(self, method: bytes) -> bool:
        """Tell whether an upgrade is to a WebSocket; if not, it is as if nobody had asked for it."""
        if method == b"CONNECT":
            self._stop(BAD_REQUEST.because("CONNECT"))
        if method == b"GET" and is_upgrade_request(self.headers):
            self._giver = Giver(self, self._handover)
            extensions: dict[str, Any] = {EXTENSION: self._giver}
            self.scope["extensions"] = extensions
            return True
        self._ignores_upgrade = True
        return False

    def _is_too_large(self, method: bytes) -> bool:
        return len(method) + self._parsed_size() + len("\r\n") > self._max_header_size

    def _too_large(self) -> Refusal:
        # Of a request that consists of line breaks, there is no target.
        is_target = self.scope is not None and len(self.url) > self._max_header_size // 2
        return TARGET_TOO_LONG if is_target else FIELDS_TOO_LARGE

    # --- answers leave --------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._server.answering is not None:
            self._server.answering.discard(self._running)  # type: ignore[arg-type]
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._write_refusal(self._refusal)

    def _stop(self, refusal: Refusal) -> NoReturn:
        """Refuse from within a callback of the parser."""
        self._refusal = refusal
        raise Refused

    def _explain(self, error: httptools.HttpParserError) -> Refusal:
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a request could not be read, which is holdfast's fault", exc_info=error)
        # llhttp's words, not the client's.
        return BAD_REQUEST.because(str(error))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer nothing on this connection but what is being answered, and then this.

        uvicorn writes at once, into the middle of a response, or before that of an earlier request.
        """
        self._refusal = refusal
        self._server.note(refusal, self.client)
        cycle = self.cycle
        running = self._running
        if not self._is_in_head and cycle.more_body:
            # It is the body of this one that will never be complete.
            self._break_off(cycle)
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            elif cycle.response_started:
                # No place for an answer is left.
                self.transport.close()
                return
            else:
                running = None
        if running is None or running.response_complete:
            self._write_refusal(refusal)

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()

    def _write_refusal(self, refusal: Refusal) -> None:
        with_body = self.parser.get_method() != b"HEAD"
        response = refusal.encode(self.server_state.default_headers, with_body=with_body)
        self.transport.write(response)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._lingers = True
        else:
            self.transport.close()

    # --- time passes ----------------------------------------------------------------------------

    def condition(self) -> tuple[Phase, object]:
        """Return what this connection is doing, and what changes when it gets on with that."""
        if self._lingers:
            return Phase.LINGERING, None
        waiting = self.transport.get_write_buffer_size()
        if waiting:
            return Phase.WRITING, self._taken() or waiting
        if self._refusal is not None:
            return Phase.BUSY, None
        cycle = self.cycle
        if cycle is None and self._is_last and not self._head_size:
            return Phase.IDLE, None
        if self._is_in_head and (cycle is None or cycle.response_complete):
            return Phase.HEAD, self._heads
        if cycle.more_body and not (self.flow.read_paused or cycle.waiting_for_100_continue):
            return Phase.BODY, self._pieces
        if cycle.response_complete:
            return Phase.IDLE, cycle
        return Phase.BUSY, None

    def _taken(self) -> int:
        """Bytes that the client has acknowledged; 0 where nobody knows."""
        try:
            sock = self.transport.get_extra_info("socket")
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.size)
        except OSError:
            return 0  # not TCP
        return int(BYTES_ACKED.unpack(info)[0]) if len(info) == BYTES_ACKED.size else 0

    def expire(self, phase: Phase) -> None:
        """End the connection: it has got nowhere for too long."""
        match phase:
            case Phase.HEAD if self.cycle is not None or self._head_size:
                self._refuse(HEADER_TIMEOUT)
            case Phase.BODY:
                self._refuse(BODY_TIMEOUT)
            case Phase.WRITING:
                self._server.counts.count("write_timeouts")
                self.transport.abort()
            case Phase.LINGERING:
                self.transport.abort()
            case _:
                # RFC 9110 section 15.5.9: nothing was asked, so nothing is answered.
                self.transport.close()

    def shutdown(self) -> None:
        """Close the connection, soon: its next request may be on its way already."""
        is_idle = self.cycle is None or self.cycle.response_complete
        self._is_last = True
        if isinstance(self.cycle, ExpectingCycle):
            self.cycle.is_last = True
        if not (is_idle and self._server.lingers):
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells only the last request that its client has left. One before it may be
        # streaming still, and would for ever.
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._earlier.clear()


class ExpectingCycle(RequestResponseCycle):
    """One whose client waits for "100 Continue" before it sends the body (RFC 9110 section 10.1.1).

    If it is answered before that, nobody knows whether the body will come: the next request could
    be taken for it, or it for the next request. The connection ends, where uvicorn keeps it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_last = not self.keep_alive
        self.keep_alive = False

    async def receive(self) -> Any:
        if self.waiting_for_100_continue:
            self.keep_alive = not self.is_last
        return await super().receive()

    def expect_nothing(self) -> None:
        """The client did not wait, and the body is here."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.keep_alive = not self.is_last


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
        # Rare, and transports tell nobody when they run empty. One that never does is aborted:
        # Phase.WRITING.
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
