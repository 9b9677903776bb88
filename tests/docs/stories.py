"""What the applications on the pages are put through.

A story names its page and application, and gets a `Stage`: a server that runs it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close
from websockets.sync.client import connect

from tests.flow.server import Server, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.sync.client import ClientConnection

    from tests.docs.pages import Page

__all__ = ["APPLICATION", "STORIES", "Stage"]

# The file that an application is saved as, on every page.
APPLICATION = "chat.py"

TIMEOUT = 10.0  # seconds, per message


@dataclass(frozen=True)
class Stage:
    """A server that runs an application of a page from a directory."""

    page: Page
    directory: Path
    server: Server

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        client: ClientConnection = connect(self.server.ws_url + path, **options)
        return client

    def save(self, code: str) -> None:
        (self.directory / APPLICATION).write_text(code)

    def reload(self, code: str) -> None:
        self.save(code)
        done = self.server.reload()
        assert done.returncode == 0, done.stderr

    def request(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Make a request; the response can still be read."""
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT)
        # "close" has the response own the socket.
        client.request(method, path, body, {"connection": "close"} | (headers or {}))
        return client.getresponse()

    def refused(self, **options: Any) -> int:
        """Return the status with which a handshake is refused."""
        with pytest.raises(InvalidStatus) as refusal:
            self.connect(**options)
        return refusal.value.response.status_code


Story: TypeAlias = "Callable[[Stage], None]"

# Page, application, story.
STORIES: list[tuple[str, str, Story]] = []


def story(page: str, name: str) -> Callable[[Story], Story]:
    def register(function: Story) -> Story:
        STORIES.append((page, name, function))
        return function

    return register


def receive(*clients: ClientConnection) -> list[str | bytes]:
    """Return the next message of each."""
    return [client.recv(TIMEOUT) for client in clients]


@story("README.md", "chat")
def readme(stage: Stage) -> None:
    with stage.connect("/?name=Bob") as bob, stage.connect("/?name=Ann") as ann:
        bob.send("hello")
        assert receive(ann, bob) == ["Bob: hello", "Bob: hello"]


# --- the tutorial -------------------------------------------------------------------------------


@story("docs/tutorial.md", "page")
def hello(stage: Stage) -> None:
    def greeting(server: Server) -> str:
        with urllib.request.urlopen(server.url, timeout=TIMEOUT) as response:
            return str(response.read().decode())

    assert greeting(stage.server) == "<h1>Hello</h1>"
    with Server.start(APPLICATION, cwd=stage.directory, command="develop") as server:
        stage.save(stage.page.code("page").replace("Hello", "Good morning"))
        wait_for(lambda: greeting(server) == "<h1>Good morning</h1>", "the new greeting is there")


@story("docs/tutorial.md", "says")
def broken_code(stage: Stage) -> None:
    shown = stage.page.block("output", "says").code
    with stage.connect("/?name=Ann") as ann:
        assert receive(ann) == ["Welcome, Ann."]
        stage.save(stage.page.code("says") + "\n1 / 0\n")
        done = stage.server.reload()
        assert done.returncode == 1
        assert re.sub(r'"[^"]*/chat.py"', '"chat.py"', done.stderr) == shown.partition("\n")[2]
        ann.send("still here")
        assert receive(ann) == ["Ann says, as message 1: still here"]
        stage.reload(stage.page.code("says"))


@story("docs/tutorial.md", "lobby")
def failed_listener(stage: Stage) -> None:
    stage.save(
        stage.page.code("lobby").replace('    lobby.post_message(f"{member', "    1 / 0\n    #")
    )
    assert stage.server.reload().returncode == 0
    with stage.connect("/?name=Ann") as ann:
        assert receive(ann) == ["Welcome, Ann."]
        ann.send("lost")
        ann.send("/who")
        assert receive(ann) == ["here: Ann"]
        assert "ZeroDivisionError" in stage.server.log()


# --- how to know who connects -------------------------------------------------------------------

AUTHENTICATION = "docs/how-to/authentication.md"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def log_in(stage: Stage, name: str) -> dict[str, str]:
    """Log in with the form; return the header with the cookie."""
    response = stage.request("POST", "/login", f"name={name}", FORM)
    assert (response.status, response.headers["location"]) == (303, "/")
    return {"cookie": response.headers["set-cookie"].partition(";")[0]}


def as_sent(headers: dict[str, str]) -> dict[str, Any]:
    return {"additional_headers": headers}


@story(AUTHENTICATION, "cookie")
def cookie(stage: Stage) -> None:
    assert stage.refused() == 401
    assert stage.refused(**as_sent({"cookie": "session=guessed"})) == 401
    assert stage.request("GET", "/").status == 404
    with stage.connect(**as_sent(log_in(stage, "Ann"))) as ann:
        ann.send("who am I?")
        assert receive(ann) == ["you are Ann"]


@story(AUTHENTICATION, "bearer")
def bearer(stage: Stage) -> None:
    assert stage.refused() == 401
    assert stage.refused(**as_sent({"authorization": "Bearer t-nobody"})) == 401
    assert stage.refused(**as_sent({"authorization": "Bearer t-bob"})) == 403
    with stage.connect(**as_sent({"authorization": "bearer t-ann"})) as ann:
        ann.send("who am I?")
        assert receive(ann) == ["you are Ann"]
    with stage.connect(**as_sent({"authorization": "Bearer t-eve"})) as eve:
        eve.send("who am I?")
        with pytest.raises(ConnectionClosedError) as closed:
            eve.recv(TIMEOUT)
        assert closed.value.rcvd == Close(4401, "the token has expired")


@story(AUTHENTICATION, "subprotocol")
def subprotocol(stage: Stage) -> None:
    assert stage.refused() == 401
    assert stage.refused(subprotocols=["chat.v1", "token.t-eve"]) == 401
    assert stage.refused(subprotocols=["token.t-ann"]) == 401
    with stage.connect(subprotocols=["chat.v1", "token.t-ann"]) as ann:
        assert ann.subprotocol == "chat.v1"
        ann.send("who am I?")
        assert receive(ann) == ["you are Ann"]


@story(AUTHENTICATION, "windows")
def windows(stage: Stage) -> None:
    ann, bob = log_in(stage, "Ann"), log_in(stage, "Bob")
    with stage.connect(**as_sent(ann)), stage.connect(**as_sent(ann)):
        with stage.connect(**as_sent(ann)), stage.connect(**as_sent(bob)):
            assert stage.refused(**as_sent(ann)) == 429
        with stage.connect(**as_sent(ann)) as third:
            third.send("who am I?")
            assert receive(third) == ["you are Ann"]


@story(AUTHENTICATION, "cookie")
def origin(stage: Stage) -> None:
    headers = log_in(stage, "Ann")

    def status(server: Server, origin: str | None) -> int:
        sent = headers if origin is None else headers | {"origin": origin}
        try:
            with connect(server.ws_url, **as_sent(sent)) as ann:
                ann.send("who am I?")
                assert receive(ann) == ["you are Ann"]
                return 101
        except InvalidStatus as refusal:
            return refusal.response.status_code

    assert status(stage.server, None) == status(stage.server, stage.server.url) == 101
    assert status(stage.server, "https://chat.example") == 403
    assert "INFO holdfast.worker: GET '/': 403, 'pages of this origin" in stage.server.log()
    (shown,) = [block.code for block in stage.page.blocks if "--allow-origin" in block.code]
    _, options = shown.split("chat.py ")
    with Server.start(APPLICATION, *shlex.split(options), cwd=stage.directory) as server:
        assert status(server, "https://chat.example") == 101
        assert status(server, "https://blog.example.com") == 101
        assert status(server, "https://evil.example") == 403


@story(AUTHENTICATION, "logout")
def logout(stage: Stage) -> None:
    ann, bob = log_in(stage, "Ann"), log_in(stage, "Bob")
    with (
        stage.connect(**as_sent(ann)) as first,
        stage.connect(**as_sent(ann)) as second,
        stage.connect(**as_sent(bob)) as other,
    ):
        assert stage.request("POST", "/logout", headers=ann).status == 303
        for client in (first, second):
            with pytest.raises(ConnectionClosedError) as closed:
                client.recv(TIMEOUT)
            assert closed.value.rcvd == Close(4401, "logged out")
        other.send("still here")
        assert receive(other) == ["you are Bob"]
    assert stage.refused(**as_sent(ann)) == 401


# --- how to stream ------------------------------------------------------------------------------

STREAMING = "docs/how-to/streaming.md"
ANSWER = ["you", "asked", "about", "tea", "and", "I", "do", "not", "know"]


@story(STREAMING, "tokens")
def tokens(stage: Stage) -> None:
    def answer(attempt: int) -> list[dict[str, Any]]:
        words: list[dict[str, Any]] = [{"word": word} for word in ANSWER]
        return [{"attempt": attempt}, *words, {"done": True}]

    def next_answer() -> list[dict[str, Any]]:
        messages = [json.loads(ann.recv(TIMEOUT)) for _ in range(len(ANSWER) + 2)]
        assert len({message.pop("answer") for message in messages}) == 1
        return messages

    with stage.connect() as ann:
        ann.send("tea")
        assert next_answer() == answer(1)
        pids = stage.server.worker_pids()
        ann.send("tea")
        first = [json.loads(ann.recv(TIMEOUT)) for _ in range(3)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        # More of the first attempt may be on its way, but not its end.
        message = json.loads(ann.recv(TIMEOUT))
        while "attempt" not in message:
            assert "done" not in message
            message = json.loads(ann.recv(TIMEOUT))
        assert (message["answer"], message["attempt"] > 1) == (first[0]["answer"], True)
        rest = [json.loads(ann.recv(TIMEOUT)) for _ in range(len(ANSWER) + 1)]
        assert [message.get("word") for message in rest] == [*ANSWER, None]


@story(STREAMING, "tokens")
def too_slow(stage: Stage) -> None:
    fast, slow = stage.page.code("tokens"), stage.page.code("tokens").replace("0.02", "1")
    stage.save(slow)
    with (
        Server.start(APPLICATION, "--drain-timeout", "0.2", cwd=stage.directory) as server,
        connect(server.ws_url) as ann,
    ):
        ann.send("tea")
        assert json.loads(ann.recv(TIMEOUT))["attempt"] == 1
        stage.save(fast)
        assert server.reload().returncode == 0
        while "attempt" not in (message := json.loads(ann.recv(TIMEOUT))):
            assert "done" not in message
        assert message["attempt"] == 2
        while "done" not in json.loads(ann.recv(TIMEOUT)):
            pass
    # Looked after once a second; until then, some words are flushed.
    stage.save(slow.replace("sleep(1)", "sleep(0.3)"))
    with (
        Server.start(APPLICATION, "--event-timeout", "0.1", cwd=stage.directory) as server,
        connect(server.ws_url) as ann,
    ):
        ann.send("tea")
        ann.send("cake")
        assert json.loads(ann.recv(TIMEOUT))["attempt"] == 1
        while "attempt" not in (message := json.loads(ann.recv(TIMEOUT))):
            assert "done" not in message


@story(STREAMING, "stoppable")
def stoppable(stage: Stage) -> None:
    with stage.connect() as ann, stage.connect() as bob:
        ann.send("tick tack")
        bob.send("on and on")
        assert receive(ann, bob, ann) == ["tick", "on", "tack"]
        ann.send("stop")
        while (word := ann.recv(TIMEOUT)) != "(stopped)":
            assert word in {"tick", "tack"}
        ann.send("again")
        assert receive(ann, ann) == ["again", "again"]
        ann.send("something else")
        while (word := ann.recv(TIMEOUT)) != "(stopped)":
            assert word == "again"
        assert ann.recv(TIMEOUT) == "something"
        assert bob.recv(TIMEOUT) in {"on", "and"}


@story(STREAMING, "order")
def order(stage: Stage) -> None:
    # As if the worker died when it had written and not yet sent.
    dies = "    if event.attempt == 1:\n        __import__('os')._exit(1)\n    (count,)"
    stage.reload(stage.page.code("order").replace("    (count,)", dies))
    with stage.connect() as ann:
        for count in (1, 2):
            ann.send("tea")
            assert receive(ann) == [f"{count} ordered"]


@story(STREAMING, "seats")
def seats(stage: Stage) -> None:
    # As if the worker died when it had written and not yet sent.
    dies = "    if event.attempt == 1:\n        __import__('os')._exit(1)\n    event.source.send("
    stage.reload(stage.page.code("seats").replace("    event.source.send(", dies))
    with stage.connect() as ann, stage.connect() as bob:
        for client, answer in ((ann, "it is yours"), (bob, "it is taken")):
            client.send("7a")
            assert receive(client) == [answer]


@story(STREAMING, "events")
def events(stage: Stage) -> None:
    def subscribe() -> http.client.HTTPResponse:
        response = stage.request("GET", "/events")
        assert response.headers["content-type"] == "text/event-stream"
        assert response.readline() == b"retry: 500\n"
        assert response.readline() == b"\n"
        return response

    def post(news: object) -> None:
        assert stage.request("POST", "/news", json.dumps(news)).status == 202

    with subscribe() as first, subscribe() as second:
        post("line 1\nline 2")
        for reader in (first, second):
            assert reader.readline() == b'data: "line 1\\nline 2"\n'
        assert stage.server.reload().returncode == 0
        # Complete: http.client raises IncompleteRead otherwise.
        assert (first.read(), second.read()) == (b"\n", b"\n")
    with subscribe() as again:
        post({"n": 1})
        assert again.readline() == b'data: {"n": 1}\n'


# --- how to change the shape of data ------------------------------------------------------------

ATTACHMENTS = "docs/how-to/attachments.md"


@story(ATTACHMENTS, "second")
def close_events_upgrade_too(stage: Stage) -> None:
    stage.reload(stage.page.code("first"))
    with stage.connect("/?name=Ann%20Lee"):
        stage.reload(stage.page.code("second"))
    wait_for(lambda: "Lee left\n" in stage.server.log(), "the close event was handled")


@story(ATTACHMENTS, "default")
def keys_with_a_default(stage: Stage) -> None:
    stage.reload(stage.page.code("first"))
    with stage.connect("/?name=Ann") as ann:
        stage.reload(stage.page.code("default"))
        for count in (1, 2):
            ann.send("hello")
            assert receive(ann, ann) == ["Ann: hello", f"that makes {count}"]


@story(ATTACHMENTS, "first")
def what_data_can_hold(stage: Stage) -> None:
    cart = "    if event.data == 'bad':\n        event.source.data['cart'] = [1, 2, 3, Decimal(1)]"
    stage.reload(f"from decimal import Decimal\n\n{stage.page.code('first')}\n{cart}\n")
    with stage.connect("/?name=Ann") as ann:
        ann.send("bad")
        ann.send("good")
        assert receive(ann) == ["Ann: good"]
        assert "data['cart'][3] is a Decimal; " in stage.server.log()


@story(ATTACHMENTS, "before")
@story(ATTACHMENTS, "after")
def room_that_is_gone(stage: Stage) -> None:
    stage.reload(stage.page.code("before"))
    with stage.connect("/tea") as ann, stage.connect("/coffee") as bob:
        for client, room in ((ann, "tea"), (bob, "coffee")):
            client.send("hello")
            assert receive(client) == [f"in {room}: hello"]
        stage.reload(stage.page.code("after"))
        ann.send("still here?")
        with pytest.raises(ConnectionClosedError) as closed:
            ann.recv(TIMEOUT)
        assert closed.value.rcvd == Close(4404, "this room is gone")
        bob.send("hello")
        assert receive(bob) == ["in coffee: hello"]
        with pytest.raises(InvalidStatus, match="404"):
            stage.connect("/tea")


# --- how to reach many --------------------------------------------------------------------------

CHANNELS = "docs/how-to/channels.md"


@story(CHANNELS, "settings")
def settings(stage: Stage) -> None:
    def is_seen_by_all(color: bytes) -> bool:
        return {stage.request("GET", "/color").read() for _ in range(20)} == {color}

    assert is_seen_by_all(b"")
    for color in (b"red", b"blue"):
        assert stage.request("PUT", "/color", color.decode()).status == 204
        wait_for(partial(is_seen_by_all, color), f"all workers see {color!r}")


# --- how to check what clients send --------------------------------------------------------------


@story("docs/how-to/messages.md", "text-only")
def text_only(stage: Stage) -> None:
    with stage.connect() as ann:
        ann.send("hello")
        assert receive(ann) == ["HELLO"]
        ann.send(b"hello")
        with pytest.raises(ConnectionClosedError) as closed:
            ann.recv(TIMEOUT)
        assert closed.value.rcvd == Close(1003, "text, please")


# --- how to do work beside events ---------------------------------------------------------------

BACKGROUND = "docs/how-to/background-work.md"


@story(BACKGROUND, "resources")
def resources(stage: Stage) -> None:
    assert stage.request("GET", "/").read() == b"hello"
    stage.reload(stage.page.code("resources"))
    wait_for(lambda: stage.server.log().count("the pool is closed") == 2, "the old workers left")
    assert stage.request("GET", "/").read() == b"hello"


@story(BACKGROUND, "ticker")
def ticker(stage: Stage) -> None:
    with stage.connect() as ann:
        assert receive(ann, ann) == ["tick", "tick"]
        stage.reload(stage.page.code("ticker"))
        assert receive(ann, ann) == ["tick", "tick"]


@story(BACKGROUND, "blocking")
def blocking(stage: Stage) -> None:
    with stage.connect() as ann:
        ann.send("secret")
        key = hashlib.scrypt(b"secret", salt=b"salt", n=2**14, r=8, p=1)
        assert receive(ann) == [key.hex()[:16]]


# --- other servers ------------------------------------------------------------------------------


@story("docs/how-to/other-servers.md", "settings")
@story("docs/how-to/other-servers.md", "below")
def served_by_holdfast_too(stage: Stage) -> None:
    """What other servers make of these is in tests/docs/test_other_servers.py."""
    with stage.connect("/?name=Ann") as ann:
        ann.send("hello")
        assert receive(ann) == ["Ann: hello"]


# --- how endpoints go on ------------------------------------------------------------------------

RESUME = "docs/how-to/resume.md"


@story(RESUME, "plain")
def plain(stage: Stage) -> None:
    with stage.connect("/ws") as ann:
        ann.send("a")
        assert receive(ann) == ["a, message 1"]
        stage.reload(stage.page.code("plain"))
        ann.send("b")
        assert receive(ann) == ["b, message 1"]


@story(RESUME, "kept")
def kept(stage: Stage) -> None:
    with stage.connect("/ws?name=Ann") as ann:
        assert receive(ann) == ["Welcome, Ann."]
        for number in range(1, 4):
            ann.send("a")
            assert receive(ann) == [f"a, message {number}"]
            if number == 1:
                stage.reload(stage.page.code("kept"))
            elif number == 2:
                stage.server.kill_worker()
                stage.server.kill_worker()


@story(RESUME, "both")
def both(stage: Stage) -> None:
    with stage.connect("/ws?name=Ann") as ann:
        ann.send("a")
        assert receive(ann) == ["a, Ann"]
        stage.reload(stage.page.code("both"))
        ann.send("b")
        assert receive(ann) == ["b, Ann"]
        assert "left" not in stage.server.log()
    wait_for(lambda: "Ann left" in stage.server.log(), "the endpoint knows that its client left")


@story(RESUME, "close")
def close(stage: Stage) -> None:
    with stage.connect("/game") as ann, stage.connect("/chat") as bob:
        stage.reload(stage.page.code("close"))
        with pytest.raises(ConnectionClosedError) as closed:
            ann.recv(TIMEOUT)
        assert closed.value.rcvd == Close(1012, "")
        bob.send("b")
        assert receive(bob) == ["b"]


# --- how to serve FastAPI -----------------------------------------------------------------------

FASTAPI = "docs/how-to/fastapi.md"


@story(FASTAPI, "counting")
def counting(stage: Stage) -> None:
    with stage.connect("/ws") as ann:
        for number in (1, 2):
            ann.send("a")
            assert receive(ann) == [f"{number}: a"]
            stage.reload(stage.page.code("counting"))


@story(FASTAPI, "beside")
def beside(stage: Stage) -> None:
    assert stage.request("GET", "/").read() == b"<h1>Items</h1>"
    assert json.loads(stage.request("GET", "/api/items/1").read()) == {"number": 1}
    assert stage.request("GET", "/nothing").status == 404
    with stage.connect("/ws") as ann:
        ann.send("a")
        assert receive(ann) == ["a"]


@story(FASTAPI, "portable")
def portable(stage: Stage) -> None:
    with stage.connect("/ws") as ann:
        assert receive(ann) == ["welcome"]
        stage.reload(stage.page.code("portable"))
        ann.send("a")
        assert receive(ann) == ["a"]
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "chat:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=stage.directory, stderr=subprocess.DEVNULL) as uvicorn:
        try:
            wait_for(lambda: _greeted(port), "uvicorn serves it too")
        finally:
            uvicorn.terminate()


def _greeted(port: int) -> bool:
    try:
        with connect(f"ws://127.0.0.1:{port}/ws") as client:
            return bool(client.recv(TIMEOUT) == "welcome")
    except OSError:
        return False
