"""Messages there and back, and what listeners that wait or raise do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

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


def test_data_of_a_connection_goes_from_one_event_to_the_next(shared_story: Story) -> None:
    with connect(f"{shared_story.server.ws_url}/counter") as ws:
        for _ in range(3):
            ws.send("incr")
        assert [ws.recv(10) for _ in range(3)] == ["1", "2", "3"]


def test_listener_that_raises_sends_nothing_and_keeps_the_connection(shared_story: Story) -> None:
    with connect(f"{shared_story.server.ws_url}/raise-message") as ws:
        ws.send("first")
        ws.send("second")
        wait_for(lambda: shared_story.server.log().count("secret detail") >= 4, "both are logged")
        # A frame of the application's would come before the answer to a ping sent now.
        assert ws.ping().wait(10)
        with pytest.raises(TimeoutError):
            ws.recv(0)


def test_work_passed_to_wait_until_does_not_delay_later_messages(shared_story: Story) -> None:
    # A47 is different: there, it does.
    with connect(f"{shared_story.server.ws_url}/late") as ws:
        ws.send("a")
        ws.send("b")
        assert {ws.recv(10), ws.recv(10)} == {"a, later", "b, later"}


def test_ping_is_answered_without_the_application(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(client_frame(b"are you there", PING))
        assert client.receive_frame() == (PONG, b"are you there")


def test_fragments_with_a_ping_between_them_make_one_message(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(client_frame("one ", fin=False) + client_frame(b"", PING))
        assert client.receive_frame() == (PONG, b"")
        client.send(client_frame(b"message", 0))
        assert client.receive_frame() == (TEXT, b"one message")


def test_message_of_the_largest_size_comes_back(shared_story: Story) -> None:
    with connect(f"{shared_story.server.ws_url}/echo", max_size=None) as ws:
        ws.send("x" * 1024 * 1024)
        assert len(ws.recv(10)) == 1024 * 1024


def test_message_over_the_limit_closes_with_1009(shared_story: Story) -> None:
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(client_frame("x" * (1024 * 1024 + 1))[:4096])
        assert client.receive_frame().close_code == 1009


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


def test_close_code_and_reason_reach_the_close_event(story: Story) -> None:
    with connect(f"{story.server.ws_url}/echo") as ws:
        ws.close(4000, "done here")
    wait_for(lambda: "close echo 4000 done here" in story.journal(), "the close event")


def test_close_without_a_code_is_reported_as_1005(story: Story) -> None:
    with RawClient(story.server.port) as client:
        client.open("/echo")
        client.send(client_frame(b"", CLOSE))
        assert client.receive_frame() == (CLOSE, b"")
        assert client.receive_rest() == b""
    wait_for(lambda: "close echo 1005 " in story.journal(), "the close event")


def test_client_that_vanishes_is_reported_as_1006_after_its_messages(story: Story) -> None:
    with RawClient(story.server.port) as client:
        client.open("/counter")
        client.send(client_frame("incr") * 50)
    wait_for(lambda: "close counter 1006 " in story.journal(), "the close event")
    wait_for(lambda: story.server.status()["connections"] == 0, "nothing is left")


def test_application_may_close_in_a_message_listener(story: Story) -> None:
    with RawClient(story.server.port) as client:
        client.open("/close-me")
        client.send(client_frame("now"))
        frame = client.receive_frame()
        assert (frame.close_code, frame.payload[2:]) == (4002, b"as you wish")
        client.send(client_frame(frame.payload, CLOSE))
    wait_for(lambda: "close close-me 4002 as you wish" in story.journal(), "the close event")


def test_publication_reaches_every_subscriber_from_message_and_fetch(shared_story: Story) -> None:
    import urllib.request

    url = f"{shared_story.server.ws_url}/lobby"
    with connect(url) as one, connect(url) as other:
        one.send("to all")
        assert (one.recv(10), other.recv(10)) == ("to all", "to all")
        urllib.request.urlopen(f"{shared_story.server.url}/publish", timeout=10).close()
        assert (one.recv(10), other.recv(10)) == ("from fetch", "from fetch")
