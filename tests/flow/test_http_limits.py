"""What a client may ask of a worker over HTTP, and for how long: a real server, hostile clients."""

from __future__ import annotations

import os
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from holdfast.http.limits import MAX_PIPELINED
from tests.flow.raw import RawClient, handshake
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = ROOT / "tests/flow/apps/http_limits.py"

MAX_HEADER_SIZE = 2000
MAX_HEADERS = 20
MAX_BODY = 100_000
OPTIONS = (
    *("--max-header-size", str(MAX_HEADER_SIZE)),
    *("--max-headers", str(MAX_HEADERS)),
    *("--max-body", str(MAX_BODY)),
    *("--header-timeout", "1"),
    *("--write-timeout", "1"),
    *("--keep-alive", "0.5"),
    *("--request-timeout", "0"),  # So that whatever ends, ends for another reason.
)


class Web(NamedTuple):
    server: Server
    journal: Path
    pids: list[int]

    def seen(self) -> list[str]:
        return self.journal.read_text().splitlines()

    def client(self) -> RawClient:
        return RawClient(self.server.port)

    def send(self, data: bytes) -> bytes:
        """Return all that is answered until the server closes."""
        with self.client() as client:
            client.send(data)
            return client.receive_rest()

    @contextmanager
    def waiting(self, name: str, request: bytes | None = None) -> Iterator[RawClient]:
        """A request that is being answered until the block ends."""
        with self.client() as client:
            client.send(request or get(f"/wait/{name}"))
            wait_for(lambda: f"/wait/{name} waits" in self.seen(), f"{name} is being answered")
            yield client
            with self.gate():
                assert client.receive_head()

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Those who wait may go while the block lasts."""
        gate = self.journal.with_name("gate")
        gate.touch()
        try:
            yield
        finally:
            gate.unlink()

    def sockets(self) -> int:
        """How many the workers have open."""
        count = 0
        for pid in self.pids:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    count += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
                except FileNotFoundError:
                    pass  # gone meanwhile
        return count

    def counted(self, name: str) -> int:
        """How much of that is in the log."""
        found = re.findall(rf"HTTP: .*?\b{name} (\d+)", self.server.log())
        return sum(map(int, found))

    def hits(self, limit: str) -> int:
        """How much of that `holdfast status` shows."""
        return int(self.server.status()["limits"][limit]["hits"])

    def memory(self) -> int:
        """Bytes that the workers have in RAM."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serve(directory: Path, *options: str) -> Iterator[Web]:
    journal = directory / "journal"
    journal.touch()
    with Server.start(APP, *options, workers=1, env={"JOURNAL": str(journal)}) as server:
        yield Web(server, journal, server.worker_pids())


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serve(tmp_path_factory.mktemp("limits"), *OPTIONS) as web:
        yield web


@pytest.fixture(autouse=True)
def nothing_is_left(web: Web) -> Iterator[None]:
    """Whatever a client did, its descriptor is gone when it is, or when its time is up."""
    before = web.sockets()
    yield
    wait_for(lambda: web.sockets() <= before, "the descriptors of all clients are gone")


def get(path: str, *lines: str) -> bytes:
    return ("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines]) + "\r\n\r\n").encode()


def post(path: str, *lines: str) -> bytes:
    return b"POST" + get(path, *lines)[3:]


LAST = get("/hello", "Connection: close")


def status(answer: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", answer)
    assert match, answer
    return int(match[1])


def assert_refused(answer: bytes, expected: int, phrase: bytes) -> None:
    """One answer, plain text, that says no more than its status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(head) == expected, answer
    assert body == phrase
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: text/plain; charset=utf-8" in head.lower()


# --- the head of a request: size and number ------------------------------------------------------


def padded(size: int) -> bytes:
    """A request whose head has so many bytes."""
    bare = get("/hello", "Connection: close", "A: ")
    return get("/hello", "Connection: close", "A: " + "x" * (size - len(bare)))


def test_a_head_may_have_as_many_bytes_as_it_may_and_not_one_more(web: Web) -> None:
    assert len(padded(MAX_HEADER_SIZE)) == MAX_HEADER_SIZE
    assert status(web.send(padded(MAX_HEADER_SIZE))) == 200
    answer = web.send(padded(MAX_HEADER_SIZE + 1))
    assert_refused(answer, 431, b"Request Header Fields Too Large")


def test_the_limit_is_the_same_for_a_head_that_comes_in_pieces(web: Web) -> None:
    for size, expected in ((MAX_HEADER_SIZE, 200), (MAX_HEADER_SIZE + 1, 431)):
        request = padded(size)
        with web.client() as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for index in range(0, size - 1, 100):
                client.send(request[index : min(index + 100, size - 1)])
            client.send(request[-1:])
            assert status(client.receive_rest()) == expected


def test_the_limit_is_the_same_for_later_requests_of_a_connection(web: Web) -> None:
    with web.client() as client:
        for _ in range(3):
            client.send(get("/hello"))
            client.receive_head()
            client._take(5)
        client.send(padded(MAX_HEADER_SIZE + 1))
        assert_refused(client.receive_rest(), 431, b"Request Header Fields Too Large")


def test_each_request_of_a_pipeline_may_have_as_much(web: Web) -> None:
    large = padded(MAX_HEADER_SIZE).replace(b"Connection: close", b"Connection: other")
    answer = web.send(large * 20 + LAST)
    assert answer.count(b"HTTP/1.1 200 ") == 21


def test_a_target_that_is_too_long_is_414(web: Web) -> None:
    # RFC 9110 section 15.5.15.
    answer = web.send(get("/" + "x" * MAX_HEADER_SIZE))
    assert_refused(answer, 414, b"URI Too Long")
    with web.client() as client:
        client.send(b"GET /" + b"x" * MAX_HEADER_SIZE)  # and no end
        assert status(client.receive_rest()) == 414


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"a:b\r\n" * 12_000, b"\r\n" * 30_000])
def test_a_head_without_end_is_refused_and_takes_no_memory(web: Web, piece: bytes) -> None:
    before = web.memory()
    with web.client() as client:
        start = b"" if piece.startswith(b"\r") else b"GET /hello HTTP/1.1\r\nHost: a\r\nA: "
        client.send(start)
        try:
            for _ in range(500):  # 30 MB
                client.send(piece)
        except ConnectionError:
            pass  # The server has had enough.
        assert status(client.receive_head()) == 431
        assert web.memory() - before < 10_000_000


def test_so_many_header_fields_and_not_one_more(web: Web) -> None:
    fields = [f"A{number}: b" for number in range(MAX_HEADERS - 2)]
    assert status(web.send(get("/hello", "Connection: close", *fields))) == 200
    answer = web.send(get("/hello", "Connection: close", *fields, "A: b"))
    assert_refused(answer, 431, b"Request Header Fields Too Large")


# --- a client that takes its time ----------------------------------------------------------------


def test_a_client_that_sends_nothing_is_closed_without_a_word(web: Web) -> None:
    # RFC 9110 section 15.5.9: nobody has asked for anything.
    assert web.send(b"") == b""


@pytest.mark.parametrize(
    "head", [b"G", b"\r\n", b"GET /hello HTTP/1.1\r\n", b"GET /hello HTTP/1.1\r\nHost: a\r\nA: b"]
)
def test_a_head_that_is_not_completed_in_time_is_408(web: Web, head: bytes) -> None:
    assert_refused(web.send(head), 408, b"Request Timeout")


def test_a_head_that_trickles_is_408_all_the_same(web: Web) -> None:
    # Slow-loris: each byte is progress, and the head is never complete.
    with web.client() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
        client.socket.settimeout(0.1)
        answer = b""
        for _ in range(100):
            client.send(b"A: b\r\n" if answer == b"" else b"")
            try:
                answer = client.socket.recv(1000)
            except TimeoutError:
                continue
            break
        assert status(answer) == 408


def test_a_further_head_that_is_not_completed_in_time_is_408(web: Web) -> None:
    with web.client() as client:
        client.send(get("/hello"))
        client.receive_head()
        client._take(5)
        client.send(b"GET /hello HTTP/1.1\r\nHo")
        assert_refused(client.receive_rest(), 408, b"Request Timeout")


@pytest.mark.parametrize("more", [b"", b"\r\n"])
def test_a_connection_that_asks_for_nothing_more_is_closed(web: Web, more: bytes) -> None:
    # Of uvicorn's timer, one line break makes a connection that is kept for ever.
    answer = web.send(get("/hello") + more)
    assert answer.endswith(b"\r\n\r\nhello")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_does_not_go_on_is_408(web: Web) -> None:
    answer = web.send(post("/body/pause", "Content-Length: 10") + b"hello")
    assert_refused(answer, 408, b"Request Timeout")
    wait_for(lambda: "/body/pause was not complete" in web.seen(), "the application knows")


def test_a_body_that_nobody_waits_for_ends_the_connection(web: Web) -> None:
    # uvicorn keeps it for ever once a single byte has come behind the response.
    with web.client() as client:
        client.send(post("/hello", "Content-Length: 1000"))
        assert status(client.receive_head()) == 200
        client._take(5)
        client.send(b"x")
        assert client.receive_rest() == b""


def test_a_response_whose_request_does_not_go_on_ends(web: Web) -> None:
    with web.client() as client:
        client.send(post("/upper/pause", "Content-Length: 10") + b"hello")
        assert status(client.receive_head()) == 200
        assert client.receive_rest() == b"5\r\nHELLO\r\n"
    wait_for(lambda: "/upper/pause ended" in web.seen(), "the generator ended")


@pytest.mark.parametrize("path", ["/big", "/endless/never"])
def test_a_client_that_does_not_read_is_cut_off(web: Web, path: str) -> None:
    # uvicorn holds the response, and the task that writes it, for ever.
    before = web.sockets()
    with web.client() as client:
        client.send(get(path))
        wait_for(lambda: f"GET {path}" in web.seen(), "it is asked for")
        wait_for(lambda: web.sockets() > before, "it is connected")
        wait_for(lambda: web.sockets() == before, "it is cut off")
        with pytest.raises(OSError, match="reset"):
            client.receive_rest()
    if path.startswith("/endless"):
        wait_for(lambda: f"{path} ended" in web.seen(), "the generator ended")


def test_a_client_that_does_not_read_gives_no_socket_away(web: Web) -> None:
    # The handshake waits for the response before it to be out.
    before = web.sockets()
    with web.client() as client:
        client.send(get("/big") + handshake("/ws/unread"))
        wait_for(lambda: "upgrade /ws/unread" in web.seen(), "the handshake is read")
        wait_for(lambda: web.sockets() == before, "it is cut off")
        with pytest.raises(OSError, match="reset"):
            client.receive_rest()
    wait_for(lambda: web.server.status()["connections"] == 0, "there is no connection")


def test_a_stream_that_has_nothing_to_say_lives(web: Web) -> None:
    # Server-Sent Events, over all timeouts together.
    with web.client() as stream:
        stream.send(get("/events"))
        assert status(stream.receive_head()) == 200
        assert stream._take(5 + 13) == b"d\r\ndata: hello\n\n\r\n"
        for request in (b"", get("/hello"), post("/body/late", "Content-Length: 1")):
            web.send(request)  # Each ends when its time is up.
        with web.gate():
            assert stream.receive_rest() == b"12\r\ndata: still here\n\n\r\n0\r\n\r\n"


def test_a_listener_may_take_longer_than_any_client(web: Web) -> None:
    with web.waiting("long") as client:
        for request in (b"", get("/hello"), post("/body/late", "Content-Length: 1")):
            web.send(request)
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.settimeout(10)


def test_a_handshake_may_take_longer_than_any_client(web: Web) -> None:
    with web.waiting("ws", handshake("/wait/ws")):
        web.send(b"")
        web.send(b"G")


def test_who_waits_for_100_continue_is_not_late(web: Web) -> None:
    # RFC 9110 section 10.1.1: it was told to wait, by nobody saying otherwise.
    with web.client() as client:
        client.send(
            post("/wait/continue", "Content-Length: 5", "Expect: 100-continue", "Connection: close")
        )
        wait_for(lambda: "/wait/continue waits" in web.seen(), "it is being answered")
        web.send(b"")
        with web.gate():
            assert status(client.receive_head()) == 200


def test_keep_alive_zero_is_one_request_for_each_connection(tmp_path: Path) -> None:
    with serve(tmp_path, "--keep-alive", "0") as web, web.client() as client:
        client.send(get("/hello") + get("/hello"))
        head = client.receive_head()
        assert b"\r\nconnection: close\r\n" in head
        assert client.receive_rest() == b"hello"


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_may_have_as_many_bytes_as_it_may_and_not_one_more(
    web: Web, framing: str, expect: tuple[str, ...]
) -> None:
    for size, expected in ((MAX_BODY, 200), (MAX_BODY + 1, 413)):
        line = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
        body = b"x" * size
        if framing == "chunked":
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        with web.client() as client:
            client.send(post("/body", line, *expect))
            # The size is known before anything of the body is sent.
            if expect and not (framing == "length" and expected == 413):
                assert client.receive_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(body)
            head = client.receive_head()
            assert status(head) == expected
            assert (b"\r\nconnection: close\r\n" in head) == (expected == 413)


def test_a_body_that_is_answered_before_it_was_asked_for_ends_the_connection(web: Web) -> None:
    # RFC 9110 section 10.1.1: whether it comes or not, nobody knows; uvicorn takes what comes for
    # the body, be it the next request.
    with web.client() as client:
        client.send(post("/hello", "Content-Length: 5", "Expect: 100-continue"))
        head = client.receive_head()
        assert status(head) == 200
        assert b"\r\nconnection: close\r\n" in head
        assert client.receive_rest() == b"hello"


def test_a_body_that_was_waited_for_leaves_the_connection_usable(web: Web) -> None:
    for waits in (True, False):
        with web.client() as client:
            request = post("/body", "Content-Length: 5", "Expect: 100-Continue")
            client.send(request if waits else request + b"hello")
            if waits:
                assert client.receive_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
                client.send(b"hello")
            assert status(client.receive_head()) == 200
            assert client._take(5) == b"hello"
            client.send(LAST)
            assert client.receive_rest().endswith(b"hello")


def test_a_client_of_1_0_is_not_told_to_continue(web: Web) -> None:
    # RFC 9110 section 10.1.1.
    answer = web.send(
        b"POST /body HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    )
    assert status(answer) == 200
    assert answer.endswith(b"hello")


def test_something_else_that_is_expected_is_nothing_to_us(web: Web) -> None:
    # RFC 9110 section 10.1.1: a server may refuse it with 417.
    answer = web.send(
        post("/body", "Content-Length: 5", "Expect: x", "Connection: close") + b"12345"
    )
    assert status(answer) == 200


@pytest.mark.parametrize("path", ["/body/flood", "/hello"])
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"5;a=", b"x" * 60_000),
        (b"", b"1;" + b"a" * 1000 + b"\r\nx\r\n"),
        (b"0\r\nA: ", b"x" * 60_000),
        (b"0\r\n", b"A: b\r\n" * 1000),
    ],
    ids=["one extension", "extensions", "one trailer", "trailers"],
)
def test_framing_without_end_is_refused_and_takes_no_memory(
    web: Web, path: str, start: bytes, piece: bytes
) -> None:
    # CVE-2023-39326, elsewhere.
    before = web.memory()
    with web.client() as client:
        client.send(post(path, "Transfer-Encoding: chunked") + start)
        try:
            for _ in range(30_000_000 // len(piece)):
                client.send(piece)
        except ConnectionError:
            pass  # The server has had enough.
        assert web.memory() - before < 10_000_000


def test_small_chunks_and_short_trailers_are_no_flood(web: Web) -> None:
    with web.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(post("/body", "Transfer-Encoding: chunked", "Connection: close"))
        for _ in range(3000):
            client.send(b"1;a=b\r\nx\r\n")
        client.send(b"0\r\nA: b\r\n\r\n")
        assert client.receive_rest().endswith(b"x" * 3000)


# --- too much at once -----------------------------------------------------------------------------


def test_more_requests_than_a_connection_may_wait_for_are_refused(web: Web) -> None:
    # uvicorn parses and keeps as many as come.
    before = web.memory()
    with web.client() as client:
        client.send(get("/wait/pipeline"))
        wait_for(lambda: "/wait/pipeline waits" in web.seen(), "it is being answered")
        client.send(get("/hello") * 20_000)
        with web.gate():
            answers = client.receive_rest()
    assert web.memory() - before < 10_000_000
    # The one that was being answered, and those that may wait for it.
    assert answers.count(b"HTTP/1.1 200 ") == 1 + MAX_PIPELINED
    assert_refused(answers[answers.rindex(b"HTTP/1.1 ") :], 503, b"Service Unavailable")


def test_a_worker_answers_so_many_requests_at_once_and_not_one_more(tmp_path: Path) -> None:
    with (
        serve(tmp_path, "--limit-concurrency", "2", "--keep-alive", "60") as web,
        web.client() as idle,
        web.client() as silent,
    ):
        # Connections that ask for nothing do not count; uvicorn counts them.
        idle.send(get("/hello"))
        idle.receive_head()
        idle._take(5)
        silent.send(b"GET /hel")
        with web.waiting("one"):
            assert status(web.send(LAST)) == 200
            with web.waiting("two", handshake("/wait/two")):
                answer = web.send(get("/hello"))
                assert_refused(answer, 503, b"Service Unavailable")
                assert b"\r\nretry-after: 1\r\n" in answer
                assert_refused(web.send(get("/hello").replace(b"GET", b"HEAD")), 503, b"")
                assert status(web.send(handshake("/ws"))) == 503
                assert web.server.status()["accepted"] == 0
                # Still no more than one line.
                assert web.seen().count("GET /hello") == 2
        wait_for(lambda: status(web.send(LAST)) == 200, "there is room again")
        wait_for(lambda: web.counted("limit_concurrency") == 3, "they are counted")


def test_requests_one_after_the_other_are_one_at_a_time(tmp_path: Path) -> None:
    with serve(tmp_path, "--limit-concurrency", "1") as web:
        with web.client() as client:
            for _ in range(50):
                client.send(get("/hello"))
                assert status(client.receive_head()) == 200
                client._take(5)
            client.send(get("/hello") * 20 + LAST)
            assert client.receive_rest().count(b"HTTP/1.1 200 ") == 21
        # Those who left do not count for ever, and neither do those who were cut off.
        for _ in range(3):
            with web.client() as client:
                client.send(post("/body", "Content-Length: 5"))
                wait_for(lambda: "POST /body" in web.seen(), "it is being answered")
            wait_for(lambda: status(web.send(LAST)) == 200, "there is room again")


# --- proxies --------------------------------------------------------------------------------------


def who(web: Web, *lines: str) -> str:
    answer = web.send(get("/who", "Connection: close", *lines))
    assert status(answer) == 200
    return re.sub(r"^127\.0\.0\.1 [1-9][0-9]*", "peer", answer.partition(b"\r\n\r\n")[2].decode())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), "peer http:"),
        (("X-Forwarded-For: 198.51.100.7",), "198.51.100.7 0 http:"),
        (("X-Forwarded-For: 198.51.100.7:4711",), "198.51.100.7 4711 http:"),
        (("X-Forwarded-For: 2001:DB8::7",), "2001:db8::7 0 http:"),
        (("X-Forwarded-For: [2001:db8::7]:4711",), "2001:db8::7 4711 http:"),
        (("X-Forwarded-For: ::ffff:198.51.100.7",), "198.51.100.7 0 http:"),
        # What the client itself wrote is at the beginning.
        (("X-Forwarded-For: 203.0.113.9, 198.51.100.7",), "198.51.100.7 0 http:"),
        (("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.7"), "198.51.100.7 0 http:"),
        (("X-Forwarded-For: 198.51.100.7, 127.0.0.1, ::1",), "198.51.100.7 0 http:"),
        (("X-Forwarded-For: 127.0.0.1, ::1",), "127.0.0.1 0 http:"),
        # Garbage: whoever passed it on.
        (("X-Forwarded-For:",), "peer http:"),
        (("X-Forwarded-For: unknown",), "peer http:"),
        (("X-Forwarded-For: evil, ::1",), "::1 0 http:"),
        (("X-Forwarded-For: 198.51.100.7, evil",), "peer http:"),
        (("X-Forwarded-For: 198.51.100.777",), "peer http:"),
        (("X-Forwarded-For: 198.51.100.7:99999",), "peer http:"),
        (("X-Forwarded-For: 198.51.100.7:-1",), "peer http:"),
        (("X-Forwarded-For: [::1",), "peer http:"),
        (("X-Forwarded-For: fe80::1%eth0",), "peer http:"),
        (("X-Forwarded-For: ,,,,",), "peer http:"),
        (("X-Forwarded-For: <script>", "X-Forwarded-For: \xff\xe9"), "peer http:"),
        (("X-Forwarded-For: " + "127.0.0.1," * 150 + "127.0.0.1",), "127.0.0.1 0 http:"),
        (("X-Forwarded-Proto: https",), "peer https:"),
        (("X-Forwarded-Proto: WSS",), "peer https:"),
        (("X-Forwarded-Proto: http", "X-Forwarded-Proto: https"), "peer https:"),
        (("X-Forwarded-Proto: javascript",), "peer http:"),
        (("X-Forwarded-Proto:",), "peer http:"),
    ],
)
def test_a_proxy_is_believed_as_far_as_it_is_known(
    web: Web, lines: tuple[str, ...], expected: str
) -> None:
    assert who(web, *lines) == expected
    assert not [line for line in web.server.log().splitlines() if "evil" in line]


@pytest.mark.parametrize("trusted", ["10.0.0.0/8,::1", ""])
def test_who_is_no_proxy_is_not_believed(tmp_path: Path, trusted: str) -> None:
    with serve(tmp_path, "--forwarded-allow-ips", trusted) as web:
        lines = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https")
        assert who(web, *lines) == "peer http:"


def test_everybody_is_believed_if_all_are(tmp_path: Path) -> None:
    with serve(tmp_path, "--forwarded-allow-ips", "*") as web:
        assert who(web, "X-Forwarded-For: 203.0.113.9, 198.51.100.7") == "203.0.113.9 0 http:"
        assert who(web, "X-Forwarded-For: evil, 198.51.100.7") == "198.51.100.7 0 http:"


def test_what_is_no_proxy_is_refused_at_the_start(web: Web) -> None:
    done = web.server.cli("serve", "a:b", "--forwarded-allow-ips", "10.0.0.1, localhost")
    assert done.returncode == 2
    assert "'localhost' is neither an address nor a network" in done.stderr


# --- and in the log -------------------------------------------------------------------------------


def test_what_was_refused_is_counted_in_the_log_and_not_listed(tmp_path: Path) -> None:
    with serve(tmp_path, *OPTIONS) as web:
        for _ in range(300):
            web.send(b"evil\x1b[31m\r\n\r\n")
        web.send(b"G")
        wait_for(lambda: web.counted("bad_requests") == 300, "all are counted")
        wait_for(lambda: web.counted("header_timeout") == 1, "this one too")
        for request in (
            padded(MAX_HEADER_SIZE + 1),
            post("/body", f"Content-Length: {MAX_BODY + 1}"),
            post("/body", "Transfer-Encoding: chunked") + b"fffff\r\n" + b"x" * 0xFFFFF,
        ):
            web.send(request)
        wait_for(lambda: web.counted("max_header_size") == 1, "and this one")
        wait_for(lambda: web.counted("max_body") == 2, "and these")
        names = ("max_header_size", "max_body")
        wait_for(lambda: [web.hits(name) for name in names] == [1, 2], "`holdfast status` too")
        log = web.server.log()
    lines = [line for line in log.splitlines() if "HTTP: " in line]
    assert len(lines) < 30
    assert lines[0].startswith("INFO holdfast.worker: HTTP: bad_requests ")
    assert lines[0].endswith("the last one: 400 to '127.0.0.1', 'Invalid method encountered'")
    assert "evil" not in log
    assert "\x1b" not in log
    assert "Traceback" not in log
