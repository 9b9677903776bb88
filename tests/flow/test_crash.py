"""Workers die; connections do not, and no message is lost, doubled or out of order."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.flow.raw import RawClient, client_frame
from tests.flow.server import is_alive, wait_for

if TYPE_CHECKING:
    from tests.flow.conftest import Story


def test_message_that_a_dying_worker_had_in_hand_is_delivered_again(story: Story) -> None:
    # The model differs: there, it is lost, and nobody takes the place of the dead.
    with connect(f"{story.server.ws_url}/die") as ws:
        ws.send("before")
        assert ws.recv(20) == "before at attempt 1"
        ws.send("die")
        ws.send("after")
        assert ws.recv(20) == "die at attempt 2"
        # It travelled behind the deadly one, so nobody can say that it was not begun.
        assert str(ws.recv(20)).startswith("after at attempt ")


def test_connection_and_its_data_survive_the_death_of_every_worker(story: Story) -> None:
    with connect(f"{story.server.ws_url}/counter") as ws:
        for expected in ("1", "2", "3"):
            ws.send("incr")
            assert ws.recv(20) == expected
            for pid in story.server.worker_pids():
                story.server.kill_worker(pid)


def test_message_that_kills_every_worker_is_put_aside_and_closes_with_1011(story: Story) -> None:
    with RawClient(story.server.port, timeout=30) as client, RawClient(story.server.port) as other:
        client.open("/die")
        other.open("/echo")
        client.send(client_frame("poison"))
        assert client.receive_frame().close_code == 1011
        other.send(client_frame("still here"))
        assert other.receive_frame().payload == b"still here"
    assert story.server.status()["quarantined"] == 1
    assert "was put aside" in story.server.log()


def test_burst_over_several_deaths_comes_back_complete_and_in_order(story: Story) -> None:
    with RawClient(story.server.port, timeout=30) as client:
        client.open("/echo")
        for start in range(0, 3000, 1000):
            client.send(b"".join(client_frame(str(n)) for n in range(start, start + 1000)))
            story.server.kill_worker()
        received = [int(client.receive_frame().payload) for _ in range(3000)]
    assert received == list(range(3000))


def test_every_process_is_gone_soon_after_the_supervisor_was_killed(story: Story) -> None:
    pids = story.server.pids()
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids[1:]), "all processes are gone")
    with socket.socket() as listener:  # The port is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", story.server.port))


def test_worker_whose_loop_is_blocked_dies_with_the_supervisor_too(story: Story) -> None:
    worker = story.server.worker_pids()[0]
    os.kill(worker, signal.SIGSTOP)  # As good as blocked: it runs no code of ours.
    pids = story.server.pids()
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids[1:]), "all processes are gone")


def test_keeper_that_dies_is_replaced_and_said_loudly(story: Story) -> None:
    with connect(f"{story.server.ws_url}/echo") as ws:
        os.kill(story.server.status()["keeper"]["pid"], signal.SIGKILL)
        wait_for(lambda: "the keeper died" in story.server.log(), "it is in the log")
        with pytest.raises(ConnectionClosedError):
            ws.recv(10)

    def echoes() -> bool:
        try:
            with connect(f"{story.server.ws_url}/echo", open_timeout=10) as ws:
                ws.send("again")
                return ws.recv(10) == "again"
        except OSError:
            return False

    wait_for(echoes, "the new keeper holds connections")
