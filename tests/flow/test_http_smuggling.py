"""What must not be read in two ways: each shape, sent to a real server, and what comes of it.

A proxy in front that reads a request otherwise than the server does lets one client speak in
another's name. So whatever RFC 9112 lets a server refuse is refused: an answer of its own, the
connection closed, and nothing behind it is looked at.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.flow.raw import RawClient, handshake
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = ROOT / "tests/flow/apps/http_limits.py"


class Web(NamedTuple):
    server: Server
    journal: Path

    def seen(self) -> list[str]:
        return self.journal.read_text().splitlines()

    def send(self, data: bytes) -> bytes:
        """Return all that is answered until the server closes."""
        with RawClient(self.server.port) as client:
            client.send(data)
            return client.receive_rest()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    journal = tmp_path_factory.mktemp("smuggling") / "journal"
    journal.touch()
    with Server.start(APP, workers=1, env={"JOURNAL": str(journal)}) as server:
        yield Web(server, journal)


NEXT = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HOST = b"Host: a\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST /refused HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n" + body


def get(*lines: bytes) -> bytes:
    return b"GET /refused HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n"


def request_line(line: bytes) -> bytes:
    return line + b"\r\n" + HOST + b"\r\n"


LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"

# Refused before the application hears of it. Behind each comes a request that must not be read.
REFUSED = {
    # RFC 9112 section 6.3: how long is the body?
    "length and coding": post(LENGTH, CHUNKED, body=END),
    "coding and length": post(CHUNKED, LENGTH, body=END),
    "two lengths": post(LENGTH, b"Content-Length: 6\r\n", body=b"hello"),
    "the same length twice": post(LENGTH, LENGTH, body=b"hello"),
    "a list of lengths": post(b"Content-Length: 5, 5\r\n", body=b"hello"),
    "a length with a plus": post(b"Content-Length: +5\r\n", body=b"hello"),
    "a negative length": post(b"Content-Length: -5\r\n", body=b"hello"),
    "a length with a space": post(b"Content-Length: 5 5\r\n", body=b"hello"),
    "a length in hex": post(b"Content-Length: 0x5\r\n", body=b"hello"),
    "a length with an underscore": post(b"Content-Length: 1_0\r\n", body=b"hello"),
    "a length with letters behind it": post(b"Content-Length: 5a\r\n", body=b"hello"),
    "an empty length": post(b"Content-Length:\r\n", body=b"hello"),
    "a length over 64 bits": post(b"Content-Length: 18446744073709551616\r\n", body=b"hello"),
    # Section 6.1: is it chunked?
    "xchunked": post(b"Transfer-Encoding: xchunked\r\n", body=END),
    "gzip": post(b"Transfer-Encoding: gzip\r\n", body=END),
    "identity": post(b"Transfer-Encoding: identity\r\n", body=END),
    "chunked, then gzip": post(b"Transfer-Encoding: chunked, gzip\r\n", body=END),
    "chunked twice in one field": post(b"Transfer-Encoding: chunked, chunked\r\n", body=END),
    "chunked in two fields": post(CHUNKED, CHUNKED, body=END),
    "chunked, then identity": post(CHUNKED, b"Transfer-Encoding: identity\r\n", body=END),
    "identity, then chunked": post(b"Transfer-Encoding: identity\r\n", CHUNKED, body=END),
    "quoted chunked": post(b'Transfer-Encoding: "chunked"\r\n', body=END),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", body=END),
    "an empty member before chunked": post(b"Transfer-Encoding: ,chunked\r\n", body=END),
    "an empty member behind chunked": post(b"Transfer-Encoding: chunked,\r\n", body=END),
    "chunked behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", body=END),
    "an empty coding": post(b"Transfer-Encoding:\r\n", body=END),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", body=END),
    "a coding for a GET": get(b"Transfer-Encoding: gzip\r\n"),
    # Section 6.1: whoever speaks 1.0 does not know it.
    "chunked in HTTP/1.0": b"POST /refused HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n" + END,
    # Section 2.2: where does a line end?
    "bare line feeds": b"GET /refused HTTP/1.1\nHost: a\n\n",
    "a bare line feed behind the request line": b"GET /refused HTTP/1.1\nHost: a\r\n\r\n",
    "a bare line feed behind a field": get(b"A: b\nC: d\r\n"),
    "a bare line feed at the end": b"GET /refused HTTP/1.1\r\nHost: a\r\n\n",
    "a bare carriage return in a value": get(b"A: b\rC: d\r\n"),
    "two carriage returns": get(b"A: b\r\r\n"),
    "a bare carriage return at the end": b"GET /refused HTTP/1.1\r\nHost: a\r\n\rx",
    # Section 5: what is a field?
    "folding": get(b"A: b\r\n c\r\n"),
    "folding with a tab": get(b"A: b\r\n\tc\r\n"),
    "a space before the first field": b"GET /refused HTTP/1.1\r\n Host: a\r\n\r\n",
    "a space before the colon": get(b"A : b\r\n"),
    "a tab before the colon": get(b"A\t: b\r\n"),
    "a line without a colon": get(b"A\r\n"),
    "an empty name": get(b": b\r\n"),
    "a name with a space": get(b"A B: c\r\n"),
    "a name with brackets": get(b"A(B): c\r\n"),
    "a name with an at": get(b"A@B: c\r\n"),
    "a name that is not ASCII": get(b"A\xe9: c\r\n"),
    "NUL in a name": get(b"A\0: c\r\n"),
    "NUL in a value": get(b"A: b\0c\r\n"),
    "a control character in a value": get(b"A: b\x01c\r\n"),
    "DEL in a value": get(b"A: b\x7fc\r\n"),
    # Section 3.2: which host is meant?
    "no host": b"GET /refused HTTP/1.1\r\n\r\n",
    "two hosts": get(b"Host: b\r\n"),
    "the same host twice": get(HOST),
    "two hosts in HTTP/1.0": b"GET /refused HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    # Section 3.2: which target?
    "a target that is an authority": request_line(b"GET refused:80 HTTP/1.1"),
    "a target that is nothing": request_line(b"GET refused HTTP/1.1"),
    "a target of another scheme": request_line(b"GET ftp://a/refused HTTP/1.1"),
    "a target with credentials": request_line(b"GET http://u:p@a/refused HTTP/1.1"),
    "a target with a bad port": request_line(b"GET http://a:99999/refused HTTP/1.1"),
    "a target without a host": request_line(b"GET http:///refused HTTP/1.1"),
    "a target with a fragment": request_line(b"GET /refused#x HTTP/1.1"),
    "a query and no path": request_line(b"GET ?refused HTTP/1.1"),
    "an asterisk that is not for OPTIONS": request_line(b"GET * HTTP/1.1"),
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "CONNECT with a path": request_line(b"CONNECT /refused HTTP/1.1"),
    "CONNECT with a body": b"CONNECT a:443 HTTP/1.1\r\n" + HOST + LENGTH + b"\r\nhello",
    # Section 3: the request line.
    "a space in the target": request_line(b"GET /refused /x HTTP/1.1"),
    "a space behind the version": request_line(b"GET /refused HTTP/1.1 "),
    "a space before the method": request_line(b" GET /refused HTTP/1.1"),
    "tabs instead of spaces": request_line(b"GET\t/refused\tHTTP/1.1"),
    "a tab in the target": request_line(b"GET /refused\tx HTTP/1.1"),
    "a form feed in the target": request_line(b"GET /refused\x0cx HTTP/1.1"),
    "NUL in the target": request_line(b"GET /refused\0x HTTP/1.1"),
    "DEL in the target": request_line(b"GET /refused\x7fx HTTP/1.1"),
    "a target that is not ASCII": request_line(b"GET /refused\xff HTTP/1.1"),
    "a method in lower case": request_line(b"get /refused HTTP/1.1"),
    "a method that nobody knows": request_line(b"REFUSE /refused HTTP/1.1"),
    # Section 2.3: which version?
    "HTTP/0.9 without a version": b"GET /refused\r\n\r\n",
    "HTTP/0.9": request_line(b"GET /refused HTTP/0.9"),
    "HTTP/1.2": request_line(b"GET /refused HTTP/1.2"),
    "HTTP/1.10": request_line(b"GET /refused HTTP/1.10"),
    "HTTP/2.0": request_line(b"GET /refused HTTP/2.0"),
    "HTTP/3.0": request_line(b"GET /refused HTTP/3.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http in lower case": request_line(b"GET /refused http/1.1"),
    "another protocol": request_line(b"GET /refused HTP/1.1"),
    "a method of RTSP": request_line(b"SETUP /refused HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("shape", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_and_hides_nothing(web: Web, shape: str) -> None:
    before = web.seen()
    answer = web.send(REFUSED[shape] + NEXT)
    assert_refused(answer)
    assert web.seen() == before


def assert_refused(answer: bytes, status: bytes = b"400 Bad Request") -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n"), answer
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: text/plain; charset=utf-8" in head.lower()
    # One answer, and nothing that a client could learn from.
    assert body == status[4:]


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a/b", b"u@a", b"a:x", b"a?b", b"a#b", b"[::1", b"a:65536", b"\xff", b"a\\b"],
)
def test_a_host_that_is_none_is_refused(web: Web, host: bytes) -> None:
    # RFC 9112 section 3.2; by the application's side of the server, which can go on.
    before = web.seen()
    with RawClient(web.server.port) as client:
        client.send(b"GET /refused HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert client.receive_head().startswith(b"HTTP/1.1 400 ")
    assert web.seen() == before


def test_a_coding_that_is_not_spoken_here_is_501(web: Web) -> None:
    # RFC 9112 section 6.1. Its length would be known; what it says would not.
    before = web.seen()
    answer = web.send(post(b"Transfer-Encoding: gzip, chunked\r\n", body=END) + NEXT)
    assert_refused(answer, b"501 Not Implemented")
    assert web.seen() == before


# Chunks: the application has the request by then, and must not take half a body for all of it.
MALFORMED_CHUNKS = {
    "a line feed behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a carriage return behind the size": b"5\rhello\r\n0\r\n\r\n",
    "a line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than the size says": b"5\r\nhello!\r\n0\r\n\r\n",
    "a size in C": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size over 64 bits": b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n",
    "a line feed in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "a carriage return in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a line feed in a quoted extension": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "NUL in an extension": b"5;a\0\r\nhello\r\n0\r\n\r\n",
    "a line feed at the end": b"0\r\n\n",
    "a length in the trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "a coding in the trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("shape", MALFORMED_CHUNKS)
def test_a_body_whose_chunks_are_malformed_is_refused(web: Web, shape: str) -> None:
    path = f"/body/{list(MALFORMED_CHUNKS).index(shape)}"
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST + CHUNKED + b"\r\n"
    before = web.seen()
    assert_refused(web.send(head + MALFORMED_CHUNKS[shape] + NEXT))
    wait_for(lambda: f"{path} was not complete" in web.seen(), "the application knows")
    assert web.seen()[len(before) :] == [f"POST {path}", f"{path} was not complete"]


def test_garbage_behind_a_request_is_refused_after_the_request_is_answered(web: Web) -> None:
    # uvicorn answers it at once, and the client takes that for the answer of its first request.
    gate = web.journal.with_name("gate")
    with RawClient(web.server.port) as client:
        client.send(b"GET /wait/garbage HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: "/wait/garbage waits" in web.seen(), "it is being answered")
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n\0garbage\r\n\r\n" + NEXT)
        gate.touch()
        try:
            assert client.receive_head().startswith(b"HTTP/1.1 200 ")
            assert client._take(6) == b"waited"
            assert client.receive_head().startswith(b"HTTP/1.1 200 ")
            assert client._take(5) == b"hello"
            assert_refused(client.receive_rest())
        finally:
            gate.unlink()


def test_a_broken_body_behind_a_request_is_refused_after_it(web: Web) -> None:
    gate = web.journal.with_name("gate")
    with RawClient(web.server.port) as client:
        client.send(b"GET /wait/broken HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: "/wait/broken waits" in web.seen(), "it is being answered")
        client.send(b"POST /body/never HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\nxyz\r\n" + NEXT)
        gate.touch()
        try:
            assert client.receive_head().startswith(b"HTTP/1.1 200 ")
            assert client._take(6) == b"waited"
            assert_refused(client.receive_rest())
        finally:
            gate.unlink()
    assert "POST /body/never" not in web.seen()


def test_a_response_that_has_begun_is_broken_off_when_its_request_is(web: Web) -> None:
    # Whatever was written behind its first half would be read as its second half.
    with RawClient(web.server.port) as client:
        client.send(b"POST /upper/broken HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n5\r\nhello\r\n")
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client._take(10) == b"5\r\nHELLO\r\n"
        client.send(b"garbage\r\n" + NEXT)
        assert client.receive_rest() == b""
    wait_for(lambda: "/upper/broken ended" in web.seen(), "the generator ended")


# --- what is let through ------------------------------------------------------------------------


def seen(web: Web, data: bytes) -> tuple[str, dict[str, str]]:
    """Send a request for /seen, and the one behind it; return what the application saw."""
    with RawClient(web.server.port) as client:
        client.send(data + NEXT)
        head = client.receive_head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        url, fields = json.loads(client._take(size))
        # The one behind it is where it should be.
        assert client.receive_rest().endswith(b"hello")
        assert len(dict(fields)) == len(fields)
        return url, dict(fields)


def test_a_target_with_a_host_goes_before_the_host_field(web: Web) -> None:
    # RFC 9112 section 3.2.2: whatever a proxy in front believed, it believed the target.
    for target, url in (
        (b"http://b.example/seen?c=d", "http://b.example/seen?c=d"),
        (b"HTTP://b.example:81/seen", "http://b.example:81/seen"),
        (b"http://[::1]:81/seen", "http://[::1]:81/seen"),
    ):
        got, fields = seen(web, request_line(b"GET " + target + b" HTTP/1.1"))
        assert got == url
        assert fields["host"] == url.split("/")[2]


@pytest.mark.parametrize(
    ("line", "body"),
    [
        # RFC 9110 section 5.5: whitespace around a value is not part of it.
        (b"Content-Length: \t5 \t\r\n", b"hello"),
        (b"Content-Length: 0005\r\n", b"hello"),
        # RFC 9112 section 7: names of codings are case-insensitive.
        (b"Transfer-Encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        # Another field altogether, for servers that do not turn "_" and "-" into the same (CGI).
        (b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", b"hello"),
        (CHUNKED, b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'),
        (CHUNKED, b"0" * 50 + b"5\r\nhello\r\n0\r\n\r\n"),
        # Section 7.6.1: what Connection names is for proxies to drop; the body is not.
        (b"Connection: content-length\r\nContent-Length: 5\r\n", b"hello"),
        (b"Content-Length: 5\r\nExpect: something\r\n", b"hello"),
    ],
)
def test_unusual_and_unambiguous_is_read_for_what_it_is(web: Web, line: bytes, body: bytes) -> None:
    with RawClient(web.server.port) as client:
        client.send(b"POST /body HTTP/1.1\r\n" + HOST + line + b"\r\n" + body + NEXT)
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client._take(5) == b"hello"
        assert client.receive_rest().endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "request_",
    [
        # RFC 9112 section 2.2: empty lines before a request line, which old clients sent.
        b"\r\n\r\nGET /seen HTTP/1.1\r\nHost: a\r\n\r\n",
        # Section 3: more than one space between the parts of the request line.
        b"GET  /seen  HTTP/1.1\r\nHost: a\r\n\r\n",
        # RFC 9110 section 7.2: empty where the target has no authority; then this host is meant.
        b"GET /seen HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /seen HTTP/1.1\r\nHost: a\r\nA: b\xff\r\nB:\r\n\r\n",
    ],
)
def test_old_and_careless_clients_are_understood(web: Web, request_: bytes) -> None:
    assert seen(web, request_)[0] in ("http://a/seen", "http://localhost/seen")


def test_whitespace_around_a_value_is_not_part_of_it(web: Web) -> None:
    _, fields = seen(web, b"GET /seen HTTP/1.1\r\nHost: \ta \t\r\nA:b c \r\n\r\n")
    assert (fields["host"], fields["a"]) == ("a", "b c")


def test_trailers_never_become_headers(web: Web) -> None:
    # RFC 9110 section 6.5.1. uvicorn appends them to the headers that the application holds.
    request = b"POST /seen HTTP/1.1\r\n" + HOST + b"A: b\r\n" + CHUNKED + b"\r\n0\r\n"
    trailers = b"Host: b\r\nA: c\r\nCookie: d=e\r\nExpect: 100-continue\r\n"
    url, fields = seen(web, request + trailers + b"\r\n")
    assert url == "http://a/seen"
    assert fields == {"host": "a", "a": "b", "transfer-encoding": "chunked"}


@pytest.mark.parametrize("path", [b"/body", b"/hello"])
def test_what_the_parser_stops_for_ends_the_connection(web: Web, path: bytes) -> None:
    # In a trailer it means nothing, but llhttp reads nothing behind it.
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
    with RawClient(web.server.port) as client:
        client.send(head + b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n" + NEXT)
        assert client.receive_rest().count(b"hello") == 1


def test_options_for_the_whole_server_are_answered(web: Web) -> None:
    # RFC 9110 section 9.3.7.
    answer = web.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_nothing_is_read_behind_a_request_that_ends_the_connection(web: Web) -> None:
    # Section 9.6; and HTTP/1.0, where each request does.
    before = len(web.seen())
    for request in (NEXT, b"GET /hello HTTP/1.0\r\n\r\n"):
        answer = web.send(request + b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1
    assert web.seen()[before:] == ["GET /hello"] * 2


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b"TLS/1.2", b"anything"])
@pytest.mark.parametrize(
    "framing",
    [(LENGTH, b"hello"), (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_an_upgrade_that_nobody_offers_is_ignored_and_its_body_is_a_body(
    web: Web, protocol: bytes, framing: tuple[bytes, bytes]
) -> None:
    # RFC 9110 section 7.8. Java's HttpClient asks every server for h2c. uvicorn drops the body, and
    # reads as the next request what arrives of it a moment later.
    line, body = framing
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\n"
    before = len(web.seen())
    with RawClient(web.server.port) as client:
        client.send(b"POST /body HTTP/1.1\r\n" + HOST + upgrade + line + b"\r\n" + body[:3])
        wait_for(lambda: len(web.seen()) > before, "it was read so far")
        client.send(body[3:] + NEXT)
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client._take(5) == b"hello"
        assert client.receive_rest().endswith(b"\r\n\r\nhello")


def test_an_ignored_upgrade_may_be_the_last_request(web: Web) -> None:
    head = b"POST /body HTTP/1.1\r\n" + HOST + b"Connection: upgrade, close\r\nUpgrade: h2c\r\n"
    answer = web.send(head + LENGTH + b"\r\nhello" + NEXT)
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == 1


def test_a_handshake_with_a_body_is_refused_and_ends_the_connection(web: Web) -> None:
    answer = web.send(handshake("/ws", "Content-Length: 5") + b"hello" + NEXT)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_refusal_reaches_a_client_that_is_still_sending(web: Web) -> None:
    # RFC 9112 section 9.6: closed at once, the connection would be reset under the answer.
    with RawClient(web.server.port) as client:
        client.send(b"GET /refused HTTP/1.1\r\nHost : a\r\n" + b"A: b\r\n" * 100)
        for _ in range(20):
            client.send(b"x" * 100_000)
        assert_refused(client.receive_rest())
    with RawClient(web.server.port) as client:
        # Reading had been paused by then.
        head = b"POST /body HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n"
        client.send(head + b"18000\r\n" + b"x" * 0x18000 + b"garbage\r\n")
        for _ in range(20):
            client.send(b"x" * 100_000)
        assert_refused(client.receive_rest())
