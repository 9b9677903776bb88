"""HTTP/1.1 on one connection: uvicorn's protocol class, made safe for the open.

Shell. Private. llhttp parses, uvicorn's `RequestResponseCycle` writes responses and applies back
pressure. What is between them is here: what may be asked and how much of it, in which order answers
leave, and what becomes of an upgrade. Each rule that is not uvicorn's says what uvicorn does.

`HttpToolsProtocol` is uvicorn's internal class; `tests/http/test_protocol.py` fails if a new
version changes what is relied on here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from holdfast.framing.handshake import is_upgrade_request
from holdfast.http.asgi import EXTENSION
from holdfast.http.cycle import ExpectingCycle
from holdfast.http.forwarded import forwarded_scheme
from holdfast.http.head import SPECIAL, WHITESPACE, check_special, split_target
from holdfast.http.limits import (
    BAD_REQUEST,
    BODY_TIMEOUT,
    FIELDS_TOO_LARGE,
    HEADER_TIMEOUT,
    MAX_PIPELINED,
    OVERLOADED,
    PIPELINE_FULL,
    TARGET_TOO_LONG,
    TOO_MANY_FIELDS,
    Phase,
    Refused,
    Vigil,
    framing_excess,
)
from holdfast.http.upgrade_handle import SocketHandle

if TYPE_CHECKING:
    from typing import Any

    from uvicorn._types import ASGI3Application

    from holdfast.http.limits import Refusal
    from holdfast.http.server import HttpServer
    from holdfast.worker.handover import SocketTaker

log = logging.getLogger("holdfast.worker")

SLASH = ord("/")

# Where linux/tcp.h has tcpi_bytes_acked in struct tcp_info: what the client's side has taken.
BYTES_ACKED = struct.Struct("=120xQ")

# struct linger: on, and for no time. Then close means reset.
NO_LINGER = struct.pack("ii", 1, 0)


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
        self._handle: SocketHandle | None = None
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
        if self._refusal is not None:
            return  # RFC 9112 section 9.6: read, so that the answer is not lost, and dropped.
        if self._handle is not None:
            self._handle.receive(data)
            return
        earlier, scope = self.cycle, self.scope
        self._feed_size = self._head_size + len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(_explain(error))
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
        if self._handle is not None:
            self._handle.receive(rest)
            return
        # RFC 9110 section 7.8: a server may ignore an upgrade. httptools cannot: it stops for good,
        # and takes what comes next, the body, for the next request. uvicorn drops the rest of this
        # read and parses the body's as requests. So: once more, without the field.
        self._ignores_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn has it: what is sent behind a last request is nothing.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._head_size = 0
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
            raise Refused(TOO_MANY_FIELDS)

    def on_headers_complete(self) -> None:
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        if self._feed_size > self._max_header_size and self._is_too_large(method):
            raise Refused(self._too_large())
        special = self._special
        # One Host field and nothing else of interest: nearly every request.
        if len(special) != 1 or special[0][0] != b"host" or version != "1.1":
            self._use_special(version)
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
            raise Refused(OVERLOADED)
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
                and self._handle is None
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
            raise Refused(PIPELINE_FULL)
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
        if self.headers:
            self._end_trailers(cycle)
        cycle.message_event.set()

    def _end_trailers(self, cycle: RequestResponseCycle) -> None:
        self._special.clear()
        if not self.parser.should_keep_alive():
            # To llhttp "Connection: close" is the same here, and it will read nothing more.
            self._is_last = True
            cycle.keep_alive = False
            if cycle.response_complete:
                self.transport.close()

    # --- what a head says -----------------------------------------------------------------------

    def _use_special(self, version: str) -> None:
        """Check and use the fields that are not of interest in nearly every request."""
        special = check_special(version, self._special)
        self.expect_100_continue = special.expects_100
        if special.chain is None and special.scheme is None:
            return
        proxies, client, scope = self._server.proxies, self.client, self.scope
        if not proxies.trusts(None if client is None else client[0]):
            return
        if special.chain is not None:
            scope["client"] = proxies.client(client, special.chain)
        if special.scheme is not None:
            scope["scheme"] = forwarded_scheme(special.scheme) or scope["scheme"]

    def _origin_form(self, method: bytes) -> bytes:
        host, target = split_target(method, self.url)
        if host is not None:
            # RFC 9112 section 3.2.2: the Host field does not count then. uvicorn leaves it as it
            # is, and a proxy in front may have gone by the target.
            headers = self.headers
            headers[:] = [(b"host", host), *(each for each in headers if each[0] != b"host")]
        return target

    def _offers_socket(self, method: bytes) -> bool:
        """Tell whether an upgrade is to a WebSocket; if not, nobody has asked for one."""
        if method == b"CONNECT":
            raise Refused(BAD_REQUEST.because("CONNECT"))
        if method == b"GET" and is_upgrade_request(self.headers):
            client = self.scope["client"]
            address = client[0] if client else ""
            self._handle = SocketHandle(self, self._handover, self.headers, address)
            extensions: dict[str, Any] = {EXTENSION: self._handle}
            self.scope["extensions"] = extensions
            return True
        self._ignores_upgrade = True
        return False

    def _is_too_large(self, method: bytes) -> bool:
        return len(method) + len(" ") + self._parsed_size() + len("\r\n") > self._max_header_size

    def _too_large(self) -> Refusal:
        # Of a request that consists of line breaks, there is no target.
        is_target = self.scope is not None and len(self.url) > self._max_header_size // 2
        return TARGET_TOO_LONG if is_target else FIELDS_TOO_LARGE

    # --- answers leave --------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._server.answering is not None:
            self._server.answering.discard(self._running)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._write_refusal(self._refusal)

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
                self._end(b"")
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
        self._end(refusal.encode(self.server_state.default_headers, with_body=with_body))

    def _end(self, last: bytes) -> None:
        """Write the last of this connection, and let the client read it, while it still sends."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(last)
        self.flow.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
            self._lingers = True
        else:
            transport.close()

    # --- time passes ----------------------------------------------------------------------------

    def condition(self) -> tuple[Phase, object]:
        """Return what this connection is doing, and what changes when it gets on with that."""
        waiting = self.transport.get_write_buffer_size()
        if waiting:
            return Phase.WRITING, self._taken() or waiting
        if self._lingers:
            return Phase.LINGERING, None
        if self._refusal is not None or self.transport.is_closing():
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
                self._server.counts.count("write_timeout")
                self._reset()
            case Phase.LINGERING:
                self.transport.abort()
            case _:
                # RFC 9110 section 15.5.9: nothing was asked, so nothing is answered.
                self.transport.close()

    def abort(self) -> None:
        """End the connection, whatever state it is in."""
        self.transport.abort()

    def _reset(self) -> None:
        """Close, and have the kernel forget what it has for this client too (nginx can as well)."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()

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
        if self._handle is not None:
            self._handle.lose()
        # uvicorn tells only the last request that its client has left. One before it may be
        # streaming still, and would for ever.
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._earlier.clear()


def _explain(error: httptools.HttpParserError) -> Refusal:
    cause = error.__context__
    if isinstance(cause, Refused):
        return cause.refusal
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("a request could not be read, which is holdfast's fault", exc_info=error)
    # llhttp's words, not the client's.
    return BAD_REQUEST.because(str(error))
