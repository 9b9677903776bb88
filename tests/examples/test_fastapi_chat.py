"""The FastAPI chat: nobody is welcomed twice, and nothing that is said is lost."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from examples.fastapi_chat import app as chat
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from holdfast import ServiceWorker
from holdfast.testing import TestClient
from tests.flow.server import ROOT, Server
from tests.testing.runner import in_real_loop

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from holdfast.testing import WebSocket

TIMEOUT = 20.0  # seconds


def application() -> ServiceWorker:
    app = ServiceWorker()
    app.mount(chat.app)
    return app


async def next_of(ws: WebSocket) -> tuple[str, str, str]:
    message = json.loads(await ws.receive())
    return message["kind"], message.get("name", ""), message["text"]


@in_real_loop
async def test_people_talk_over_crashes_and_reloads() -> None:
    async with TestClient(application()) as client, client.connect("/ws?name=Ann") as ann:
        assert await next_of(ann) == ("welcome", "", chat.GREETING)
        assert await next_of(ann) == ("join", "Ann", "")
        async with client.connect("/ws?name=Bob") as bob:
            assert await next_of(ann) == ("join", "Bob", "")
            assert [(await next_of(bob))[0] for _ in range(2)] == ["welcome", "join"]
            for number in range(1, 4):
                await ann.send(f"hello {number}")
                for each in (ann, bob):
                    assert await next_of(each) == ("say", f"Ann ({number})", f"hello {number}")
                await (client.crash_worker() if number == 1 else client.reload(application()))
        assert await next_of(ann) == ("leave", "Bob", "")
        assert client.errors == []


@in_real_loop
async def test_rooms_are_apart() -> None:
    async with (
        TestClient(application()) as client,
        client.connect("/ws?name=Ann&room=one") as ann,
        client.connect("/ws?name=Eve&room=two") as eve,
    ):
        await ann.send("a secret")
        await client.settle()
        kinds = [(await next_of(ann))[0] for _ in range(3)]
        assert kinds == ["welcome", "join", "say"]
        await eve.send("hello")
        assert [(await next_of(eve))[:2] for _ in range(3)][2] == ("say", "Eve (1)")


@pytest.fixture(scope="module")
def server() -> Any:
    with Server.start(ROOT / "examples/fastapi_chat/app.py") as running:
        yield running


def test_the_page_and_the_documentation_are_there(server: Server) -> None:
    for path in ("/", "/docs"):
        with urllib.request.urlopen(server.url + path, timeout=TIMEOUT) as response:
            assert b"chat" in response.read()


def test_who_has_no_name_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/ws"):
        pass
    assert refused.value.response.status_code == 403


def test_two_workers_are_one_room_and_stay_so(server: Server) -> None:
    def next_say(client: ClientConnection) -> str:
        while (message := json.loads(client.recv(TIMEOUT)))["kind"] != "say":
            assert message["kind"] != "leave"
        return str(message["text"])

    url = f"{server.ws_url}/ws?room=here&name="
    with connect(f"{url}Ann") as ann, connect(f"{url}Bob") as bob, connect(f"{url}Cy") as cy:
        for number in range(30):
            if number == 10:
                assert server.reload().returncode == 0
            if number == 20:
                os.kill(server.worker_pids()[0], signal.SIGKILL)
            (ann, bob, cy)[number % 3].send(str(number))
            # Everybody gets everything, once: also who is just on its way to another worker.
            for client in (ann, bob, cy):
                assert next_say(client) == str(number)
