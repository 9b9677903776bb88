"""New code, same connections."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.flow.raw import RawClient, handshake
from tests.flow.server import is_alive, wait_for

if TYPE_CHECKING:
    from tests.flow.conftest import Story


def test_open_connection_is_answered_by_the_new_code(story: Story) -> None:
    # The model differs, too.
    # The model differs: there, it is closed with 1012.
    with connect(f"{story.server.ws_url}/version") as ws:
        ws.send("?")
        assert ws.recv(10) == "1"
        story.set_version("2")
        done = story.server.reload()
        assert (done.returncode, done.stdout) == (0, "generation 2 serves\n")
        ws.send("?")
        assert ws.recv(10) == "2"


def test_sighup_reloads_as_the_command_does(story: Story) -> None:
    story.set_version("2")
    os.kill(story.server.process.pid, signal.SIGHUP)
    wait_for(lambda: story.server.status()["generation"] == 2, "generation 2 serves")


def test_install_and_activate_run_once_per_generation_startup_once_per_worker(
    story: Story,
) -> None:
    # The model differs: there, every worker runs all of it.
    story.set_version("2")
    story.server.reload()
    wait_for(lambda: story.journal().count("shutdown 1") == 2, "the old workers have left")
    journal = story.journal()
    for version in ("1", "2"):
        assert journal.count(f"install {version}") == 1
        assert journal.count(f"activate {version}") == 1
        assert journal.count(f"startup {version}") == 2
    assert "shutdown 2" not in journal


def test_code_that_does_not_import_leaves_the_old_code_serving(story: Story) -> None:
    # Whoever asked for the reload hears why.
    with connect(f"{story.server.ws_url}/version") as ws:
        story.set_version("broken")
        done = story.server.reload()
        assert done.returncode == 1
        assert 'raise RuntimeError("this version does not import")' in done.stderr
        assert "src/holdfast" not in done.stderr
        ws.send("?")
        assert ws.recv(10) == "1"
    assert story.server.status()["generation"] == 1


def test_install_that_raises_leaves_the_old_code_serving(story: Story) -> None:
    with connect(f"{story.server.ws_url}/version") as ws:
        story.set_version("bad install")
        done = story.server.reload()
        assert done.returncode == 1
        assert 'raise RuntimeError("this version does not install")' in done.stderr
        ws.send("?")
        assert ws.recv(10) == "1"


def test_reload_after_a_failed_one_succeeds(story: Story) -> None:
    # The model differs: there, a lifecycle that has failed once has failed for ever.
    story.set_version("broken")
    assert story.server.reload().returncode == 1
    story.set_version("2")
    assert story.server.reload().returncode == 0
    with urllib.request.urlopen(story.server.url, timeout=10) as response:
        assert response.read().startswith(b"version 2")


def test_request_that_runs_during_a_reload_is_answered(story: Story) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        with urllib.request.urlopen(f"{story.server.url}/slow", timeout=20) as response:
            answers.append(response.read())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    story.server.reload()
    for thread in threads:
        thread.join()
    assert answers == [b"slow but sure"] * 8


def test_connection_that_is_kept_alive_gets_its_next_answer_over_a_reload(story: Story) -> None:
    client = http.client.HTTPConnection("127.0.0.1", story.server.port, timeout=10)
    client.connect()
    client.auto_open = 0  # never another connection

    def goodbye() -> bool:
        client.request("GET", "/")
        response = client.getresponse()
        assert response.status == 200
        response.read()
        return response.getheader("connection") == "close"

    with closing(client):
        assert not goodbye()
        assert story.server.reload().returncode == 0
        # Its worker is being replaced: it answers once more, and says so.
        wait_for(goodbye, "the worker says goodbye")


@pytest.mark.parametrize("story", [("--keep-alive", "3600")], indirect=True)
def test_stop_does_not_wait_for_connections_that_are_kept_alive(story: Story) -> None:
    client = http.client.HTTPConnection("127.0.0.1", story.server.port, timeout=10)
    with closing(client):
        client.request("GET", "/")
        client.getresponse().read()
        assert story.server.stop() == 0


@pytest.mark.parametrize("story", [("--header-timeout", "3600")], indirect=True)
def test_stop_does_not_wait_for_a_handshake_that_does_not_come(story: Story) -> None:
    # Whoever has not got as far as a connection has no close event to be waited for.
    with RawClient(story.server.port) as half, RawClient(story.server.port) as silent:
        half.send(handshake("/echo")[:-2])
        wait_for(lambda: story.server.status(), "the server had time to read it")
        assert story.server.stop() == 0
        assert (half.receive_rest(), silent.receive_rest()) == (b"", b"")


def test_request_that_runs_during_a_stop_is_answered(story: Story) -> None:
    # Nobody waits for an answer that does not come any more.
    with RawClient(story.server.port) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        wait_for(lambda: "slow has begun" in story.journal(), "the request is in hand")
        assert story.server.stop() == 0
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client.receive_rest() == b"slow but sure"


def test_handshake_that_is_decided_during_a_stop_is_a_503(story: Story) -> None:
    # Nothing is left to flush to somebody who comes too late.
    # Not a connection whose close event would find no worker any more.
    with RawClient(story.server.port) as client:
        client.send(handshake("/slow-upgrade"))
        wait_for(lambda: "slow-upgrade has begun" in story.journal(), "it is being decided")
        # By signal: `holdfast stop` may take longer to start than the decision.
        story.server.process.terminate()
        head = client.receive_head()
        assert story.server.process.wait(20) == 0
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in head
    assert "close slow-upgrade" not in "\n".join(story.journal())


def test_shutdown_listener_that_raises_holds_nothing_up(story: Story) -> None:
    # The supervisor hears that the worker is gone, whatever its listeners do.
    story.set_version("bad shutdown")
    assert story.server.reload().returncode == 0
    assert story.server.stop() == 0
    assert story.journal().count("shutdown bad shutdown") == 2
    assert story.server.log().count("shutdown raised RuntimeError") == 2


@pytest.mark.timeout(180)
def test_fifty_reloads_leak_no_descriptor_and_no_process(story: Story) -> None:
    def descriptors() -> tuple[int, int]:
        status = story.server.status()
        pids = (status["supervisor"]["pid"], status["keeper"]["pid"])
        supervisor, keeper = (len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
        return supervisor, keeper

    def children() -> int:
        task = Path(f"/proc/{story.server.process.pid}/task/{story.server.process.pid}/children")
        return len(task.read_text().split())

    before = (descriptors(), children())
    with connect(f"{story.server.ws_url}/counter") as ws:
        for number in range(50):
            assert story.server.reload().returncode == 0
            ws.send("incr")
            assert ws.recv(20) == str(number + 1)
    wait_for(lambda: children() == before[1], "the old workers have left", 40)
    wait_for(lambda: descriptors() == before[0], f"descriptors are back at {before[0]}")


def test_stop_closes_connections_with_1001_and_runs_close_events_first(story: Story) -> None:
    pids = story.server.pids()
    with connect(f"{story.server.ws_url}/echo") as ws:
        status = story.server.stop()
        try:
            ws.recv(10)
        except Exception:
            assert ws.close_code == 1001
    assert status == 0
    assert not any(is_alive(pid) for pid in pids)
    journal = story.journal()
    assert journal.index("close echo 1001 ") < journal.index("shutdown 1")


def test_interrupt_stops_as_sigterm_does(story: Story) -> None:
    # Connections first, and then an exit with 0.
    with connect(f"{story.server.ws_url}/echo") as ws:
        story.server.process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert story.server.process.wait(20) == 0
    assert story.journal().count("shutdown 1") == 2
    assert "press Ctrl-C again to stop at once" in story.server.log()


def test_second_interrupt_waits_for_nothing(story: Story) -> None:
    pids = story.server.pids()
    with RawClient(story.server.port) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: "slow has begun" in story.journal(), "the request is in hand")
        story.server.process.send_signal(signal.SIGINT)
        wait_for(lambda: "press Ctrl-C again" in story.server.log(), "the first was heard")
        story.server.process.send_signal(signal.SIGINT)
        assert story.server.process.wait(10) == 130
    wait_for(lambda: not any(is_alive(pid) for pid in pids), "all processes are gone")
    assert "stopped at once" in story.server.log()


def test_sigterm_stops_within_the_close_timeout_though_a_client_never_answers(
    story: Story,
) -> None:
    with RawClient(story.server.port) as client:
        client.open("/echo")
        story.server.process.send_signal(signal.SIGTERM)
        assert client.receive_frame().close_code == 1001
        # Without it, it would be the drain timeout: 30 s.
        assert story.server.process.wait(20) == 0
