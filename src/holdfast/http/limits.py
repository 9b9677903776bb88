"""How much a client may ask of the worker's HTTP side, for how long, and what it gets for more.

Pure: no clock, no socket. `http/protocol.py` counts and refuses; `http/timeouts.py`
looks at all connections about once a second, so that none has a timer of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, NamedTuple, assert_never

from holdfast.web.http_errors import reason_phrase

if TYPE_CHECKING:
    from holdfast.config import HttpLimits

# How long a client that was refused may go on sending, so that it reads why: to close at once would
# reset the connection under the answer (RFC 9112 section 9.6). nginx takes 5 s, Exchange 2 s too.
LINGER = 2.0  # seconds

# Requests that may wait on one connection for the answer of an earlier one. Hardly any client
# sends more than one (RFC 9112 section 9.3.2); benchmarks send 16 or 64. Without a limit a client
# that never reads can have any number parsed and kept.
MAX_PIPELINED = 100

# A chunked body may consist of more framing than data: extensions and trailers are read and
# dropped. So much framing is free for each byte of data, and for the rest there is a limit. Go
# does the same (CVE-2023-39326), with 2 bytes and 16 more per chunk; chunks of 1 byte have 5.
FREE_FRAMING = 16  # bytes


class Phase(Enum):
    """What a connection is doing, as far as time is concerned."""

    IDLE = "idle"
    """Between two requests."""

    HEAD = "head"
    """It was opened, or has begun a request, and the head is not complete."""

    BODY = "body"
    """The body of its request is not complete, and somebody would read it."""

    WRITING = "writing"
    """It was sent something that it has not taken yet."""

    LINGERING = "lingering"
    """It was refused, and may read why."""

    BUSY = "busy"
    """It waits for this server."""


def seconds(limits: HttpLimits, phase: Phase) -> float:
    """Return how long a phase may last without progress; infinity for ever."""
    match phase:
        case Phase.IDLE:
            return limits.keep_alive
        case Phase.HEAD | Phase.BODY:
            return limits.header_timeout or inf
        case Phase.WRITING:
            return limits.write_timeout or inf
        case Phase.LINGERING:
            return LINGER
        case Phase.BUSY:
            # How long listeners may take is the request timeout: http/deadlines.py.
            return inf
        case _:
            assert_never(phase)


class Vigil:
    """Since when nothing has moved on one connection."""

    __slots__ = ("_phase", "_progress", "_since")

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._progress: object = None
        self._since = 0.0

    def look(self, phase: Phase, progress: object, now: float) -> float:
        """Return for how many seconds both have been as they are.

        Args:
            progress: anything that is another thing when something has moved.
            now: seconds, of a clock that does not go back.
        """
        if phase is not self._phase or progress != self._progress:
            self._phase, self._progress, self._since = phase, progress, now
        return now - self._since


@dataclass(slots=True)
class HttpCounts:
    """What a worker has refused and given up since it started, by the limit that it was over."""

    bad_requests: int = 0
    """Over no limit, but malformed, or to be read in two ways: 400, 501."""

    max_header_size: int = 0
    """414, 431."""

    max_headers: int = 0
    """431."""

    max_body: int = 0
    """413."""

    header_timeout: int = 0
    """A head that was begun and not completed, or a body that did not go on: 408."""

    request_timeout: int = 0
    """Listeners that did not answer in time: 503."""

    write_timeout: int = 0
    """A client that did not take what it was sent: the connection was closed."""

    limit_concurrency: int = 0
    """503."""

    max_pipelined: int = 0
    """More than MAX_PIPELINED requests that wait on one connection: 503."""

    def count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)

    def since(self, earlier: HttpCounts) -> dict[str, int]:
        """Return what was counted since `earlier`; nothing, if nothing was."""
        before = asdict(earlier)
        return {
            name: count - before[name]
            for name, count in asdict(self).items()
            if count != before[name]
        }


class Refusal(NamedTuple):
    """An answer that the server writes itself, the last one on its connection."""

    status: int
    counter: str  # of HttpCounts
    why: str  # for the log: never what a client sent
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def because(self, why: str) -> Refusal:
        return self._replace(why=why)

    def encode(self, server_fields: bytes, *, with_body: bool = True) -> bytes:
        """Return the response. It says nothing that the status does not say.

        Args:
            server_fields: lines of the server's own.
            with_body: False for the answer to HEAD, whose Content-Length is that of GET.
        """
        phrase = reason_phrase(self.status).encode()
        lines = [
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(phrase),
            *(b"%s: %s" % field for field in self.headers),
            b"connection: close",
        ]
        head = b"HTTP/1.1 %d %s\r\n" % (self.status, phrase) + server_fields + b"\r\n".join(lines)
        return head + b"\r\n\r\n" + (phrase if with_body else b"")


class Refused(Exception):
    """Raised where the parser must stop; what the client gets is its `refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def __str__(self) -> str:
        return self.refusal.why


BAD_REQUEST = Refusal(400, "bad_requests", "malformed")
# RFC 9112 section 6.1.
UNKNOWN_CODING = Refusal(501, "bad_requests", "a transfer coding other than chunked")
HEADER_TIMEOUT = Refusal(408, "header_timeout", "the head of a request did not come in time")
BODY_TIMEOUT = Refusal(408, "header_timeout", "the body of a request did not go on")
TARGET_TOO_LONG = Refusal(414, "max_header_size", "the target is too long")
FIELDS_TOO_LARGE = Refusal(431, "max_header_size", "the header fields are too large")
TOO_MANY_FIELDS = Refusal(431, "max_headers", "too many header fields")
SOON = ((b"retry-after", b"1"),)
OVERLOADED = Refusal(503, "limit_concurrency", "too many requests at once", SOON)
PIPELINE_FULL = Refusal(503, "max_pipelined", "too many requests in a pipeline", SOON)


def framing_excess(excess: int, size: int, body: int) -> int:
    """Return how much framing of a body has come that its data does not pay for.

    Args:
        excess: the result so far, 0 at first.
        size: bytes that came.
        body: bytes of data among them.
    """
    return max(0, excess + size - body - FREE_FRAMING * body)
