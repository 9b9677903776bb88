"""What the bytes of a connection say: requests, however they are cut (RFC 9112)."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import HttpLimits
from holdfast.http.limits import OVERLOADED, Refused
from holdfast.http.reader import Position, RequestReader

GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n"
)
H2C = (
    b"POST /d HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
)


class Sink:
    """Notes what it is told; data of bodies is put together."""

    def __init__(self, limits: HttpLimits | None = None) -> None:
        self.told: list[str] = []
        self.heads: list[dict[str, object]] = []
        self.refusal = False
        self.reader = RequestReader(self, limits or HttpLimits())

    def begin_request(self, head: RequestReader) -> None:
        if self.refusal:
            raise Refused(OVERLOADED)
        self.told.append(f"{head.method.decode()} {head.target.decode()}")
        self.heads.append(
            {
                "version": head.version,
                "headers": head.headers,
                "keeps_alive": head.keeps_alive,
                "special": head.special,
                "is_handshake": head.is_handshake,
            }
        )

    def feed_body(self, data: bytes) -> None:
        if self.told[-1].startswith("body "):
            self.told[-1] += data.decode()
        else:
            self.told.append(f"body {data.decode()}")

    def end_body(self) -> None:
        self.told.append("end")

    def shutdown(self, *, lingers: bool) -> None:
        self.told.append("last")

    def refused(self, data: bytes) -> int:
        """Return the status of the refusal; 0 if the reader takes it."""
        try:
            self.reader.receive(data)
        except Refused as error:
            return error.refusal.status
        return 0


# --- requests


def test_requests_come_one_after_another() -> None:
    sink = Sink()
    assert sink.reader.receive(GET + POST + CHUNKED) is None
    assert sink.told == [
        "GET /a?b", "end", "POST /b", "body hello", "end", "POST /c", "body hello", "end",
    ]  # fmt: skip


@given(
    st.lists(st.sampled_from([GET, POST, CHUNKED, H2C]), min_size=1, max_size=4),
    st.sets(st.integers(1, 500)),
)
def test_where_they_are_cut_changes_nothing(requests: list[bytes], cuts: set[int]) -> None:
    data = b"".join(requests)
    whole, cut = Sink(), Sink()
    for each in requests:
        whole.reader.receive(each)
    places = [0, *sorted(each for each in cuts if each < len(data)), len(data)]
    for start, end in pairwise(places):
        cut.reader.receive(data[start:end])
    assert cut.told == whole.told
    assert cut.heads == whole.heads
    assert cut.reader.position is Position.IDLE


def test_each_byte_has_its_position() -> None:
    sink, seen = Sink(), list[Position]()
    for byte in POST + b"\r\nG":
        seen.append(sink.reader.position)
        sink.reader.receive(bytes([byte]))
    assert [each for each in Position if each in seen] == list(Position)
    assert seen[0] is Position.OPENED
    assert seen[-2:] == [Position.IDLE] * 2  # Line breaks before a request are nothing.
    assert sink.reader.position is Position.HEAD
    assert (sink.reader.heads, sink.reader.pieces) == (1, 4)


def test_names_are_lower_and_values_bare() -> None:
    sink = Sink()
    sink.reader.receive(b"GET / HTTP/1.1\r\nHost: h\r\nX-A: \tb c \t\r\nx-A:\r\n\r\n")
    assert sink.heads[0]["headers"] == [(b"host", b"h"), (b"x-a", b"b c"), (b"x-a", b"")]


def test_an_absolute_target_replaces_the_host() -> None:
    # RFC 9112 section 3.2.2.
    sink = Sink()
    sink.reader.receive(b"GET http://i:1/x?y HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n")
    assert sink.told[0] == "GET /x?y"
    assert sink.heads[0]["headers"] == [(b"host", b"i:1"), (b"a", b"b")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", False),
    ],
)
def test_who_closes_says_so(line: bytes, expected: bool) -> None:
    # RFC 9112 section 9.3.
    sink = Sink()
    sink.reader.receive(line + b"Host: h\r\n\r\n")
    assert sink.heads[0]["keeps_alive"] is expected


def test_only_unusual_fields_are_special() -> None:
    sink = Sink()
    sink.reader.receive(GET + GET.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    usual, unusual = (head["special"] for head in sink.heads)
    assert usual is None
    assert unusual is not None
    assert unusual.expects_100  # type: ignore[attr-defined]


# --- upgrades


def test_behind_a_handshake_nothing_is_parsed() -> None:
    sink = Sink()
    assert sink.reader.receive(GET + HANDSHAKE + GET) == GET
    assert sink.told == ["GET /a?b", "end", "GET /ws", "end"]
    assert [head["is_handshake"] for head in sink.heads] == [False, True]


def test_another_upgrade_is_ignored() -> None:
    # RFC 9110 section 7.8.
    sink = Sink()
    assert sink.reader.receive(H2C + GET) is None
    assert sink.told == ["POST /d", "body hello", "end", "GET /a?b", "end"]
    assert sink.heads[0]["is_handshake"] is False
    assert (b"upgrade", b"h2c") not in sink.heads[0]["headers"]  # type: ignore[operator]


def test_a_handshake_is_a_get() -> None:
    sink = Sink()
    sink.reader.receive(HANDSHAKE.replace(b"GET", b"PUT"))
    assert sink.heads[0]["is_handshake"] is False
    assert Sink().refused(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n") == 400


# --- trailers (RFC 9110 section 6.5)


def test_trailers_reach_nobody() -> None:
    sink = Sink()
    sink.reader.receive(CHUNKED.replace(b"A: b", b"Host: i\r\nExpect: 100-continue") + GET)
    assert sink.told[-2:] == ["GET /a?b", "end"]
    assert sink.heads[0]["headers"] == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]
    assert sink.heads[1]["headers"] == [(b"host", b"h")]
    assert sink.heads[1]["special"] is None


def test_close_in_a_trailer_is_the_last() -> None:
    sink = Sink()
    sink.reader.receive(CHUNKED.replace(b"A: b", b"Connection: close") + GET)
    assert sink.told == ["POST /c", "body hello", "end", "last"]


# --- limits

SMALL = HttpLimits(max_header_size=100, max_headers=3)


def padded(size: int) -> bytes:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nA: %s\r\n\r\n"
    return head % (b"x" * (size - len(head) + 2))


@pytest.mark.parametrize("step", [1, 7, 99, 1000])
def test_a_head_has_so_many_bytes(step: int) -> None:
    for size in (100, 101):
        sink, data = Sink(SMALL), padded(size)
        assert len(data) == size
        pieces = [data[start : start + step] for start in range(0, size, step)]
        for piece in pieces[:-1]:
            sink.reader.receive(piece)
        if size == 100:
            sink.reader.receive(pieces[-1])
            assert sink.told == ["GET /", "end"]
        else:
            assert sink.refused(pieces[-1]) == 431


def test_each_head_has_its_own_bytes() -> None:
    sink = Sink(SMALL)
    sink.reader.receive(padded(100) * 3 + padded(100)[:50])
    sink.reader.receive(padded(100)[50:] + padded(100))
    assert sink.told == ["GET /", "end"] * 5


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 101, 431),
        (b"\r\n" * 51, 431),
        (b"GET /" + b"x" * 101, 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", 431),
    ],
)
def test_more_than_that_is_refused(data: bytes, status: int) -> None:
    sink = Sink(SMALL)
    answers = (sink.refused(bytes([byte])) for byte in data)
    assert next(filter(None, answers)) == status


def test_framing_is_paid_for_by_data() -> None:
    # CVE-2023-39326, elsewhere.
    sink = Sink(SMALL)
    sink.reader.receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        sink.reader.receive(b"1;a=b\r\nx\r\n")
    sink.reader.receive(b"1;" + b"a" * 90)
    assert sink.refused(b"a" * 30) == 400


# --- refusals


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: h\r\n\r\n",
        POST.replace(b": 5", b": 5x"),
    ],
)
def test_what_is_no_request_is_400(data: bytes) -> None:
    sink = Sink()
    assert sink.refused(data) == 400
    assert sink.told == []


def test_a_sink_may_refuse() -> None:
    sink = Sink()
    sink.refusal = True
    assert sink.refused(POST) == 503
    # Not the body of a request that was taken.
    assert sink.reader.position is Position.HEAD


def test_a_closed_reader_leaves_no_garbage() -> None:
    gc.collect()
    gc.disable()
    try:
        sink = Sink()
        sink.reader.receive(POST)
        sink.refused(b"garbage")
        gone = weakref.ref(sink)
        sink.reader.close()
        del sink
        assert gone() is None
    finally:
        gc.enable()
