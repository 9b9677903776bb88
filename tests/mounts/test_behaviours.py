"""What an endpoint sees and what its client sees, on uvicorn and on holdfast.

Each test is one behaviour. It says what both servers do; where they differ, `differs` says what
each does and why.
"""

from __future__ import annotations

import itertools
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.flow.server import wait_for
from tests.mounts.servers import APPS, SERVERS, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.mounts.servers import Peer

TIMEOUT = 10.0  # seconds

RUNS = itertools.count()

DISCONNECT = "websocket.disconnect"


@pytest.fixture(scope="module", params=SERVERS)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with serve(request.param, "behaviours:app", APPS) as running:
        yield running


class Run:
    """One connection to one endpoint."""

    def __init__(self, peer: Peer, path: str) -> None:
        self.peer = peer
        self.name = f"run-{next(RUNS)}"
        self.target = f"{path}?{self.name}"

    def connect(self, **options: Any) -> ClientConnection:
        client: ClientConnection = connect(
            self.peer.ws_url + self.target, compression=None, max_size=None, **options
        )
        return client

    def refused(self) -> InvalidStatus:
        with pytest.raises(InvalidStatus) as caught:
            self.connect()
        return caught.value

    def notes(self) -> list[Any]:
        return self.peer.notes(self.name)


def disconnect(code: int, reason: str = "") -> dict[str, Any]:
    return {"type": DISCONNECT, "code": code, "reason": reason}


def text(data: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": data}


def end_of(client: ClientConnection) -> tuple[int, str]:
    """Return code and reason with which the server closes, behind any messages."""
    try:
        while True:
            client.recv(TIMEOUT)
    except ConnectionClosed as closed:
        # None: the TCP connection ended without a close frame.
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


def differs(peer: Peer, *, uvicorn: Any, holdfast: Any) -> Any:
    return uvicorn if peer.name == "uvicorn" else holdfast


# --- the handshake ------------------------------------------------------------------------------


def test_the_scope_is_the_same(peer: Peer) -> None:
    run = Run(peer, "/scope")
    headers = [("x-one", "1"), ("x-one", "2"), ("cookie", "a=b")]
    with run.connect(additional_headers=headers, subprotocols=["chat", "json"]) as client:
        scope = json.loads(client.recv(TIMEOUT))
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ["tuple", "127.0.0.1"],
        "client": ["tuple", "127.0.0.1"],
        "root_path": "",
        "path": "/scope",
        "raw_path": "/scope",
        "query_string": "",
        "headers": [
            ["cookie", "a=b"],
            ["sec-websocket-protocol", "chat, json"],
            ["sec-websocket-version", "13"],
            ["x-one", "1"],
            ["x-one", "2"],
        ],
        "subprotocols": ["chat", "json"],
        "state": {"pool": "the pool"},
        "extensions": {"websocket.http.response": {}},
    }


def test_connect_comes_first_and_accept_opens(peer: Peer) -> None:
    run = Run(peer, "/accept")
    with run.connect() as client:
        assert client.subprotocol is None
    notes = [{"type": "websocket.connect"}, "websocket.accept: sent", disconnect(1000)]
    assert run.notes() == notes


def test_accept_with_subprotocol_and_headers(peer: Peer) -> None:
    with Run(peer, "/accept_with_more").connect(subprotocols=["chat", "json"]) as client:
        assert client.subprotocol == "json"
        assert client.response is not None
        headers = client.response.headers
        assert headers["x-room"] == "lobby"
        assert headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_accept_without_a_subprotocol(peer: Peer) -> None:
    run = Run(peer, "/accept_without_subprotocol")
    with run.connect(subprotocols=["chat"]) as client:
        assert client.subprotocol is None


def test_close_before_accept_is_a_403(peer: Peer) -> None:
    run = Run(peer, "/close_at_once")
    response = run.refused().response
    assert (response.status_code, response.body) == (403, b"")
    sent, told, accepted = run.notes()
    assert (sent, told) == ("websocket.close: sent", disconnect(1006))
    # To uvicorn, the connection may be lost already.
    assert accepted in ("websocket.accept: RuntimeError", "websocket.accept: OSError")


def test_a_denial_response_arrives_whole(peer: Peer) -> None:
    run = Run(peer, "/deny")
    response = run.refused().response
    assert (response.status_code, response.body) == (401, b"who are you?")
    assert response.headers["x-why"] == "unknown"
    start, *bodies, told = run.notes()
    assert start == "websocket.http.response.start: sent"
    assert bodies == ["websocket.http.response.body: sent"] * 2
    assert told == disconnect(1006)


def test_a_denial_response_may_have_a_length(peer: Peer) -> None:
    response = Run(peer, "/deny_with_length").refused().response
    assert (response.status_code, response.body) == (404, b"no")


@pytest.mark.parametrize(
    "path", ["/raise_at_once", "/raise_after_connect", "/return_at_once", "/exit_at_once"]
)
def test_an_endpoint_that_ends_before_it_has_answered_is_a_500(peer: Peer, path: str) -> None:
    response = Run(peer, path).refused().response
    assert (response.status_code, response.body) == (500, b"Internal Server Error")


def test_what_an_endpoint_raises_is_logged_with_its_traceback(peer: Peer) -> None:
    Run(peer, "/raise_at_once").refused()
    wait_for(lambda: 'raise ValueError("before the handshake' in peer.log(), "it is in the log")


def test_a_client_that_leaves_during_its_handshake_is_told(peer: Peer) -> None:
    run = Run(peer, "/never_answer")
    with socket.create_connection(("127.0.0.1", peer.port), TIMEOUT) as client:
        client.sendall(
            f"GET {run.target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        with Run(peer, "/how_much").connect() as other:

            def has_begun() -> bool:
                other.send(run.name)
                return other.recv(TIMEOUT) == "1"

            wait_for(has_begun, "the endpoint has begun")
    assert run.notes()[1:] == [disconnect(1006), "websocket.accept: OSError"]


def test_messages_have_to_wait_for_accept(peer: Peer) -> None:
    run = Run(peer, "/send_before_accept")
    with run.connect():
        pass
    notes = ["websocket.send: RuntimeError", "websocket.accept: sent", disconnect(1000)]
    assert run.notes() == notes


def test_a_second_accept_is_an_error(peer: Peer) -> None:
    run = Run(peer, "/accept_twice")
    with run.connect():
        pass
    assert run.notes() == ["websocket.accept: RuntimeError", disconnect(1000)]


def test_what_a_client_sends_at_once_is_received(peer: Peer) -> None:
    run = Run(peer, "/slow_accept")
    with run.connect() as client:
        client.send("a")
    assert run.notes() == [text("a"), disconnect(1000)]


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    ["a", "", "grüße 數據 🙂", "x" * 200_000, b"a", b"", bytes(range(256)), b"x" * 200_000],
)
def test_messages_come_back_as_they_were(peer: Peer, message: str | bytes) -> None:
    with Run(peer, "/echo").connect() as client:
        client.send(message)
        assert client.recv(TIMEOUT) == message


def test_messages_keep_their_order(peer: Peer) -> None:
    with Run(peer, "/echo").connect() as client:
        for number in range(500):
            client.send(str(number))
        assert [client.recv(TIMEOUT) for _ in range(500)] == list(map(str, range(500)))


def test_fragments_are_one_message(peer: Peer) -> None:
    with Run(peer, "/echo").connect() as client:
        client.send(["a", "b", "c"])
        assert client.recv(TIMEOUT) == "abc"


def test_text_is_received_as_text_and_bytes_as_bytes(peer: Peer) -> None:
    run = Run(peer, "/notes")
    with run.connect() as client:
        client.send("a")
        client.send(b"b")
    binary = {"type": "websocket.receive", "bytes": "b"}
    assert run.notes() == [text("a"), binary, disconnect(1000)]


def test_a_ping_is_answered_while_the_endpoint_does_something_else(peer: Peer) -> None:
    with Run(peer, "/send_until_gone").connect() as client:
        assert client.ping().wait(TIMEOUT)


def test_to_send_nothing_sends_nothing(peer: Peer) -> None:
    run = Run(peer, "/send_nothing")
    with run.connect() as client:
        assert client.recv(TIMEOUT) == "something"
    assert run.notes()[0] == "websocket.send: sent"


def test_nonsense_raises_and_harms_nobody(peer: Peer) -> None:
    run = Run(peer, "/send_nonsense")
    with run.connect() as client:
        assert client.recv(TIMEOUT) == "still here"
    notes = ["websocket.send: an error", "websocket.nonsense: RuntimeError"]
    assert run.notes() == [*notes, "websocket.send: an error", disconnect(1000)]


def test_two_tasks_may_send(peer: Peer) -> None:
    with Run(peer, "/send_from_two_tasks").connect() as client:
        client.send("tock")
        received = [client.recv(TIMEOUT) for _ in range(4)]
    assert sorted(received) == ["tick 0", "tick 1", "tick 2", "tock"]


def test_a_receive_that_was_given_up_loses_nothing(peer: Peer) -> None:
    run = Run(peer, "/give_up_waiting")
    with run.connect() as client:
        assert client.recv(TIMEOUT) == "now"
        client.send("a")
        client.send("b")
    assert run.notes() == ["nothing"] * 3 + [text("a"), text("b"), disconnect(1000)]


def test_who_sends_waits_for_a_client_that_does_not_read(peer: Peer) -> None:
    run = Run(peer, "/much")
    with run.connect() as client, Run(peer, "/how_much").connect() as other:

        def sent() -> int:
            other.send(run.name)
            return int(other.recv(TIMEOUT))

        # The client's own buffers, the kernel's and the server's together are some MiB.
        before = [-1]

        def stands_still() -> bool:
            before.append(sent())
            return before[-1] == before[-2] > 0

        wait_for(stands_still, "the endpoint waits")
        assert before[-1] < 200
        received = [client.recv(TIMEOUT) for _ in range(200)]
    assert [int(message[:5]) for message in received] == list(range(200))
    assert run.notes() == [*range(200), disconnect(1000)]


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (4999, "grüße")])
def test_the_endpoint_gets_code_and_reason_of_its_client(
    peer: Peer, code: int, reason: str
) -> None:
    run = Run(peer, "/notes")
    with run.connect() as client:
        client.send("last")
        client.close(code, reason)
    assert run.notes() == [text("last"), disconnect(code, reason)]


def test_a_close_without_a_code_is_1005(peer: Peer) -> None:
    run = Run(peer, "/notes")
    with run.connect() as client:
        client.socket.sendall(b"\x88\x80\0\0\0\0")
        assert end_of(client)[0] in (1005, 1006)
    assert run.notes() == [disconnect(1005)]


def test_a_client_that_vanishes(peer: Peer) -> None:
    run = Run(peer, "/notes")
    with run.connect() as client:
        client.socket.shutdown(socket.SHUT_RDWR)
    # RFC 6455 section 7.1.5: 1006. So say uvicorn's other two protocol classes.
    code = differs(peer, uvicorn=1005, holdfast=1006)
    assert run.notes() == [disconnect(code)]


def test_a_client_gets_code_and_reason_of_the_endpoint(peer: Peer) -> None:
    run = Run(peer, "/close")
    with run.connect() as client:
        assert end_of(client) == (4321, "enough")
    assert run.notes() == ["websocket.close: sent", disconnect(4321, "enough")]


def test_a_close_is_1000(peer: Peer) -> None:
    run = Run(peer, "/close_plainly")
    with run.connect() as client:
        assert end_of(client) == (1000, "")
    assert run.notes() == [disconnect(1000)]


def test_a_code_that_cannot_be_sent_raises(peer: Peer) -> None:
    run = Run(peer, "/close_badly")
    with run.connect() as client:
        end_of(client)
    assert run.notes() == ["websocket.close: an error"] * 2


def test_nothing_can_be_sent_after_a_close(peer: Peer) -> None:
    run = Run(peer, "/send_after_close")
    with run.connect() as client:
        assert end_of(client) == (1000, "")
    notes = ["websocket.send: RuntimeError", "websocket.close: RuntimeError"]
    assert run.notes() == notes


def test_a_disconnect_is_told_once_more_and_then_no_more(peer: Peer) -> None:
    run = Run(peer, "/receive_after_disconnect")
    with run.connect():
        pass
    assert run.notes() == [disconnect(1000), disconnect(1005), "and nothing more"]


def test_to_send_to_a_client_that_has_left_is_an_os_error(peer: Peer) -> None:
    run = Run(peer, "/send_after_disconnect")
    with run.connect():
        pass
    notes = ["websocket.send: OSError", "websocket.close: OSError"]
    assert run.notes() == [disconnect(1000), *notes]
    assert "anybody" not in peer.log()


def test_an_endpoint_that_only_sends_finds_out(peer: Peer) -> None:
    run = Run(peer, "/send_until_gone")
    with run.connect() as client:
        assert client.recv(TIMEOUT) == "tick"
    assert run.notes() == []


def test_an_endpoint_that_raises(peer: Peer) -> None:
    with Run(peer, "/raise_later").connect() as client:
        client.send("x")
        assert client.recv(TIMEOUT) == "last words"
        # uvicorn cuts the TCP connection.
        assert end_of(client) == differs(peer, uvicorn=(1006, ""), holdfast=(1011, ""))
    wait_for(lambda: 'raise ValueError("in the middle")' in peer.log(), "it is in the log")


def test_an_endpoint_that_returns_without_closing(peer: Peer) -> None:
    with Run(peer, "/return_later").connect() as client:
        client.send("x")
        assert client.recv(TIMEOUT) == "last words"
        # The same.
        assert end_of(client) == differs(peer, uvicorn=(1006, ""), holdfast=(1000, ""))


def test_what_an_endpoint_raises_after_the_end_is_logged(peer: Peer) -> None:
    with Run(peer, "/raise_after_disconnect").connect():
        pass
    wait_for(lambda: 'raise ValueError("after the end")' in peer.log(), "it is in the log")


def test_an_endpoint_may_work_on_after_its_close(peer: Peer) -> None:
    run = Run(peer, "/work_after_close")
    with run.connect() as client:
        assert end_of(client) == (1000, "")
    assert run.notes() == ["worked on"]
