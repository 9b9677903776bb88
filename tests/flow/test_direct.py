"""`holdfast serve --direct`: what is different in one process. What is not: tests/conformance."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from holdfast.testing import ServerFailed
from tests.flow.server import ROOT, Server, free_port, wait_for

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

APP = ROOT / "tests/flow/apps/direct.py"


def serve(*arguments: str, **env: str) -> AbstractContextManager[Server]:
    return Server.start(APP, "--direct", *arguments, workers=1, env=env)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `holdfast serve --direct` that does not come to serve."""
    command = [sys.executable, "-m", "holdfast", "serve", f"{APP}:app", "--direct", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_everything_is_one_process() -> None:
    with serve() as server:
        assert set(server.pids()) == {server.process.pid}
        with connect(server.ws_url) as ws:
            ws.send("x")
            assert ws.recv(10) == "x"
            assert server.status()["connections"] == 1
        assert server.status()["generation"] == 1


def test_reload_says_that_it_cannot() -> None:
    with serve() as server, connect(server.ws_url) as ws:
        done = server.reload(check=False)
        assert done.returncode == 1
        assert "direct mode cannot replace its code" in done.stderr
        ws.send("still here")
        assert ws.recv(10) == "still here"


def test_hangup_says_that_it_cannot_reload() -> None:
    with serve() as server:
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "direct mode cannot replace its code" in server.log(), "it says so")
        assert server.process.poll() is None


def test_second_interrupt_ends_it_though_a_listener_does_not_return(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    with serve(BLOCKED=str(blocked)) as server, connect(server.ws_url, close_timeout=0) as ws:
        ws.send("block")
        wait_for(blocked.exists, "the listener blocks the loop")
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.3)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 130
        assert "stopped at once" in server.log()


def test_stop_takes_no_longer_than_it_may_though_a_listener_does_not_return(
    tmp_path: Path,
) -> None:
    blocked = tmp_path / "blocked"
    with (
        serve("--drain-timeout", "0.5", BLOCKED=str(blocked)) as server,
        connect(server.ws_url, close_timeout=0) as ws,
    ):
        ws.send("block")
        wait_for(blocked.exists, "the listener blocks the loop")
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert "--drain-timeout is 0.5 s" in server.log()


def test_interrupt_stops_it_in_order() -> None:
    with serve() as server, connect(server.ws_url) as ws:
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert server.process.wait(10) == 0


def test_limits_are_those_of_the_command_line() -> None:
    with serve("--max-message", "10") as server, connect(server.ws_url) as ws:
        ws.send("x" * 11)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert server.status()["limits"]["max_message"] == {"limit": 10, "hits": 1}


def test_application_that_does_not_import_is_shown_and_not_served() -> None:
    with pytest.raises(ServerFailed) as failure, serve(BROKEN="1"):
        pass
    assert "this version does not import" in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--workers", "2"], "--direct is one process: leave out --workers 2"),
        (["--spare", "1"], "--spare is about replacing workers"),
        (["--min-workers", "0"], "--min-workers is about replacing workers"),
        (["--max-events", "5"], "--max-events is about replacing workers"),
    ],
)
def test_options_about_workers_are_refused(arguments: list[str], problem: str) -> None:
    done = run(*arguments, "--port", str(free_port()))
    assert done.returncode == 2
    assert problem in done.stderr
