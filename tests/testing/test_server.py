"""A real server for tests."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from holdfast.testing import Server, ServerFailed
from holdfast.testing.server import free_port, is_alive, wait_for
from tests.testing.apps import rooms

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = Path(rooms.__file__)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.start(APP.name, cwd=APP.parent, workers=2, env={"ROOMS": "1"}) as server:
        yield server


def test_server_is_reached_over_http_and_websocket(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/hello", timeout=10) as response:
        assert response.read() == b"hello"
    with connect(f"{server.ws_url}/rooms", subprotocols=["rooms.v1"]) as ws:  # type: ignore[list-item]
        assert ws.recv(10) == "welcome"
    assert repr(server) == f"<Server http://127.0.0.1:{server.port}>"


def test_status_shows_the_processes(server: Server) -> None:
    assert len(server.status()["workers"]) == len(server.worker_pids()) == 2
    assert all(is_alive(pid) for pid in server.pids())
    assert len(server.pids()) == 4, "supervisor, keeper and two workers"


def test_worker_that_is_killed_is_replaced(server: Server) -> None:
    pid = server.worker_pids()[0]
    assert server.kill_worker(pid) == pid
    assert not is_alive(pid)
    assert len(server.worker_pids()) == 2


def test_reload_replaces_the_workers(server: Server) -> None:
    before = server.worker_pids()
    server.reload()
    assert not set(before) & set(server.worker_pids())


def test_new_code_that_does_not_start_raises_where_wanted(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("from holdfast import ServiceWorker\napp = ServiceWorker()\n")
    with Server.start("app.py", cwd=tmp_path, workers=1) as server:
        app.write_text("raise RuntimeError('not today')")
        with pytest.raises(ServerFailed, match="not today"):
            server.reload()
        assert server.reload(check=False).returncode == 1
        assert server.stop() == 0
    assert "serving" in server.log(), "it can be read afterwards"


def test_application_that_does_not_start_raises_with_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise RuntimeError('not today')")
    with (
        pytest.raises(ServerFailed, match="not today"),
        Server.start("app:app", cwd=tmp_path, workers=1),
    ):
        pass


def test_status_of_a_server_that_is_gone_is_an_error() -> None:
    with Server.start(APP, workers=1) as server:
        server.stop()
        with pytest.raises(ServerFailed, match="no status"):
            server.status()


def test_free_port_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_fact_that_never_comes_true_fails_with_its_name() -> None:
    with pytest.raises(AssertionError, match="still not true: the moon is blue"):
        wait_for(lambda: False, "the moon is blue", timeout=0.02)
    assert wait_for(lambda: 7, "seven") == 7
