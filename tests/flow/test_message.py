"""Messages there and back, and what listeners that wait or raise do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flow.raw import CLOSE, PING, PONG, TEXT, RawClient, client_frame
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.flow.conftest import Story


def test_thousand_messages_come_back_in_order(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(b"".join(client_frame(str(n)) for n in range(1000)))
        received = [client.receive_frame().payload for _ in range(1000)]
    assert received == [str(n).encode() for n in range(1000)]


def test_fragments_with_a_ping_between_them_make_one_message(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(client_frame("one ", fin=False) + client_frame(b"", PING))
        assert client.receive_frame() == (PONG, b"")
        client.send(client_frame(b"message", 0))
        assert client.receive_frame() == (TEXT, b"one message")


def test_frame_that_is_not_masked_closes_with_1002(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(b"\x81\x01x")
        assert client.receive_frame().close_code == 1002
        assert client.receive_rest() == b""


def test_client_that_floods_without_reading_does_not_make_the_keeper_grow(story: Story) -> None:
    from pathlib import Path

    def resident() -> int:
        pid = story.server.status()["keeper"]["pid"]
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    before = resident()
    frame = client_frame(b"x" * 60_000)
    with RawClient(story.server.port, timeout=1) as client:
        client.open("/echo")
        try:
            for _ in range(2000):
                client.send(frame)
        except OSError:
            pass  # It is not read any more, or it was closed as a slow consumer.
        assert resident() - before < 16 * 1024 * 1024


def test_close_without_a_code_is_reported_as_1005(story: Story) -> None:
    with RawClient(story.server.port) as client:
        client.open("/echo")
        client.send(client_frame(b"", CLOSE))
        assert client.receive_frame() == (CLOSE, b"")
        assert client.receive_rest() == b""
    wait_for(lambda: "close echo 1005 " in story.journal(), "the close event")
