"""What an event may do, when it comes, and how often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.flow.raw import CLOSE, RawClient, client_frame, handshake
from tests.flow.server import ROOT, Server, free_port, is_alive, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVENTS = ROOT / "tests/flow/apps/events.py"


class Place:
    """What the application notes, and the gates it waits at."""

    def __init__(self, directory: Path) -> None:
        self._journal = directory / "journal"
        self._journal.touch()
        self._gates = directory / "gates"
        self._gates.mkdir()
        self.env = {"JOURNAL": str(self._journal), "GATES": str(self._gates)}

    def open_gate(self, name: str) -> None:
        (self._gates / name).touch()

    def journal(self) -> list[str]:
        return [line.partition(" ")[2] for line in self._journal.read_text().splitlines()]

    def journal_by_process(self) -> list[list[str]]:
        """Return what each process has noted, in the order of their first notes."""
        by_pid: dict[str, list[str]] = {}
        for line in self._journal.read_text().splitlines():
            pid, _, rest = line.partition(" ")
            by_pid.setdefault(pid, []).append(rest)
        return list(by_pid.values())

    def wait_until_noted(self, line: str) -> None:
        wait_for(lambda: line in self.journal(), f"{line!r} is noted")


class Events(Place):
    """A server that runs `apps/events.py`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server: Server

    @contextmanager
    def serve(self) -> Iterator[Events]:
        self.open_gate("install")
        with Server.start(EVENTS, env=self.env) as self.server:
            yield self

    def connect(self, name: str, **headers: str) -> ClientConnection:
        return connect(f"{self.server.ws_url}/{name}", additional_headers=headers)

    def wait_until_empty(self) -> None:
        """Wait until no connection is left: each has had its last event."""
        wait_for(lambda: self.server.status()["connections"] == 0, "no connection is left")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Events]:
    """One server for the tests that leave it as they found it."""
    with Events(tmp_path_factory.mktemp("events")).serve() as events:
        yield events


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    """A server of its own for a test that replaces code or kills processes."""
    with Events(tmp_path).serve() as events:
        yield events


def order(do: str, **what: Any) -> str:
    return json.dumps({"do": do} | what)


def ask(ws: ClientConnection, do: str, **what: Any) -> str:
    """Order something; return the next message."""
    ws.send(order(do, **what))
    return str(ws.recv(10))


# -- the lifecycle


@contextmanager
def starting(place: Place, run: Path) -> Iterator[int]:
    """Start a server and do not wait for it; yield its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "serve", f"{EVENTS}:app", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"HOLDFAST_RUN_DIR": str(run)} | place.env,
    )
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def test_request_that_comes_before_the_application_is_ready_waits_for_it(tmp_path: Path) -> None:
    # The model differs: there, it fails when that takes longer than a request may.
    # The model differs: there, it fails. B11: import, install, activate, startup, and only then
    # requests. B14: whoever comes first waits for all of them.
    place = Place(tmp_path)
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    with starting(place, run) as port:
        place.wait_until_noted("install installing")
        with RawClient(port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            client.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.socket.recv(1)
            client.socket.settimeout(10)
            place.open_gate("install")
            assert client.receive_head().startswith(b"HTTP/1.1 200 ")
            assert client.receive_rest() == b"activated"
        wait_for(lambda: place.journal().count("startup activated") == 2, "both have started")
    first, second = place.journal_by_process()
    assert "fetch activated" in first + second
    lifecycle = ["import parsed", "install installing", "activate activating", "startup activated"]
    assert [line for line in first if "fetch" not in line] == lifecycle
    # The model differs: there, every worker runs all of it.
    assert [line for line in second if "fetch" not in line] == [lifecycle[0], lifecycle[3]]


def test_worker_in_the_place_of_a_dead_one_starts_up_and_does_not_install(events: Events) -> None:
    events.server.kill_worker()
    *_, last = events.journal_by_process()
    assert last == ["import parsed", "startup activated"]
    assert events.journal().count("install installing") == 1


# -- upgrading


def test_listener_may_find_out_first_who_it_is_and_then_accept_and_subscribe(
    shared: Events,
) -> None:
    # The model differs: there, whoever has waited is too late to accept, reject or subscribe.
    with RawClient(shared.server.port) as client:
        client.send(handshake("/private", "Cookie: token=wrong"))
        assert client.receive_head().startswith(b"HTTP/1.1 401 ")
        assert client.receive_rest() == b"who are you?"
    with shared.connect("private", Cookie="token=right") as ws:
        assert json.loads(ask(ws, "say channels")) == ["everyone"]
        assert ask(ws, "publish", channel="everyone", what="welcome") == "welcome"


# -- connections


def test_each_connection_has_an_id_and_messages_of_its_own(shared: Events) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(shared.connect(f"member{n}")) for n in range(5)]
        assert len({ask(ws, "say id") for ws in members}) == 5
        for number, ws in enumerate(members):
            ws.send(order("say", what=f"to {number}"))
        assert [ws.recv(10) for ws in members] == [f"to {n}" for n in range(5)]


def test_id_of_a_connection_outlives_its_workers_and_its_code(events: Events) -> None:
    with events.connect("lasting") as ws:
        ids = {ask(ws, "say id")}
        for pid in events.server.worker_pids():
            events.server.kill_worker(pid)
        ids.add(ask(ws, "say id"))
        assert events.server.reload().returncode == 0
        ids.add(ask(ws, "say id"))
    assert len(ids) == 1


def test_message_listener_subscribes_and_unsubscribes_its_source(shared: Events) -> None:
    with shared.connect("one") as one, shared.connect("other") as other:
        for name in "ab":
            one.send(order("subscribe", channel=name))
        assert json.loads(ask(one, "say channels")) == ["a", "b", "everyone"]
        other.send(order("subscribe", channel="b"))
        assert json.loads(ask(other, "say channels")) == ["b", "everyone"]
        assert ask(one, "publish", channel="a", what="only one") == "only one"
        assert ask(one, "publish", channel="b", what="both") == other.recv(10) == "both"
        one.send(order("unsubscribe", channel="b"))
        one.send(order("publish", channel="b", what="only other"))
        assert other.recv(10) == "only other"
        assert ask(one, "say", what="nothing in between") == "nothing in between"


@pytest.mark.parametrize("value", [{"n": [1, None]}, [], 5, None, True])
def test_other_plain_data_reaches_a_connection_as_json(shared: Events, value: object) -> None:
    # The model differs: there, it reaches nobody.
    with shared.connect("json") as ws:
        assert json.loads(ask(ws, "publish", channel="everyone", what=value)) == value


@pytest.mark.parametrize("kind", ["fetch", "message"])
def test_work_passed_to_wait_until_is_finished_though_its_worker_is_replaced(
    events: Events, kind: str
) -> None:
    # The model differs: there, nobody waits for that of a fetch event.
    with events.connect("waiting") as ws:
        if kind == "fetch":
            urllib.request.urlopen(f"{events.server.url}/publish-later", timeout=10).close()
        else:
            ws.send(order("publish later"))
        assert ask(ws, "say", what="not delayed") == "not delayed"
        old = set(events.server.worker_pids())
        assert events.server.reload().returncode == 0
        # The other one has nothing to wait for.
        wait_for(lambda: len(old & set(events.server.pids())) == 1, "one old worker is gone")
        events.open_gate("work")
        assert ws.recv(10) == f"from a {kind}"
    wait_for(lambda: not any(map(is_alive, old)), "both are gone")


# -- closing


def test_messages_that_come_after_the_application_has_closed_are_still_events(
    shared: Events,
) -> None:
    # What they send goes nowhere (A39); nothing follows a close frame.
    with RawClient(shared.server.port) as client:
        client.open("/leaving")
        client.send(client_frame(order("close")))
        client.send(client_frame(order("note", what="still here")))
        client.send(client_frame(order("say", what="too late")))
        shared.wait_until_noted("leaving says still here")
        frame = client.receive_frame()
        assert (frame.close_code, frame.payload[2:]) == (4000, b"bye")
        client.send(client_frame(frame.payload, CLOSE))
        assert client.receive_rest() == b""
    shared.wait_until_noted("leaving closes 4000 cleanly")


def vanish(client: RawClient) -> None:
    client.socket.close()


def close(client: RawClient) -> None:
    client.send(client_frame((4999).to_bytes(2, "big"), CLOSE))
    assert client.receive_frame().close_code == 4999


def close_twice(client: RawClient) -> None:
    client.send(client_frame((4999).to_bytes(2, "big"), CLOSE) * 2)
    client.receive_rest()


def break_the_protocol(client: RawClient) -> None:
    client.send(b"\x81\x01x")  # not masked
    assert client.receive_frame().close_code == 1002


def have_the_application_close(client: RawClient) -> None:
    client.send(client_frame(order("close")))
    frame = client.receive_frame()
    client.send(client_frame(frame.payload, CLOSE))


def vanish_after_the_application_has_closed(client: RawClient) -> None:
    client.send(client_frame(order("close")))
    client.receive_frame()
    client.socket.close()


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (vanish, "1006 somehow"),
        (close, "4999 cleanly"),
        (close_twice, "4999 cleanly"),
        (break_the_protocol, "1002 cleanly"),
        (have_the_application_close, "4000 cleanly"),
        (vanish_after_the_application_has_closed, "1006 somehow"),
    ],
)
def test_close_event_comes_once_and_last_however_a_connection_ends(
    events: Events, end: Callable[[RawClient], None], how: str
) -> None:
    with RawClient(events.server.port) as client:
        client.open("/ending")
        client.send(b"".join(client_frame(order("note", what=str(n))) for n in range(20)))
        end(client)
    events.wait_until_empty()
    lines = [line for line in events.journal() if line.startswith("ending")]
    assert lines == [*[f"ending says {n}" for n in range(20)], f"ending closes {how}"]


def test_close_listener_that_hangs_holds_up_nobody_else(events: Events) -> None:
    # The model differs: there, it may hang for ever, here as long as the event timeout allows.
    # Until it ends, the connection is there to be found.
    with events.connect("staying") as ws:
        with events.connect("hanging"):
            pass
        events.wait_until_noted("hanging closes 1000 cleanly")
        assert ask(ws, "say", what="answered") == "answered"
        assert ask(ws, "count") == "2"
        events.open_gate("close")
        assert ws.recv(10) == "hanging has left"
        events.wait_until_noted("hanging has closed")
        wait_for(lambda: ask(ws, "count") == "1", "it is gone")
