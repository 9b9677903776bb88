"""The project on the page about Django is served, and goes on over a reload and a kill."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.docs.pages import pages
from tests.flow.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.sync.client import ClientConnection

PAGE = pages()["docs/how-to/django.md"]

TIMEOUT = 20.0  # seconds


def test_people_talk_over_a_reload_and_a_kill(tmp_path: Path) -> None:
    PAGE.write_files(tmp_path)
    with Server.start("project.asgi:application", cwd=tmp_path) as server:

        def join(name: str) -> ClientConnection:
            client: ClientConnection = connect(f"{server.ws_url}/ws/lobby?{name}")
            return client

        with urllib.request.urlopen(server.url, timeout=TIMEOUT) as response:
            assert response.read() == b"hello"
        with join("Ann") as ann:
            assert ann.recv(TIMEOUT) == "Ann joined"
            with join("Bob") as bob:
                for client in (ann, bob):
                    assert client.recv(TIMEOUT) == "Bob joined"
                for number in range(1, 4):
                    ann.send("hello")
                    for client in (ann, bob):
                        assert client.recv(TIMEOUT) == f"Ann: hello (number {number})"
                    if number == 1:
                        assert server.reload().returncode == 0
                    elif number == 2:
                        server.kill_worker()
                        server.kill_worker()
            assert ann.recv(TIMEOUT) == "Bob left"


def test_a_consumer_leaves_its_group_when_it_is_cancelled(tmp_path: Path) -> None:
    PAGE.write_files(tmp_path)
    asgi = tmp_path / "project/asgi.py"
    text = asgi.read_text().replace("consumers import Chat", "grouped import Grouped as Chat")
    asgi.write_text(text)
    with (
        Server.start("project.asgi:application", workers=1, cwd=tmp_path) as server,
        connect(f"{server.ws_url}/ws/lobby") as ann,
    ):
        for _ in range(2):
            ann.send("hello")
            assert ann.recv(TIMEOUT) == "hello"
            assert server.reload().returncode == 0
        assert "Traceback" not in server.log()
