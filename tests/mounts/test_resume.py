"""Endpoints whose worker is replaced, killed or stopped while their clients are there."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.flow.server import Server, wait_for
from tests.mounts.servers import APPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from websockets.sync.client import ClientConnection

TIMEOUT = 20.0  # seconds


class Stay:
    """A server that runs `apps/stay.py`, the version it runs, and what it noted."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self._directory = directory

    def connect(self, path: str, **options: Any) -> ClientConnection:
        client: ClientConnection = connect(f"{self.server.ws_url}/api{path}", **options)
        return client

    def reload(self, version: str) -> None:
        (self._directory / "version").write_text(version)
        done = self.server.reload()
        assert done.returncode == 0, done.stderr

    def kill_workers(self) -> None:
        for pid in self.server.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def journal(self) -> list[str]:
        return (self._directory / "journal").read_text().splitlines()

    def wait_for_note(self, line: str, count: int = 1) -> None:
        wait_for(lambda: self.journal().count(line) >= count, f"{line!r} is noted", TIMEOUT)


def start(directory: Path, *arguments: str, workers: int = 2) -> AbstractContextManager[Server]:
    (directory / "version").write_text("1")
    (directory / "journal").touch()
    env = {"VERSION": str(directory / "version"), "JOURNAL": str(directory / "journal")}
    return Server.start(APPS / "stay.py", *arguments, workers=workers, env=env)


@pytest.fixture
def stay(tmp_path: Path) -> Iterator[Stay]:
    with start(tmp_path) as server:
        yield Stay(server, tmp_path)


def asked(client: ClientConnection, message: str) -> str:
    client.send(message)
    return str(client.recv(TIMEOUT))


def end_of(client: ClientConnection) -> tuple[int, str]:
    """Return code and reason with which the server closes, behind any messages."""
    try:
        while True:
            client.recv(TIMEOUT)
    except ConnectionClosed as closed:
        # None: the TCP connection ended without a close frame.
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


# --- begun again --------------------------------------------------------------------------------


def test_a_reload_begins_endpoints_again_and_no_client_notices(stay: Stay) -> None:
    with stay.connect("/echo") as ann, stay.connect("/echo") as bob:
        assert [asked(ann, "a"), asked(bob, "b")] == ["a v1 r0", "b v1 r0"]
        stay.reload("2")
        assert [asked(ann, "a"), asked(bob, "b")] == ["a v2 r1", "b v2 r1"]
        stay.reload("3")
        assert [asked(ann, "a"), asked(bob, "b")] == ["a v3 r2", "b v3 r2"]


def test_a_killed_worker_s_endpoints_are_begun_again(stay: Stay) -> None:
    with stay.connect("/echo") as ann:
        assert asked(ann, "a") == "a v1 r0"
        stay.kill_workers()
        assert re.fullmatch(r"b v1 r[12]", asked(ann, "b"))


def test_data_stays(stay: Stay) -> None:
    with stay.connect("/count") as ann:
        assert [asked(ann, "x") for _ in range(3)] == ["1", "2", "3"]
        stay.reload("2")
        assert [asked(ann, "x") for _ in range(2)] == ["4", "5"]
        stay.kill_workers()
        assert [asked(ann, "x") for _ in range(2)] == ["6", "7"]


def test_the_scope_is_that_of_the_handshake(stay: Stay) -> None:
    headers = [("cookie", "a=b"), ("x-one", "1")]
    path = "/scope?name=Ann%20Lee"
    with stay.connect(path, additional_headers=headers, subprotocols=["chat", "other"]) as ann:
        first = asked(ann, "?")
        assert "'query_string': b'name=Ann%20Lee'" in first
        assert "(b'x-one', b'1')" in first
        assert "'root_path': '/api'" in first
        stay.reload("2")
        assert asked(ann, "?") == first
    # Its second accept chose another one. Said once, however many there are.
    assert "begun again, accepted the subprotocol 'other'" in stay.server.log()


def test_messages_of_any_moment_are_answered_once_and_in_order(stay: Stay) -> None:
    with stay.connect("/echo") as ann:
        sent = received = 0
        for version in ("2", "3"):
            until = time.monotonic() + 1
            while time.monotonic() < until:
                for _ in range(20):
                    ann.send(str(sent))
                    sent += 1
                if sent == 200:
                    stay.reload(version)
                while received < sent:
                    assert str(ann.recv(TIMEOUT)).split()[0] == str(received)
                    received += 1


def test_a_message_in_hand_is_finished_before_the_worker_leaves(stay: Stay) -> None:
    with stay.connect("/slow") as ann:
        ann.send("1")
        stay.wait_for_note("begins 1")
        stay.reload("2")
        assert asked(ann, "0") == "1 v1"
        assert ann.recv(TIMEOUT) == "0 v2"
    assert stay.journal().count("begins 1") == 1


def test_a_message_in_hand_of_a_killed_worker_is_received_again(stay: Stay) -> None:
    with stay.connect("/slow") as ann:
        # Long enough for all workers to be killed meanwhile.
        ann.send("3")
        stay.wait_for_note("begins 3")
        stay.kill_workers()
        assert ann.recv(TIMEOUT) == "3 v1"
    # The workers die one after the other, so the second may have had it too.
    assert stay.journal().count("begins 3") in {2, 3}


def test_what_was_sent_in_the_middle_of_a_message_may_be_sent_again(stay: Stay) -> None:
    with stay.connect("/dies") as ann:
        ann.send("1")
        received = [ann.recv(TIMEOUT) for _ in range(3)]
    assert received == ["about to die 0", "about to die 1", "alive"]
    assert stay.journal().count("received 1") == 2


def test_an_endpoint_that_only_sends_is_begun_again(stay: Stay) -> None:
    with stay.connect("/ticks") as ann:
        assert ann.recv(TIMEOUT) == "tick v1 r0"
        stay.reload("2")
        wait_for(lambda: ann.recv(TIMEOUT) == "tick v2 r1", "it ticks again")


def test_a_client_that_leaves_while_no_worker_is_there_is_told_to_the_next(stay: Stay) -> None:
    with stay.connect("/leaves"):
        stay.kill_workers()
    stay.wait_for_note("disconnected 1000")


# --- its end in this worker ---------------------------------------------------------------------


def test_an_endpoint_is_cancelled_and_not_disconnected(stay: Stay) -> None:
    with stay.connect("/leaves") as ann:
        stay.reload("2")
        stay.wait_for_note("finally")
        assert "disconnected" not in "".join(stay.journal())
        # What it sent then went nowhere: the client is not to know.
        with pytest.raises(TimeoutError):
            ann.recv(0.2)
    stay.wait_for_note("disconnected 1000")


def test_an_endpoint_that_does_not_heed_it_is_left_behind(tmp_path: Path) -> None:
    with start(tmp_path, "--drain-timeout", "2", workers=1) as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/resists") as ann:
            ann.send("work")
            stay.wait_for_note("busy")
            stay.reload("2")
            assert ann.recv(TIMEOUT) == "begun again"
            # It was not done with its message.
            stay.wait_for_note("busy", 2)
            assert "cancelled" in stay.journal()
            stay.wait_for_note("down 1")
        assert "has not ended and is left behind" in server.log()


def test_lifespans_run_in_each_worker(stay: Stay) -> None:
    stay.reload("2")
    stay.wait_for_note("down 1", 2)
    assert sorted(stay.journal()) == ["down 1", "down 1", "up 1", "up 1", "up 2", "up 2"]


# --- not for ever -------------------------------------------------------------------------------


def test_an_endpoint_that_kills_its_worker_whenever_it_begins_is_given_up(stay: Stay) -> None:
    with stay.connect("/dies_at_begin") as ann, stay.connect("/echo") as bob:
        assert asked(ann, "a") == "a v1 r0"
        stay.reload("2")
        assert end_of(ann) == (1011, "")
        assert stay.journal().count("dies 1") == 1
        assert len([line for line in stay.journal() if line.startswith("dies")]) == 3
        assert asked(bob, "b").startswith("b v2")


def test_a_message_that_kills_its_worker_whenever_it_comes_is_put_aside(stay: Stay) -> None:
    with stay.connect("/dies") as ann:
        ann.send("100")
        assert end_of(ann) == (1011, "")
    assert stay.journal().count("received 100") == 3


# --- not willing to begin again -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("close", (4401, "expired")),
        ("deny", (1008, "HTTP 401")),
        ("raise", (1011, "")),
        ("return", (1011, "")),
    ],
)
def test_an_endpoint_may_end_the_connection_when_it_begins_again(
    stay: Stay, how: str, end: tuple[int, str]
) -> None:
    with stay.connect(f"/expires?how={how}") as ann:
        assert asked(ann, "a") == "a v1 r0"
        stay.reload("2")
        assert end_of(ann) == end


def test_where_nothing_is_mounted_any_more_connections_go_away(tmp_path: Path) -> None:
    source = (APPS / "stay.py").read_text()
    (tmp_path / "app.py").write_text(source)
    (tmp_path / "version").write_text("1")
    env = {"VERSION": str(tmp_path / "version"), "JOURNAL": str(tmp_path / "journal")}
    with (
        Server.start(tmp_path / "app.py", env=env) as server,
        connect(f"{server.ws_url}/api/echo") as ann,
    ):
        assert asked(ann, "a") == "a v1 r0"
        (tmp_path / "app.py").write_text(
            source.replace('"/api", on_worker_exit', '"/v2", on_worker_exit')
        )
        assert server.reload().returncode == 0
        assert end_of(ann) == (1001, "")


# --- the other policy ---------------------------------------------------------------------------


def test_connections_that_are_to_close_do_so_over_some_time(tmp_path: Path) -> None:
    with start(tmp_path, "--close-spread", "1") as server, ExitStack() as stack:
        stay = Stay(server, tmp_path)
        clients = [stack.enter_context(stay.connect("/closing/leaves")) for _ in range(8)]
        other = stack.enter_context(stay.connect("/echo"))
        begin = time.monotonic()
        stay.reload("2")
        assert {end_of(client) for client in clients} == {(1012, "")}
        assert time.monotonic() - begin > 0.5
        stay.wait_for_note("disconnected 1012", 8)
        assert asked(other, "a") == "a v2 r1"
        other.close()
        stay.wait_for_note("down 1", 2)
        assert "cancelled" not in stay.journal()


def test_connections_that_are_to_close_do_so_when_their_worker_is_killed(stay: Stay) -> None:
    with stay.connect("/closing/echo") as ann:
        assert asked(ann, "a") == "a v1 r0"
        stay.kill_workers()
        assert end_of(ann) == (1012, "")


# --- the rest -----------------------------------------------------------------------------------


def test_a_server_that_stops_says_so_to_endpoints_and_clients(stay: Stay) -> None:
    with stay.connect("/leaves") as ann:
        assert stay.server.stop() == 0
        assert end_of(ann) == (1001, "")
    assert [line for line in stay.journal() if line[:4] not in ("up 1", "down")] == [
        "disconnected 1001",
        "finally",
    ]
    assert stay.journal().count("down 1") == 2


@pytest.mark.parametrize("has_left", [False, True])
def test_an_endpoint_that_lingers_holds_up_no_stop(tmp_path: Path, has_left: bool) -> None:
    with start(tmp_path, "--drain-timeout", "2") as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/lingers") as ann:
            if has_left:
                ann.close()
                stay.wait_for_note("lingers")
            assert server.stop() == 0
        assert stay.journal().count("down 1") == 2
    assert "the endpoint of '/api/lingers' is cancelled: the worker is to leave" in server.log()


def test_an_endpoint_that_lingers_is_cancelled(tmp_path: Path) -> None:
    with start(tmp_path, "--event-timeout", "0.2") as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/lingers"):
            pass
        why = "'/api/lingers' is cancelled: its connection has ended 0.2 s ago (--event-timeout)"
        wait_for(lambda: why in server.log(), "it is in the log")
        wait_for(lambda: not server.status()["connections"], "the keeper has forgotten it")


def test_without_its_keeper_an_endpoint_is_disconnected(stay: Stay) -> None:
    with stay.connect("/leaves"):
        os.kill(stay.server.status()["keeper"]["pid"], signal.SIGKILL)
        stay.wait_for_note("disconnected 1006")
    # And the next one works.
    wait_for(lambda: len(stay.server.worker_pids()) == 2, "workers serve")
    with stay.connect("/echo") as bob:
        assert asked(bob, "b") == "b v1 r0"


def test_an_endpoint_whose_connection_is_refused_is_disconnected(tmp_path: Path) -> None:
    # Each such client would leave one behind that waits for ever.
    with start(tmp_path, "--max-connections", "1") as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/echo") as ann:
            with pytest.raises(InvalidStatus, match="503"):
                stay.connect("/leaves")
            stay.wait_for_note("disconnected 1006")
            stay.wait_for_note("finally")
            assert asked(ann, "a") == "a v1 r0"
        # Whoever comes too often does not fill the log of the workers either.
        assert "the keeper refused" not in server.log()


def test_data_that_cannot_be_kept_ends_the_endpoint(stay: Stay) -> None:
    with stay.connect("/keeps_nonsense") as ann:
        assert end_of(ann) == (1011, "")
    assert "AttachmentError: data['socket'] is a WebSocket" in stay.server.log()


def test_listeners_and_endpoints_live_side_by_side(stay: Stay) -> None:
    with stay.connect("/echo") as ann, connect(f"{stay.server.ws_url}/events") as bob:
        assert [asked(ann, "a"), asked(bob, "b")] == ["a v1 r0", "b v1"]
        stay.reload("2")
        assert [asked(ann, "a"), asked(bob, "b")] == ["a v2 r1", "b v2"]
        with urllib.request.urlopen(f"{stay.server.url}/api/version") as response:
            assert response.read() == b"2 2"


def test_one_that_takes_over_waits_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    def pours_no_more(stay: Stay, version: str) -> None:
        before = [0]

        def stands_still() -> bool:
            before.append(stay.journal().count(f"sent {version}"))
            return before[-1] == before[-2] > 0

        wait_for(stands_still, "the endpoint waits", TIMEOUT)

    # One that only sends is not interrupted before half of the drain timeout.
    with start(tmp_path, "--drain-timeout", "1") as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/pours", close_timeout=0.1) as ann:
            pours_no_more(stay, "1")
            stay.reload("2")
            pours_no_more(stay, "2")
            # It is not a slow consumer that has to be closed: nobody sent it too much.
            while not str(ann.recv(TIMEOUT)).startswith("v2 "):
                pass


def test_a_worker_that_has_done_enough_takes_no_connection_with_it(tmp_path: Path) -> None:
    with start(tmp_path, "--max-events", "50", workers=1) as server:
        stay = Stay(server, tmp_path)
        with stay.connect("/echo") as ann:
            for number in range(200):
                assert asked(ann, str(number)).startswith(f"{number} v1")
                if number % 50 == 49:
                    stay.wait_for_note("down 1", number // 50 + 1)
