"""From an HTTP request to a connection that the keeper holds, or to an HTTP response."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.flow.raw import TEXT, RawClient, client_frame, handshake
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.flow.conftest import Story


def test_message_sent_in_the_upgrade_listener_comes_first_after_the_101(
    shared_story: Story,
) -> None:
    # A client that talks at once must not overtake the greeting.
    with RawClient(shared_story.server.port) as client:
        client.send(handshake("/greet") + client_frame("first word of the client"))
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        assert client.receive_frame() == (TEXT, b"welcome")
        assert client.receive_frame() == (TEXT, b"first word of the client")


def test_subprotocol_is_not_chosen_unless_the_listener_does(shared_story: Story) -> None:
    # The model differs: there, it is the first one.
    # Nothing is chosen silently.
    with RawClient(shared_story.server.port) as client:
        head = client.open("/echo", "Sec-WebSocket-Protocol: chat.v1, chat.v2")
    assert b"sec-websocket-protocol" not in head.lower()


def test_version_other_than_13_is_refused_with_426(shared_story: Story) -> None:
    request = handshake("/echo").replace(b"Version: 13", b"Version: 8")
    with RawClient(shared_story.server.port) as client:
        client.send(request)
        head = client.receive_head().lower()
    assert head.startswith(b"http/1.1 426 ")
    assert b"sec-websocket-version: 13\r\n" in head


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
    # Each was accepted when it turned out to be gone: one close event, and nothing else.
    wait_for(lambda: story.journal().count("close slow-upgrade 1006 ") == 20, "all have closed")
    assert story.server.status()["connections"] == 0
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
