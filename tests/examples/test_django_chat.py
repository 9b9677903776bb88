"""The Django chat: several workers, no channel layer, and nobody is welcomed twice."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.flow.server import ROOT, Server

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

TIMEOUT = 20.0  # seconds


@pytest.fixture(scope="module")
def server() -> Any:
    with Server.start("project.asgi:application", cwd=ROOT / "examples/django_chat") as running:
        yield running


def test_the_page_is_there(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/?room=x", timeout=TIMEOUT) as response:
        assert b"<h1>x</h1>" in response.read()


@pytest.mark.parametrize("path", ["/ws/lobby", "/elsewhere"])
def test_who_has_no_name_or_no_room_is_refused(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus), connect(server.ws_url + path):
        pass


def test_pages_of_strangers_are_refused(server: Server) -> None:
    url, origin = f"{server.ws_url}/ws/lobby?name=Eve", Origin("https://evil.example")
    with pytest.raises(InvalidStatus) as refused, connect(url, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_people_talk_over_reloads_and_kills(server: Server) -> None:
    def next_of(client: ClientConnection) -> tuple[str, str, str]:
        message = json.loads(client.recv(TIMEOUT))
        return message["kind"], message.get("name", ""), message.get("text", "")

    def join(name: str) -> ClientConnection:
        # Of a page of its own: AllowedHostsOriginValidator wants to know whose it is.
        url = f"{server.ws_url}/ws/here?name={name}"
        client: ClientConnection = connect(url, origin=Origin(server.url))
        return client

    with join("Ann") as ann:
        assert next_of(ann) == ("welcome", "", "Welcome, Ann.")
        assert next_of(ann) == ("join", "Ann", "")
        with join("Bob") as bob:
            assert [next_of(bob)[0] for _ in range(2)] == ["welcome", "join"]
            assert next_of(ann) == ("join", "Bob", "")
            for number in range(20):
                if number == 5:
                    assert server.reload().returncode == 0
                if number == 12:
                    for pid in server.worker_pids():
                        os.kill(pid, signal.SIGKILL)
                (ann, bob)[number % 2].send(json.dumps({"text": str(number)}))
                for client in (ann, bob):
                    assert next_of(client) == ("say", ("Ann", "Bob")[number % 2], str(number))
        assert next_of(ann) == ("leave", "Bob", "")
