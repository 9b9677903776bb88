"""What one client may take, and what becomes of one that takes more (I.5, K22).

Each limit is tried at the limit and over it, on real sockets.
"""

from __future__ import annotations

import time
import urllib.request
import zlib
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.flow.raw import BINARY, CLOSE, PING, PONG, TEXT, RawClient, client_frame, handshake
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.flow.raw import Frame

LIMITS = ROOT / "tests/flow/apps/limits.py"
MIB = 1024 * 1024


class Guarded:
    """A server that runs `apps/limits.py`."""

    def __init__(self, server: Server, journal: Path, stack: ExitStack) -> None:
        self.server = server
        self._journal = journal
        self._stack = stack

    def connect(self, path: str = "/echo", **options: Any) -> ClientConnection:
        options = {"close_timeout": 1, "compression": None, "ping_interval": None, **options}
        ws: ClientConnection = connect(self.server.ws_url + path, **options)
        return self._stack.enter_context(ws)

    def open(self, path: str = "/echo", *headers: str) -> RawClient:
        client = self._stack.enter_context(RawClient(self.server.port))
        client.open(path, *headers)
        return client

    def refused(self, path: str = "/echo", **options: Any) -> tuple[int, Any]:
        """Return status and headers of the response to a handshake that fails."""
        with pytest.raises(InvalidStatus) as caught:
            self.connect(path, **options)
        return caught.value.response.status_code, caught.value.response.headers

    def closed(self) -> list[str]:
        return self._journal.read_text().splitlines()

    def hits(self, limit: str) -> int:
        return int(self.server.status()["limits"][limit]["hits"])

    def release(self) -> None:
        with urllib.request.urlopen(self.server.url, timeout=10) as response:
            assert response.read() == b"released"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    journal = tmp_path / "journal"
    journal.touch()
    with ExitStack() as stack:

        def start(*options: str) -> Guarded:
            env = {"JOURNAL": str(journal)}
            server = Server.start(LIMITS, "--spare", "0", *options, workers=1, env=env)
            return Guarded(stack.enter_context(server), journal, stack)

        yield start


def has_delivered(guarded: Guarded, count: int) -> bool:
    return int(guarded.server.status()["deliveries"]) >= count


def echo(ws: ClientConnection, text: str) -> None:
    ws.send(text)
    assert ws.recv(10) == text


# -- silence (I-5.6)


def test_a_silent_client_is_pinged_and_one_that_answers_stays(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--ping-interval", "0.5", "--pong-timeout", "10")
    client = guarded.open()
    for _ in range(4):
        assert client.receive_frame() == (PING, b"")
        client.send(client_frame(b"", PONG))
    assert guarded.closed() == []
    assert guarded.hits("pong_timeout") == 0


def test_a_silent_client_that_does_not_answer_is_gone_with_1006(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--ping-interval", "0.5", "--pong-timeout", "0.5")
    client = guarded.open()
    assert client.receive_frame() == (PING, b"")
    assert client.receive_rest() == b""
    wait_for(lambda: guarded.closed() == ["/echo 1006 keepalive timeout"], "it is told")
    assert guarded.hits("pong_timeout") == 1


def test_a_client_that_speaks_is_not_pinged(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--ping-interval", "1", "--pong-timeout", "0.5")
    client = guarded.open()
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        client.send(client_frame("hello"))
        assert client.receive_frame() == (TEXT, b"hello")


def test_a_client_that_is_not_read_is_pinged_but_not_given_up(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve(
        "--ping-interval", "0.5", "--pong-timeout", "1.5", "--mailbox-messages", "2"
    )  # fmt: skip
    client = guarded.open("/hang")
    for number in range(10):
        client.send(client_frame(str(number)))
    wait_for(lambda: guarded.hits("mailbox_messages") == 1, "it is not read any more")
    for _ in range(4):
        assert client.receive_frame() == (PING, b"")
    guarded.release()
    frames = [client.receive_frame() for _ in range(10)]
    assert [frame for frame in frames if frame.opcode == TEXT][-1].payload in (b"8", b"9")
    assert guarded.closed() == []


# -- messages (I-5.1)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_the_limit_comes_and_one_byte_more_is_1009(
    serve: Callable[..., Guarded], opcode: int
) -> None:
    guarded = serve("--max-message", "70000")
    client = guarded.open()
    client.send(client_frame(b"x" * 70000, opcode))
    assert len(client.receive_frame().payload) == 70000
    client.send(client_frame(b"x" * 70001, opcode))
    assert client.receive_frame().close_code == 1009
    assert client.receive_rest() == b""
    assert guarded.hits("max_message") == 1
    wait_for(lambda: guarded.closed() == ["/echo 1009 the message is too big"], "it is told")


def test_the_limit_counts_over_all_fragments(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--max-message", "1000")
    client = guarded.open()
    client.send(client_frame(b"x" * 999, BINARY, fin=False) + client_frame(b"y", 0))
    assert len(client.receive_frame().payload) == 1000
    client.send(client_frame(b"x" * 999, BINARY, fin=False) + client_frame(b"yz", 0))
    assert client.receive_frame().close_code == 1009


# -- what waits for a worker (I-5.10)


def test_a_client_that_floods_is_read_no_more_and_loses_nothing(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve()
    before = guarded.server.status()["memory"]
    client = guarded.open("/hang")
    client.socket.settimeout(1)
    piece = client_frame(b"x" * 65000)
    sent = 0

    def flood() -> None:
        nonlocal sent
        while True:
            client.send(piece)
            sent += 1

    with pytest.raises(TimeoutError):
        flood()
    # What the sockets of both ends hold, and the mailbox.
    assert sent < 300
    assert guarded.server.status()["memory"] < before + 8 * MIB
    assert guarded.hits("mailbox_messages") == 1
    client.socket.settimeout(10)
    guarded.release()
    for _ in range(sent):
        assert len(client.receive_frame().payload) == 65000


# -- what waits for a client (I-5.2)


def test_a_client_that_does_not_read_what_it_asked_for_is_closed(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-outbound", str(2 * MIB))
    client = guarded.open("/flood")
    for number in (1, 2):
        # One after the other: what one event sends may be more than the limit.
        client.send(client_frame("100"))
        wait_for(partial(has_delivered, guarded, number), "it is delivered")
    wait_for(lambda: guarded.closed() == ["/flood 1008 slow consumer"], "it is closed")
    assert guarded.hits("max_outbound") == 1


def test_a_subscriber_that_never_reads_is_closed_and_delays_nobody(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve()
    guarded.open("/lobby")
    reader = guarded.connect("/lobby")
    for _ in range(200):
        reader.send("post")
        assert len(reader.recv(10)) == 65536
    assert guarded.closed() == ["/lobby 1008 slow consumer"]


def test_publications_can_be_dropped_instead(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--slow-consumer", "drop")
    sleeper, reader = guarded.open("/lobby"), guarded.connect("/lobby")
    for _ in range(200):
        reader.send("post")
        assert len(reader.recv(10)) == 65536
    dropped = guarded.hits("slow_consumer")
    assert 0 < dropped < 200
    for _ in range(200 - dropped):
        assert len(sleeper.receive_frame().payload) == 65536
    # It has caught up, and gets what is posted now.
    reader.send("post")
    assert len(sleeper.receive_frame().payload) == 65536
    assert guarded.closed() == []


# -- how many (I-5.7)


def test_so_many_connections_may_be_open_and_the_next_is_503(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-connections", "2")
    first, second = guarded.connect(), guarded.connect("/lobby")
    status, headers = guarded.refused("/greet")
    assert (status, headers["Retry-After"]) == (503, "5")
    # Nothing of an upgrade that was refused has an effect.
    echo(first, "still here")
    second.send("post")
    assert second.recv(10) != "somebody came"
    assert guarded.hits("max_connections") == 1
    first.close()
    wait_for(lambda: guarded.server.status()["connections"] == 1, "it has left")
    echo(guarded.connect(), "room for one")


def test_so_many_of_one_address_may_be_open_and_the_next_is_429(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-connections-per-address", "2")

    def via_proxy(address: str) -> dict[str, Any]:
        return {"additional_headers": {"X-Forwarded-For": address}}

    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        guarded.connect(**via_proxy(address))
    assert guarded.refused(**via_proxy("192.0.2.1"))[0] == 429
    assert guarded.refused(**via_proxy("2001:db8::3"))[0] == 429
    guarded.connect(**via_proxy("2001:db8:0:1::"))
    assert guarded.hits("max_connections_per_address") == 2


def test_so_many_may_come_per_second_and_the_next_is_503(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--max-handshakes", "3")
    for _ in range(3):
        guarded.open()
    burst = [refused for _ in range(3) if (refused := _first_line(guarded)) != b"101"]
    assert burst
    assert set(burst) == {b"503"}
    assert guarded.hits("max_handshakes") == len(burst)
    wait_for(lambda: _first_line(guarded) == b"101", "time lets more in")


def _first_line(guarded: Guarded) -> bytes:
    with RawClient(guarded.server.port) as client:
        client.send(handshake())
        return client.receive_head().split()[1]


# -- how fast


def test_one_that_sends_too_many_messages_is_slowed_down_and_loses_none(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-message-rate", "10")
    fast, other = guarded.open(), guarded.connect()
    began = time.monotonic()
    # In pieces, since what one read brings is taken at once.
    for number in range(30):
        fast.send(client_frame(str(number)))
        if number < 10:
            assert fast.receive_frame() == (TEXT, str(number).encode())
    echo(other, "not slowed down")
    for number in range(10, 30):
        assert fast.receive_frame() == (TEXT, str(number).encode())
    for number in range(30, 35):
        fast.send(client_frame(str(number)))
        assert fast.receive_frame() == (TEXT, str(number).encode())
    assert time.monotonic() - began > 1.5
    assert guarded.hits("max_message_rate") > 0
    assert guarded.closed() == []


def test_one_that_sends_too_many_bytes_is_slowed_down_and_loses_none(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-byte-rate", "100000")
    client = guarded.open()
    began = time.monotonic()
    for _ in range(4):
        client.send(client_frame(b"x" * 60000))
        assert len(client.receive_frame().payload) == 60000
    assert time.monotonic() - began > 0.8
    assert guarded.hits("max_byte_rate") > 0


# -- memory


def test_near_its_limit_the_keeper_closes_who_holds_most_and_lets_nobody_in(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--max-memory", "80", "--max-message", str(4 * MIB))
    honest = guarded.connect()
    hogs = [guarded.open() for _ in range(40)]
    half = client_frame(b"x" * 4 * MIB)[: 3 * MIB]
    closed = []
    for hog in hogs:
        try:
            hog.send(half)
        except OSError:
            closed.append(hog)
        echo(honest, "not my business")
        assert guarded.server.status()["memory"] < 80 * MIB
    assert guarded.hits("max_memory") > 0
    wait_for(lambda: guarded.closed(), "some were closed")
    assert set(guarded.closed()) <= {
        "/echo 1013 out of memory",
        "/echo 1006 ",
    }
    assert "short of memory" in guarded.server.log()
    for hog in hogs:
        hog.socket.close()
    # When they are gone, others may come.
    wait_for(lambda: _first_line(guarded) == b"101", "there is memory again")


# -- answered without a worker


def test_an_automatic_response_wakes_nobody_and_waits_for_nobody(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--auto-response", "ping", "pong")
    client = guarded.open("/hang")
    client.send(client_frame("first"))
    wait_for(lambda: guarded.server.status()["deliveries"] == 1, "it is in a listener's hand")
    for _ in range(3):
        client.send(client_frame("ping"))
        assert client.receive_frame() == (TEXT, b"pong")
    assert guarded.server.status()["deliveries"] == 1
    # Only this text, and only text.
    guarded.release()
    assert client.receive_frame() == (TEXT, b"first")
    for other in ("ping ", b"ping"):
        client.send(client_frame(other))
        assert client.receive_frame().payload == client_frame_payload(other)


def client_frame_payload(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


# -- origins (I-5.3)


def test_pages_of_the_server_and_of_allowed_origins_may_come(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--allow-origin", "https://*.example.com", "--allow-origin", "null")
    for origin in (guarded.server.url, "https://app.example.com", "null"):
        echo(guarded.connect(origin=origin), "hello")
    for origin in ("https://example.com", "http://app.example.com", "https://evil.example"):
        assert guarded.refused(origin=origin)[0] == 403


def test_pages_of_other_origins_may_not_come_by_default(serve: Callable[..., Guarded]) -> None:
    guarded = serve()
    assert guarded.refused(origin="https://evil.example")[0] == 403
    assert guarded.refused(origin="null")[0] == 403
    echo(guarded.connect(origin=guarded.server.url), "hello")
    echo(guarded.connect(), "no browser")
    # Its listeners were not asked: nothing was opened that would have to be closed.
    assert guarded.server.status()["accepted"] == 2


# -- compression (I-5.8)


def test_messages_are_not_compressed_unless_asked_for(serve: Callable[..., Guarded]) -> None:
    guarded = serve()
    ws = guarded.connect(compression="deflate")
    assert ws.protocol.extensions == []
    echo(ws, "x" * 10_000)


def test_both_sides_compress_when_both_want_to(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--compress")
    ws = guarded.connect(compression="deflate")
    assert [each.name for each in ws.protocol.extensions] == ["permessage-deflate"]
    for text in ("short", "x" * 100_000, "é" * 50_000, ""):
        echo(ws, text)
    ws.send(b"\0" * 100_000)
    assert ws.recv(10) == b"\0" * 100_000
    echo(guarded.connect(), "and those who do not stay as they are")


def test_a_publication_reaches_those_who_compress_and_those_who_do_not(
    serve: Callable[..., Guarded],
) -> None:
    guarded = serve("--compress")
    plain = guarded.open("/lobby")
    first = guarded.open("/lobby", "Sec-WebSocket-Extensions: permessage-deflate")
    second = guarded.open(
        "/lobby", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9"
    )
    plain.send(client_frame("post"))
    assert len(plain.receive_frame().payload) == 65536
    for client in (first, second):
        frame = client.receive_frame()
        assert len(frame.payload) < 1000
        inflated = zlib.decompressobj(-15).decompress(frame.payload + b"\0\0\xff\xff")
        assert inflated == b"x" * 65536


def test_a_bomb_is_1009_and_takes_no_memory(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--compress")
    before = guarded.server.status()["memory"]
    client = guarded.open("/echo", "Sec-WebSocket-Extensions: permessage-deflate")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(b"\0" * 512 * MIB) + compressor.flush(zlib.Z_SYNC_FLUSH)
    frame = client_frame(bomb[:-4], BINARY)
    client.send(bytes((frame[0] | 0x40,)) + frame[1:])
    assert _skip(client, CLOSE).close_code == 1009
    assert guarded.server.status()["memory"] < before + 8 * MIB


def _skip(client: RawClient, opcode: int) -> Frame:
    while (frame := client.receive_frame()).opcode != opcode:
        pass
    return frame


# -- what can be seen of it


def test_status_shows_each_limit_and_how_often_it_mattered(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--max-message", "1234")
    client = guarded.open()
    client.send(client_frame("x" * 1235))
    client.receive_rest()
    limits = guarded.server.status()["limits"]
    assert limits["max_message"] == {"limit": 1234, "hits": 1}
    shown = guarded.server.cli("status").stdout
    assert set(limits) <= set(shown.split())
    assert ["max_message", "1234", "1"] in [line.split() for line in shown.splitlines()]


def test_connections_that_are_refused_do_not_fill_the_log(serve: Callable[..., Guarded]) -> None:
    guarded = serve("--max-connections", "1")
    guarded.open()
    for _ in range(30):
        assert _first_line(guarded) == b"503"
    wait_for(lambda: guarded.hits("max_connections") == 30, "all were counted")
    wait_for(lambda: "refused" in guarded.server.log(), "it was logged")  # at the next tick
    lines = [line for line in guarded.server.log().splitlines() if "refused" in line]
    assert 0 < len(lines) < 25
    assert "(--max-connections)" in lines[0]
