"""From an HTTP request to a connection that the keeper holds, or to an HTTP response."""

from __future__ import annotations

import http.client
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.flow.raw import CLOSE, TEXT, RawClient, client_frame, handshake
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.flow.conftest import Story


def answer(story: Story, path: str, *lines: str) -> tuple[bytes, bytes]:
    """Head and body of what an upgrade request gets that is not upgraded."""
    with RawClient(story.server.port) as client:
        client.send(handshake(path, *lines))
        return client.receive_head(), client.receive_rest()


def test_accepted_handshake_echoes_text_and_binary(shared_story: Story) -> None:
    with connect(f"{shared_story.server.ws_url}/echo") as ws:
        ws.send("text")
        assert ws.recv(10) == "text"
        ws.send(b"\x00\xff")
        assert ws.recv(10) == b"\x00\xff"


def test_fetch_listener_may_upgrade_what_no_upgrade_listener_decided(shared_story: Story) -> None:
    # The model differs: there, a fetch listener is the only one to ask.
    with connect(f"{shared_story.server.ws_url}/by-fetch") as ws:
        assert ws.recv(10) == "upgraded by fetch"


def test_message_sent_in_the_upgrade_listener_comes_first_after_the_101(
    shared_story: Story,
) -> None:
    # A client that talks at once must not overtake the greeting.
    with RawClient(shared_story.server.port) as client:
        client.send(handshake("/greet") + client_frame("first word of the client"))
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        assert client.receive_frame() == (TEXT, b"welcome")
        assert client.receive_frame() == (TEXT, b"first word of the client")


def test_close_in_the_upgrade_listener_completes_the_handshake_first(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/close")
        assert client.receive_frame() == (TEXT, b"bye")
        frame = client.receive_frame()
        assert (frame.close_code, frame.payload[2:]) == (4001, b"not today")
        client.send(client_frame(frame.payload, CLOSE))
        assert client.receive_rest() == b""
    journal = shared_story.journal
    wait_for(lambda: "close close 4001 not today" in journal(), "the close event")


def test_subprotocol_headers_and_cookies_are_on_the_101(shared_story: Story) -> None:
    # The model differs: there, only cookies are.
    with RawClient(shared_story.server.port) as client:
        head = client.open("/subprotocol", "Sec-WebSocket-Protocol: chat.v1, chat.v2").lower()
    assert b"sec-websocket-protocol: chat.v2\r\n" in head
    assert b"x-extra: 1\r\n" in head
    assert b"set-cookie: seen=yes" in head


def test_subprotocol_that_was_not_offered_is_the_listeners_error(shared_story: Story) -> None:
    head, _ = answer(shared_story, "/subprotocol", "Sec-WebSocket-Protocol: chat.v1")
    assert head.startswith(b"HTTP/1.1 500 ")


def test_subprotocol_is_not_chosen_unless_the_listener_does(shared_story: Story) -> None:
    # The model differs: there, it is the first one.
    # Nothing is chosen silently.
    with RawClient(shared_story.server.port) as client:
        head = client.open("/echo", "Sec-WebSocket-Protocol: chat.v1, chat.v2")
    assert b"sec-websocket-protocol" not in head.lower()


def test_rejection_is_an_ordinary_response(shared_story: Story) -> None:
    # Status, headers and body, never a dropped connection.
    head, body = answer(shared_story, "/401")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"x-why: no cookie\r\n" in head
    assert body == b"who are you?"


def test_listener_that_raises_before_it_upgrades_yields_a_500_without_details(
    shared_story: Story,
) -> None:
    head, body = answer(shared_story, "/raise-upgrade")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in body


def test_listener_that_raises_after_it_accepted_leaves_no_connection(shared_story: Story) -> None:
    head, _ = answer(shared_story, "/raise-after-accept")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert "close raise-after-accept" not in "\n".join(shared_story.journal())


def test_upgrade_request_that_nobody_decides_gets_426(shared_story: Story) -> None:
    head, _ = answer(shared_story, "/nobody")
    assert head.startswith(b"HTTP/1.1 426 ")


def test_fetch_listener_that_responds_makes_it_ordinary_http(shared_story: Story) -> None:
    # I-S-1: the header alone engages nothing.
    accepted = shared_story.server.status()["accepted"]
    head, body = answer(shared_story, "/")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body.startswith(b"version 1")
    assert shared_story.server.status()["accepted"] == accepted


def test_ordinary_request_that_nobody_answers_gets_404(shared_story: Story) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_story.server.port, timeout=10)
    connection.request("GET", "/echo")
    assert connection.getresponse().status == 404
    connection.close()


def test_upgrade_header_without_connection_header_is_ordinary_http(shared_story: Story) -> None:
    # This ended the worker upstream.
    with RawClient(shared_story.server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")


def test_version_other_than_13_is_refused_with_426(shared_story: Story) -> None:
    request = handshake("/echo").replace(b"Version: 13", b"Version: 8")
    with RawClient(shared_story.server.port) as client:
        client.send(request)
        head = client.receive_head().lower()
    assert head.startswith(b"http/1.1 426 ")
    assert b"sec-websocket-version: 13\r\n" in head


def test_host_header_that_makes_no_url_is_refused_with_400(shared_story: Story) -> None:
    request = handshake("/echo").replace(b"Host: 127.0.0.1", b"Host: a b")
    with RawClient(shared_story.server.port) as client:
        client.send(request)
        assert client.receive_head().startswith(b"HTTP/1.1 400 ")


def test_bytes_behind_the_handshake_request_are_kept_in_order(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        early = b"".join(client_frame(str(n)) for n in range(100))
        client.send(handshake("/slow-upgrade") + early[:50])
        client.send(early[50:])
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        assert [client.receive_frame().payload for _ in range(100)] == [
            str(n).encode() for n in range(100)
        ]


def test_upgrade_behind_a_pipelined_request_comes_after_its_response(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + handshake("/greet"))
        head = client.receive_head()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert client._take(len(b"slow but sure")) == b"slow but sure"
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        assert client.receive_frame() == (TEXT, b"welcome")


def test_client_that_vanishes_during_a_slow_upgrade_listener_leaves_one_close_event(
    story: Story,
) -> None:
    # It had been accepted when it turned out to be gone.
    with RawClient(story.server.port) as client:
        client.send(handshake("/slow-upgrade"))
    wait_for(lambda: "close slow-upgrade 1006 " in story.journal(), "the close event")
    assert story.server.status()["connections"] == 0
    assert story.journal().count("close slow-upgrade 1006 ") == 1


def test_client_that_vanishes_leaves_no_descriptor(story: Story) -> None:
    def descriptors() -> list[int]:
        pids = [story.server.status()["keeper"]["pid"], *story.server.worker_pids()]
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]

    with connect(f"{story.server.ws_url}/echo"):
        pass  # What is opened once and kept is open now.
    before = wait_for(descriptors, "there are descriptors")
    for _ in range(20):
        with RawClient(story.server.port) as client:
            client.send(handshake("/slow-upgrade"))
    wait_for(lambda: story.journal().count("close slow-upgrade 1006 ") == 20, "all have closed")
    wait_for(lambda: descriptors() == before, f"descriptors are back at {before}")


def test_client_that_resets_during_a_slow_upgrade_listener_leaves_nothing_behind(
    story: Story,
) -> None:
    with RawClient(story.server.port) as client:
        client.send(handshake("/slow-upgrade"))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: "close slow-upgrade 1006 " in story.journal(), "the close event")
    assert story.server.status()["connections"] == 0
    assert story.journal().count("startup 1") == 2, "no process had to be replaced"
