"""Channels across workers: who hears what, in which order, and how a stream of one ends."""

from __future__ import annotations

import http.client
import json
import urllib.request
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMS = ROOT / "tests/flow/apps/rooms.py"


class Rooms:
    """A server that runs `apps/rooms.py`."""

    def __init__(self, server: Server, journal: Path) -> None:
        self.server = server
        self._journal = journal

    def journal(self) -> list[tuple[int, str]]:
        """Return what was noted: pid and line."""
        lines = [line.split(" ", 1) for line in self._journal.read_text().splitlines()]
        return [(int(pid), line) for pid, line in lines]

    def noted(self, line: str) -> list[int]:
        """Return the pids that noted `line`."""
        return [pid for pid, noted in self.journal() if noted == line]

    def wait_until_noted(self, line: str, times: int) -> list[int]:
        wait_for(lambda: len(self.noted(line)) == times, f"{line} is noted {times} times")
        return self.noted(line)

    def heard(self, pid: int) -> list[str]:
        """Return what `ears` heard in one worker, in order."""
        return [line[5:] for noted, line in self.journal() if noted == pid and line[:4] == "ears"]

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.server.url + path, timeout=10) as response:
            return str(response.read().decode())

    def stream(self) -> http.client.HTTPResponse:
        """Begin to read events; return the response at the end of its first line."""
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        # "close" has the response own the socket.
        client.request("GET", "/events", headers={"connection": "close"})
        response = client.getresponse()
        assert response.readline() == b"data: listening\n"
        return response


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    journal = tmp_path / "journal"
    journal.touch()
    with Server.start(ROOMS, env={"JOURNAL": str(journal)}) as server:
        yield Rooms(server, journal)


def join(stack: ExitStack, rooms: Rooms, name: str) -> tuple[ClientConnection, str]:
    """Connect; return the connection and its id."""
    ws = stack.enter_context(connect(f"{rooms.server.ws_url}/{name}"))
    return ws, str(ws.recv(10))


def ask(ws: ClientConnection, do: str, **what: Any) -> None:
    ws.send(json.dumps({"do": do} | what))


def test_a_post_reaches_every_subscribed_connection_and_every_other_channel(rooms: Rooms) -> None:
    with ExitStack() as stack:
        members = [join(stack, rooms, name)[0] for name in "abcd"]
        ask(members[0], "post", what="hello")
        assert [ws.recv(10) for ws in members] == ["hello"] * 4
        ask(members[1], "post bytes", what=[0, 255])
        assert [ws.recv(10) for ws in members] == [b"\0\xff"] * 4
        ask(members[2], "post", what={"n": [1, None]})
        assert [json.loads(ws.recv(10)) for ws in members] == [{"n": [1, None]}] * 4
    workers = set(rooms.server.worker_pids())
    for line in ('"hello"', '{"n": [1, null]}'):
        assert set(rooms.wait_until_noted(f"ears {line}", 2)) == workers
        # The object that posted does not hear itself; its namesake in the other worker does.
        assert len(set(rooms.noted(f"lobby {line}"))) == 1


def test_posts_of_one_publisher_arrive_in_order(rooms: Rooms) -> None:
    with ExitStack() as stack:
        ws, _ = join(stack, rooms, "a")
        other, _ = join(stack, rooms, "b")
        for number in range(200):
            ask(ws, "post", what=number)
        expected = [str(number) for number in range(200)]
        assert [other.recv(10) for _ in range(200)] == expected
    for line in expected:
        rooms.wait_until_noted(f"ears {line}", 2)
    for pid in rooms.server.worker_pids():
        assert rooms.heard(pid) == expected


def test_a_channel_streams_into_a_response_that_ends_with_its_worker(rooms: Rooms) -> None:
    with ExitStack() as stack:
        ws, _ = join(stack, rooms, "a")
        response = stack.enter_context(closing(rooms.stream()))
        assert response.readline() == b"\n"
        ask(ws, "post", what="news")
        assert response.readline() == b"data: news\n"
        assert rooms.server.reload().returncode == 0
        # The complete end of a chunked body: http.client would raise IncompleteRead otherwise.
        assert response.read() == b"\n"
        assert len(rooms.noted("stream ended")) == 1
        ask(ws, "post", what="after the reload")
        assert ws.recv(10) == "news"
        assert ws.recv(10) == "after the reload"


def test_a_stream_ends_when_its_reader_leaves(rooms: Rooms) -> None:
    rooms.stream().close()
    rooms.wait_until_noted("stream ended", 1)


# -- clients


def test_every_connection_of_the_machine_is_found_from_any_worker(rooms: Rooms) -> None:
    # The model differs: there, a worker sees its own connections only.
    with ExitStack() as stack:
        names = [f"user{number}" for number in range(20)]
        for name in names:
            join(stack, rooms, name)
        for _ in range(4):
            assert json.loads(rooms.get("/clients")) == names
        assert json.loads(rooms.get("/clients?channel=lobby&limit=3")) == names[:3]
        assert json.loads(rooms.get("/clients?channel=cellar")) == []


def test_a_found_connection_can_be_sent_to(rooms: Rooms) -> None:
    with ExitStack() as stack:
        ann, _ = join(stack, rooms, "ann")
        bob, bobs_id = join(stack, rooms, "bob")
        ask(ann, "send to", id=bobs_id)
        assert bob.recv(10) == "from ann to bob"
        ask(bob, "find later")
        assert bob.recv(10) == "found 2"
        bob.close()
        wait_for(lambda: json.loads(rooms.get("/clients")) == ["ann"], "bob is gone")
        ask(ann, "send to", id=bobs_id)
        assert ann.recv(10) == "nobody"


def test_a_fetch_event_can_close_found_connections(rooms: Rooms) -> None:
    with ExitStack() as stack:
        members = [join(stack, rooms, name)[0] for name in "ab"]
        rooms.get("/kick")
        for ws in members:
            with pytest.raises(Exception, match="4000"):
                ws.recv(10)
        wait_for(lambda: json.loads(rooms.get("/clients")) == [], "all are gone")
