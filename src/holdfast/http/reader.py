"""What the bytes of one connection say: requests, one after the other (RFC 9112).

Pure. llhttp parses; the rules for a head that it leaves open are in `http/head.py`. Each
byte belongs to one of four positions:

    OPENED ─► HEAD ─► BODY ─► IDLE ─► HEAD …

Nothing is kept of what was read. What a client may send without being asked is limited here: the
size of a head, the number of its fields, and the framing of a chunked body.
"""

from __future__ import annotations

from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from holdfast.framing.handshake import is_upgrade_request
from holdfast.http.head import SPECIAL, WHITESPACE, check_special, split_target
from holdfast.http.limits import (
    BAD_REQUEST,
    FIELDS_TOO_LARGE,
    TARGET_TOO_LONG,
    TOO_MANY_FIELDS,
    Refused,
    framing_excess,
)

if TYPE_CHECKING:
    from holdfast.config import HttpLimits
    from holdfast.http.head import Special
    from holdfast.http.limits import Refusal

SLASH = ord("/")

_NAME = itemgetter(0)  # of a field


class Position(Enum):
    """What the next byte is."""

    OPENED = "the first of the first request"
    HEAD = "within a head"
    BODY = "within a body"
    IDLE = "the first of a further request"


# An attribute of an Enum takes 200 ns in Python 3.11, a global 5.
OPENED, HEAD, BODY, IDLE = Position


class RequestSink(Protocol):
    """What a reader tells."""

    def begin_request(self, head: RequestReader) -> None:
        """A head is complete; what it says is in the reader's attributes until this returns.

        Raises:
            Refused: the request is not taken.
        """

    def feed_body(self, data: bytes) -> None:
        """A part of the body of the last request."""

    def end_body(self) -> None:
        """The last request is complete."""

    def shutdown(self, *, lingers: bool) -> None:
        """There will be no further request."""


class RequestReader:
    """The requests of one connection."""

    __slots__ = (
        "_body_size",
        "_excess",
        "_feed_size",
        "_goes_on",
        "_head_size",
        "_max_headers",
        "_max_size",
        "_parser",
        "_sink",
        "headers",
        "heads",
        "is_handshake",
        "keeps_alive",
        "method",
        "pieces",
        "position",
        "special",
        "target",
        "version",
    )

    def __init__(self, sink: RequestSink, limits: HttpLimits) -> None:
        self._sink: RequestSink | None = sink
        self._max_headers = limits.max_headers
        self._max_size = limits.max_header_size
        self._parser: HttpRequestParser | None = self._new_parser()
        self.position = OPENED
        self.heads = 0
        """How many heads have begun after the first."""
        self.pieces = 0
        """How many reads brought nothing but a part of a body, and not its end."""
        # Whether what is being parsed has begun in an earlier read.
        self._goes_on = True
        # Bytes of an unfinished head so far; and with them, those that are being parsed.
        self._head_size = 0
        self._feed_size = 0
        # Bytes of a body since the last piece, and framing that they do not pay for.
        self._body_size = 0
        self._excess = 0
        # --- what the last head says; in the end, its trailers are in there
        self.method = b""
        self.version = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.special: Special | None = None
        """What fields of interest to a server say; None in nearly every request."""
        self.keeps_alive = True
        """True when the client may send a further request."""
        self.is_handshake = False
        """True when it wants a WebSocket. Nothing is parsed behind it."""

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        # What is sent behind a last request is nothing: RFC 9112 section 9.6.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def close(self) -> None:
        """Let go of the parser and of the sink, which refer to this."""
        self._parser = self._sink = None

    @property
    def is_head_request(self) -> bool:
        """True when the last method is HEAD, even before its head is complete."""
        assert self._parser is not None
        return self._parser.get_method() == b"HEAD"

    @property
    def has_begun(self) -> bool:
        """True when something of a head has come: line breaks count before the first one."""
        return self.position is HEAD or (self.position is OPENED and self._head_size > 0)

    # --- bytes come -----------------------------------------------------------------------------

    def receive(self, data: bytes) -> bytes | None:
        """Parse. Return what came behind a handshake, None if there was none.

        Raises:
            Refused: what came is no request, or too much of one.
        """
        parser = self._parser
        assert parser is not None
        self._feed_size = self._head_size + len(data)
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as stop:
            rest = data[stop.args[0] :]
            return rest if self.is_handshake else self._read_again(rest)
        except HttpParserError as error:
            if isinstance(error.__context__, Exception):
                raise error.__context__ from None
            # llhttp's words, not the client's.
            raise Refused(BAD_REQUEST.because(str(error))) from None
        if self.position is not IDLE:
            self._count(len(data))
        return None

    def _count(self, size: int) -> None:
        """Account for a head or a body that comes in pieces; nearly all come in one."""
        if self.position is not BODY:
            # Something else may have been before it in this read: only what is known counts.
            self._head_size = self._head_size + size if self._goes_on else self._parsed_size()
            if self._head_size > self._max_size:
                raise Refused(self._too_large())
            if len(self.headers) > self._max_headers:
                raise Refused(TOO_MANY_FIELDS)
        elif self._goes_on:
            self.pieces += 1
            self._excess = framing_excess(self._excess, size, self._body_size)
            self._body_size = 0
            if self._excess > self._max_size:
                # Trailers, for instance, or an extension that never ends.
                raise Refused(BAD_REQUEST.because("more framing of chunks than data"))
        else:
            self._excess = 0
        self._goes_on = True

    def _read_again(self, rest: bytes) -> bytes | None:
        # RFC 9110 section 7.8: a server may ignore an upgrade. httptools cannot, and would take
        # what comes next, the body, for the next request. So: once more, without the field.
        lines = [b"%s %s HTTP/%s" % (self.method, self.target, self.version.encode())]
        lines += [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        self._parser = self._new_parser()
        self.target, self.headers = b"", []
        self._head_size = 0
        return self.receive(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # --- llhttp calls ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.position is IDLE:
            self.heads += 1
            self._goes_on = False
        self.position = HEAD

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp has dropped whitespace before the value, and not behind it.
        self.headers.append((name.lower(), value.rstrip(WHITESPACE)))

    def on_headers_complete(self) -> None:
        parser, sink, headers = self._parser, self._sink, self.headers
        assert parser is not None
        assert sink is not None
        self.method = parser.get_method()
        self.version = version = parser.get_http_version()
        if self._feed_size > self._max_size:
            self._check_size()
        names = [*map(_NAME, headers)]
        if len(names) > self._max_headers:
            raise Refused(TOO_MANY_FIELDS)
        # One Host field and nothing else of interest: nearly every request.
        if names.count(b"host") == 1 and SPECIAL.isdisjoint(names) and version == "1.1":
            self.special = None
        else:
            self.special = check_special(version, headers)
        if self.target[0] != SLASH or b"#" in self.target:
            self._use_other_form()
        # Hardly any client of 1.0 sends a further one, whatever it says.
        self.keeps_alive = parser.should_keep_alive() and version == "1.1"
        if parser.should_upgrade() and not self._is_for_websocket():
            return  # and once more, without it
        sink.begin_request(self)
        # Trailers come here from now on, and go nowhere: a client must not add a field, Host or
        # X-Forwarded-For for instance, behind the check (RFC 9110 section 6.5.1).
        self.headers = []
        self.target = b""
        self._head_size = 0
        self._goes_on = False
        self.position = BODY

    def on_body(self, data: bytes) -> None:
        assert self._sink is not None
        self._body_size += len(data)
        self._sink.feed_body(data)

    def on_message_complete(self) -> None:
        sink = self._sink
        if self.position is HEAD or sink is None:
            return  # An upgrade that is ignored.
        self.position = IDLE
        sink.end_body()
        if self.headers:
            self._drop_trailers(sink)

    def _drop_trailers(self, sink: RequestSink) -> None:
        self.headers.clear()
        assert self._parser is not None
        if not self._parser.should_keep_alive():
            # To llhttp "Connection: close" is the same here, and it will read nothing more.
            sink.shutdown(lingers=False)

    # --- the head -------------------------------------------------------------------------------

    def _use_other_form(self) -> None:
        host, self.target = split_target(self.method, self.target)
        if host is not None:
            # RFC 9112 section 3.2.2: the Host field does not count then. A proxy in front may have
            # gone by the target.
            others = [field for field in self.headers if field[0] != b"host"]
            self.headers = [(b"host", host), *others]

    def _is_for_websocket(self) -> bool:
        if self.method == b"CONNECT":
            raise Refused(BAD_REQUEST.because("CONNECT"))
        self.is_handshake = self.method == b"GET" and is_upgrade_request(self.headers)
        return self.is_handshake

    def _parsed_size(self) -> int:
        size = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        return size + len(self.target) + len(" HTTP/1.1\r\n")

    def _check_size(self) -> None:
        size = len(self.method) + len(" ") + self._parsed_size() + len("\r\n")
        if size > self._max_size:
            raise Refused(self._too_large())

    def _too_large(self) -> Refusal:
        is_target = len(self.target) > self._max_size // 2
        return TARGET_TOO_LONG if is_target else FIELDS_TOO_LARGE
