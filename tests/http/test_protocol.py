"""One HTTP connection, byte for byte, with the test's clock."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.config import HttpLimits
from holdfast.http.asgi import EXTENSION
from holdfast.http.limits import HttpCounts, Phase
from holdfast.http.protocol import taken
from holdfast.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping

    from holdfast.http.asgi import HttpSide
    from holdfast.http.protocol import HttpProtocol
    from holdfast.worker.handover import SocketTaker

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

TIMEOUT = 20  # seconds
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class App:
    """Answers what the test says; knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((scope["method"], scope["path"]))
        await self.go.wait()
        body = b""
        while scope["method"] == "POST":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.bodies.append(b"incomplete: " + body)
                return
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(body)
                break
        size = int(scope["query_string"] or 5)
        head = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        while size > 0:
            piece = min(size, 30_000)
            size -= piece
            message = {"type": "http.response.body", "body": b"x" * piece, "more_body": size > 0}
            await send(message)


class Taker:
    """`worker/handover.py:SocketTaker`; keeps nothing."""

    async def give_descriptor(self, serial: int, fd: int) -> None:
        os.close(os.dup(fd))

    def announce(self, *args: object, **options: object) -> None:
        pass


class Upgrading(App):
    """Gives the socket away, or what the client has left of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go.wait()
        upgrade = SimpleNamespace(connection=SimpleNamespace(serial=7))
        await scope["extensions"][EXTENSION].give(upgrade, None)


class Wire:
    """A real connection to a protocol object, whose sweep is the test's."""

    def __init__(self, client: socket.socket, server: HttpServer, app: App) -> None:
        self.client = client
        self.server = server
        self.app = app
        self.now = 0.0

    @property
    def connections(self) -> set[HttpProtocol]:
        return self.server._shared.connections

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def receive(self, size: int = 1_000_000) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.client, size)

    async def ask(self) -> None:
        await self.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"xxxxx"):
            answer += await self.receive()

    async def receive_rest(self) -> bytes:
        rest = b""
        with suppress(ConnectionError):
            while data := await self.receive():
                rest += data
        return rest

    async def phase(self, phase: Phase) -> None:
        """Return when the connection is in that phase."""
        while [each.condition()[0] for each in self.connections] != [phase]:
            await asyncio.sleep(0.001)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.server._sweep.look(self.now)
        await asyncio.sleep(0)


@asynccontextmanager
async def wire(
    limits: HttpLimits, *, send_buffer: int | None = None, app: App | None = None
) -> AsyncIterator[Wire]:
    app = app or App()
    server = HttpServer(
        cast("HttpSide", app),
        cast("SocketTaker", Taker()),
        limits=limits,
        counts=HttpCounts(),
        on_counted=lambda _: None,
        drain_timeout=1,
        trusted_proxies="127.0.0.1",
    )
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)

    accepting = await loop.create_server(server.new_protocol, sock=listener)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    with client:
        await loop.sock_connect(client, listener.getsockname())
        made = Wire(client, server, app)
        while not made.connections:
            await asyncio.sleep(0.001)
        try:
            yield made
        finally:
            for connection in list(made.connections):
                connection.transport.abort()
            accepting.close()
            app.go.set()
            while server._shared.requests or server._shared.connections:
                await asyncio.sleep(0.001)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT):
            await test

    asyncio.run(limited())


LIMITS = HttpLimits(header_timeout=20, write_timeout=60, keep_alive=5)


# --- memory


@pytest.mark.parametrize("leaves", [False, True])
def test_a_socket_that_was_given_away_leaves_nothing_to_the_garbage_collector(
    leaves: bool,
) -> None:
    # What thousands of handshakes left made it pause workers for 150 ms (benchmarks/hostile).
    async def test() -> None:
        app = Upgrading()
        async with wire(LIMITS, app=app) as line:
            (protocol,) = line.connections
            gone = weakref.ref(protocol)
            app.go.clear()
            await line.send(HANDSHAKE)
            while not protocol._requests:
                await asyncio.sleep(0.001)
            if leaves:
                line.client.close()
                while line.connections:
                    await asyncio.sleep(0.001)
            del protocol
            app.go.set()
            while gone() is not None:
                await asyncio.sleep(0.001)

    gc.collect()
    gc.disable()
    try:
        run(test())
    finally:
        gc.enable()


# --- httptools


def test_llhttp_still_stops_for_an_upgrade_before_the_body() -> None:
    # Else `RequestReader._read_again` is not needed any more.
    class Nothing:
        pass

    parser = httptools.HttpRequestParser(Nothing())
    with pytest.raises(httptools.HttpParserUpgrade):
        parser.feed_data(
            b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
            b"Content-Length: 5\r\n\r\nhello"
        )


# --- time: one clock, which is the test's


def test_a_connection_is_asked_once_in_a_while_and_has_no_timer() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            timers = len(cast("Any", asyncio.get_running_loop())._scheduled)
            await line.ask()
            await line.phase(Phase.IDLE)
            assert len(cast("Any", asyncio.get_running_loop())._scheduled) == timers
            await line.pass_time(0)
            await line.pass_time(4)
            assert line.connections
            # Another request, and it begins again.
            await line.ask()
            await line.phase(Phase.IDLE)
            await line.pass_time(2)
            await line.pass_time(4)
            assert line.connections
            await line.pass_time(1)
            assert await line.receive_rest() == b""
            assert line.server._shared.counts == HttpCounts()

    run(main())


def test_a_body_that_trickles_lives_as_long_as_it_does() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n")
            await line.phase(Phase.BODY)
            (connection,) = line.connections
            for count in range(19):
                await line.pass_time(19)
                await line.send(b"x")
                while connection._reader.pieces == count:
                    await asyncio.sleep(0.001)
            await line.send(b"x")
            assert (await line.receive()).startswith(b"HTTP/1.1 200 ")
            assert line.app.bodies == [b"x" * 20]

    run(main())


def test_a_body_that_is_complete_after_its_response_leaves_an_idle_connection() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            await line.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
            while not (await line.receive()).endswith(b"xxxxx"):
                pass
            await line.phase(Phase.BODY)
            await line.send(b"lo")
            await line.phase(Phase.IDLE)
            await line.ask()

    run(main())


def test_each_head_has_its_own_time() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            await line.ask()
            await line.send(b"GET / HTTP/1.1\r\nHo")
            await line.phase(Phase.HEAD)
            await line.pass_time(0)
            await line.pass_time(19)
            (connection,) = line.connections
            earlier = connection.condition()
            await line.send(b"st: a\r\n\r\nG")
            while connection.condition() in (earlier, (Phase.BUSY, None)):
                await asyncio.sleep(0.001)
            await line.pass_time(19)
            assert line.connections
            await line.pass_time(20)
            assert line.server._shared.counts == HttpCounts(header_timeout=1)

    run(main())


def test_a_body_that_stops_is_408_and_never_complete() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhello")
            await line.phase(Phase.BODY)
            await line.pass_time(0)
            await line.pass_time(20)
            assert (await line.receive()).startswith(b"HTTP/1.1 408 ")
            assert await line.receive() == b""
            assert line.app.bodies == [b"incomplete: hello"]
            assert line.server._shared.counts == HttpCounts(header_timeout=1)

    run(main())


def test_a_body_that_this_server_does_not_read_is_not_late() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            line.app.go.clear()
            await line.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
            sending = asyncio.create_task(line.send(b"x" * 900_000))
            await line.phase(Phase.BUSY)
            await line.pass_time(0)
            await line.pass_time(1000)
            line.app.go.set()
            assert (await line.receive()).startswith(b"HTTP/1.1 200 ")
            await sending

    run(main())


def test_a_download_lives_as_long_as_its_client_takes_something_of_it() -> None:
    async def main() -> None:
        async with wire(LIMITS, send_buffer=4096) as line:
            await line.send(b"GET /?400000 HTTP/1.1\r\nHost: a\r\n\r\n")
            await line.phase(Phase.WRITING)
            size = got = 0
            while size < 400_000:
                await line.pass_time(30)
                before = got
                while got == before and size < 400_000:
                    size += len(await line.receive(2000))
                    got = max((taken(each.transport) for each in line.connections), default=0)
            assert line.server._shared.counts == HttpCounts()
            await line.phase(Phase.IDLE)

    run(main())


def test_a_download_that_nobody_takes_ends_and_so_does_its_task() -> None:
    async def main() -> None:
        async with wire(LIMITS, send_buffer=4096) as line:
            await line.send(b"GET /?400000 HTTP/1.1\r\nHost: a\r\n\r\n")
            await line.phase(Phase.WRITING)
            await line.pass_time(0)
            await line.pass_time(59)
            assert line.connections
            await line.pass_time(1)
            while line.connections or line.server._shared.requests:
                await asyncio.sleep(0.001)
            assert line.server._shared.counts == HttpCounts(write_timeout=1)
            assert len(await line.receive_rest()) < 100_000

    run(main())


def test_more_to_write_is_no_progress() -> None:
    # Events for a client that is gone, a few bytes at a time.
    async def main() -> None:
        async with wire(LIMITS, send_buffer=4096) as line:
            (connection,) = line.connections
            connection.transport.write(b"x" * 30_000)
            await line.phase(Phase.WRITING)
            for _ in range(60):
                if line.connections:
                    connection.transport.write(b"x")
                await line.pass_time(1.1)
            assert not line.connections
            assert line.server._shared.counts == HttpCounts(write_timeout=1)

    run(main())


def test_who_was_refused_may_linger_for_two_seconds() -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            await line.send(b"garbage\r\n\r\n")
            await line.phase(Phase.LINGERING)
            await line.send(b"more" * 1000)
            await line.pass_time(0)
            await line.pass_time(1)
            assert line.connections
            assert (await line.receive()).startswith(b"HTTP/1.1 400 ")
            await line.pass_time(1)
            while line.connections:
                await asyncio.sleep(0.001)

    run(main())


def test_without_tcp_any_change_of_what_waits_counts() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        class NotTcp:
            def get_extra_info(self, _: str) -> socket.socket:
                return ours

        assert taken(cast("Any", NotTcp())) == 0


# --- how it comes does not matter


REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: a\r\nA: b \r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"POST /d HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 5\r\n\r\nhello",
    b"\r\nGET http://b/e?5 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /f HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
)


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6),
    st.lists(st.integers(1, 400), max_size=8),
)
def test_requests_are_the_same_however_they_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    expected = [each.split(b" ", 2) for each in requests]

    async def main() -> None:
        async with wire(LIMITS) as line:
            start = 0
            (connection,) = line.connections
            for cut in sorted({each for each in cuts if each < len(data)} | {len(data)}):
                connection.data_received(data[start:cut])
                start = cut
                for _ in range(3):
                    await asyncio.sleep(0)
            answers = b""
            while answers.count(b"xxxxx") < len(requests):
                answers += await line.receive()
            assert [path[-1:] for _, path in line.app.asked] == [
                target.partition(b"?")[0].decode()[-1:] for _, target, _ in expected
            ]
            assert line.app.bodies == [
                b"" if b"/f" in each else b"hello" for each in requests if each[:4] == b"POST"
            ]
            await line.phase(Phase.IDLE)
            assert line.server._shared.counts == HttpCounts()

    run(main())


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(REQUESTS)), max_size=8))
@example([b"HEAD"])
@example([b"HEAD / HTTP/1.1\r\n\r\n"])
def test_whatever_comes_there_are_whole_answers_in_order_and_then_an_end(
    pieces: list[bytes],
) -> None:
    async def main() -> None:
        async with wire(LIMITS) as line:
            (connection,) = line.connections
            reader = connection._reader
            for piece in pieces:
                connection.data_received(piece)
                is_head = reader.is_head_request
                await asyncio.sleep(0)
            while line.server._shared.requests and (connection.condition()[0] is not Phase.BODY):
                await asyncio.sleep(0.001)
            for _ in range(10):
                await line.pass_time(100)
            rest = (await line.receive_rest()).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
            while rest:
                head, _, rest = rest.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 ")
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                is_refusal = not head.startswith(b"HTTP/1.1 200 ")
                if is_refusal and is_head:
                    size = 0
                assert len(rest) >= size
                rest = rest[size:]
                # A refusal is the last one.
                assert not (rest and is_refusal)

    run(main())
