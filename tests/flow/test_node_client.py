"""A client that is not ours, and not of this language: the ws package on Node."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.flow.conftest import Story

NODE = shutil.which("node")
CLIENT = ROOT / "tests/node/client.mjs"
ECHO = ROOT / "examples/echo/app.py"

if NODE is None:
    pytest.skip("not installed: node", allow_module_level=True)
if not (ROOT / "tests/node/node_modules/ws").is_dir():
    pytest.skip("no ws: run `npm install` in tests/node", allow_module_level=True)

TIMEOUT = 15.0  # seconds
MIB = 1024 * 1024


class NodeClient:
    """One connection of tests/node/client.mjs. Make it with `open_client`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._events: SimpleQueue[str] = SimpleQueue()
        # A pipe has no timeout of its own.
        self._reader = Thread(target=self._read)
        self._reader.start()

    def do(self, command: str, **parameters: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **parameters}) + "\n")
        self._process.stdin.flush()

    def send_bytes(self, data: bytes, *, binary: bool = True, fin: bool = True) -> None:
        self.do("send", base64=base64.b64encode(data).decode(), binary=binary, fin=fin)

    def next_event(self) -> dict[str, Any]:
        """Wait for what happens next: {"event": "text", "text": "hello"}."""
        try:
            event: dict[str, Any] = json.loads(self._events.get(timeout=TIMEOUT))
        except Empty:
            raise AssertionError(f"the ws client has nothing to tell in {TIMEOUT:g} s") from None
        return event

    def receive(self) -> str | bytes:
        """Wait for the next message; nothing else may come before it."""
        match self.next_event():
            case {"event": "text", "text": str(text)}:
                return text
            case {"event": "binary", "base64": str(encoded)}:
                return base64.b64decode(encoded)
            case event:
                raise AssertionError(f"not a message: {event}")

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(line)


@contextmanager
def open_client(server: Server, path: str) -> Iterator[NodeClient]:
    command = [str(NODE), str(CLIENT), server.ws_url + path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            client = NodeClient(process)
            assert client.next_event() == {"event": "open"}
            yield client
            client.end()
        except BaseException:
            process.kill()
            raise


def test_echo_example_sends_back_what_comes_in() -> None:
    with Server.start(ECHO) as server, open_client(server, "/") as client:
        client.do("send", text="hello")
        assert client.receive() == "hello"
        server.kill_worker()
        assert server.reload().returncode == 0
        client.send_bytes(b"hello again")
        assert client.receive() == b"hello again"


def test_text_and_binary_come_back_as_they_were(shared_story: Story) -> None:
    with open_client(shared_story.server, "/echo") as client:
        client.do("send", text="zażółć gęślą jaźń 🪢")
        assert client.receive() == "zażółć gęślą jaźń 🪢"
        client.send_bytes(bytes(range(256)))
        assert client.receive() == bytes(range(256))
        client.do("send", text="")
        assert client.receive() == ""


def test_fragments_become_one_message(shared_story: Story) -> None:
    rope = "🪢".encode()
    with open_client(shared_story.server, "/echo") as client:
        client.send_bytes(b"tied " + rope[:1], binary=False, fin=False)
        client.send_bytes(rope[1:3], binary=False, fin=False)
        client.send_bytes(rope[3:], binary=False)
        assert client.receive() == "tied 🪢"
        client.send_bytes(b"\xff", fin=False)
        client.send_bytes(b"", fin=False)
        client.send_bytes(b"\x00")
        assert client.receive() == b"\xff\x00"


def test_ping_gets_its_pong_even_between_fragments(shared_story: Story) -> None:
    with open_client(shared_story.server, "/echo") as client:
        client.do("ping", text="are you there?")
        assert client.next_event() == {"event": "pong", "text": "are you there?"}
        client.do("send", text="first, ", fin=False)
        client.do("ping", text="")
        client.do("send", text="last")
        assert client.next_event() == {"event": "pong", "text": ""}
        assert client.receive() == "first, last"


def test_close_of_the_client_reaches_the_listener_and_is_answered(shared_story: Story) -> None:
    with open_client(shared_story.server, "/echo") as client:
        client.do("close", code=4321, reason="genug für heute")
        closed = client.next_event()
        assert (closed["event"], closed["code"]) == ("close", 4321)
        wait_for(
            lambda: "close echo 4321 genug für heute" in shared_story.journal(),
            "the close event is dispatched",
        )


def test_close_of_the_listener_reaches_the_client(shared_story: Story) -> None:
    with open_client(shared_story.server, "/close-me") as client:
        client.do("send", text="please")
        assert client.next_event() == {"event": "close", "code": 4002, "reason": "as you wish"}


def test_message_over_the_limit_closes_with_1009_and_one_at_the_limit_does_not(
    shared_story: Story,
) -> None:
    with open_client(shared_story.server, "/echo") as client:
        client.do("send", text="x" * MIB)
        assert client.receive() == "x" * MIB
        client.do("send", text="x" * (MIB + 1))
        closed = client.next_event()
        assert (closed["event"], closed["code"]) == ("close", 1009)


def test_burst_comes_back_in_order(shared_story: Story) -> None:
    count = 2000
    with open_client(shared_story.server, "/echo") as client:
        client.do("count", first=0, end=count)
        assert [client.receive() for _ in range(count)] == [str(n) for n in range(count)]


def test_burst_survives_the_death_of_every_worker(story: Story) -> None:
    # The path counts what it got in the connection's data and answers "count:message". So a
    # message that was lost, doubled or overtaken shows, and so does a count that went back.
    part = 2500
    workers = story.server.worker_pids()
    with open_client(story.server, "/counter") as client:
        client.do("count", first=0, end=part)
        answers = [client.receive()]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        client.do("count", first=part, end=2 * part)
        answers += [client.receive() for _ in range(2 * part - 1)]
        assert answers == [f"{number + 1}:{number}" for number in range(2 * part)]
        # Nothing more comes than what was asked for.
        client.do("ping", text="the end")
        assert client.next_event() == {"event": "pong", "text": "the end"}
    assert not set(workers) & set(story.server.worker_pids())
