"""What the supervisor writes about its workers: what an operator has to know, and nothing else."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.flow.server import Server, is_alive, wait_for

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = """\
import os
import signal
import time

from holdfast import ServiceWorker

app = ServiceWorker()


@app.on("websocketupgrade")
def join(event):
    event.accept()


@app.on("websocketmessage")
def obey(event):
    if event.attempt > 1:
        event.source.send("still here")
    elif event.data == "exit":
        os._exit(3)
    elif event.data == "abort":
        os.kill(os.getpid(), signal.SIGABRT)
    elif event.data == "unknown":
        os.kill(os.getpid(), signal.SIGRTMIN + 1)
    elif event.data == "hang":
        time.sleep(60)
"""

# How a line about a worker that is gone begins.
GONE = re.compile(r"worker \(pid \d+\) .*")


@pytest.fixture
def application(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APPLICATION)
    return path


def gone(server: Server) -> list[str]:
    return [line for line in server.log().splitlines() if GONE.search(line)]


def test_killed_worker_is_one_warning_with_its_pid(application: Path) -> None:
    with Server.start(application, workers=1) as server:
        pid = server.kill_worker()
        assert gone(server) == [
            f"WARNING holdfast: worker (pid {pid}) was killed by SIGKILL; another takes its place"
        ]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("exit", "ended with exit status 3"),
        ("abort", "was killed by SIGABRT"),
        ("unknown", r"was killed by signal \d+"),
    ],
)
def test_worker_that_ends_by_itself_says_how(application: Path, message: str, what: str) -> None:
    with Server.start(application, workers=1) as server, connect(server.ws_url) as ws:
        ws.send(message)
        assert ws.recv(20) == "still here"
        (line,) = gone(server)
        line_of_it = rf"WARNING holdfast: worker \(pid \d+\) {what}; another takes its place"
        assert re.fullmatch(line_of_it, line)


def test_workers_that_are_asked_to_leave_are_not_in_the_log(application: Path) -> None:
    with Server.start(application, "--max-events", "2", workers=2) as server:
        before = server.worker_pids()
        assert server.reload().returncode == 0
        wait_for(lambda: not any(map(is_alive, before)), "the old workers are gone")
        with connect(server.ws_url) as ws:
            first = set(server.worker_pids())
            for _ in range(8):
                ws.send("hello")
            wait_for(lambda: not first <= set(server.worker_pids()), "one was replaced")
        server.stop()
        assert gone(server) == []


def test_worker_that_is_killed_because_it_does_not_leave_is_not_in_the_log(
    application: Path,
) -> None:
    with Server.start(application, "--drain-timeout", "0.2", workers=1) as server:
        with connect(server.ws_url) as ws:
            ws.send("hang")
            (old,) = server.worker_pids()
            server.reload()
            assert ws.recv(20) == "still here"
            wait_for(lambda: not is_alive(old), "the old worker is gone")
        assert gone(server) == []


def test_worker_whose_replacement_does_not_start_is_not_told_of_twice(application: Path) -> None:
    with Server.start(application, "--spare", "0", workers=2) as server:
        application.write_text("1 / 0")
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: "could not start: " in server.log(), "its replacement has failed")
        application.write_text(APPLICATION)
        wait_for(lambda: len(server.worker_pids()) == 2, "the next one serves")
        (line,) = gone(server)
        assert f"(pid {victim})" in line


def test_first_start_that_fails_speaks_of_no_generation(application: Path) -> None:
    application.write_text("1 / 0")
    with pytest.raises(Exception, match="ZeroDivisionError") as caught, Server.start(application):
        pass
    log = str(caught.value)
    assert "ERROR holdfast: the application was not started: importing" in log
    assert "generation" not in log
    assert GONE.search(log) is None
