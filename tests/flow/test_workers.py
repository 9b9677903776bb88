"""Spares, replaced workers, sleep, listeners that hang, loops that stand, keepers that die."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.flow.server import ROOT, Server, is_alive, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

STAFF = ROOT / "tests/flow/apps/staff.py"


class Staff:
    """A server that runs `apps/staff.py`."""

    def __init__(self, server: Server, journal: Path) -> None:
        self.server = server
        self._journal = journal

    def noted(self, line: str) -> list[int]:
        """Return the pids that noted `line`, in order."""
        lines = [each.split(" ", 1) for each in self._journal.read_text().splitlines()]
        return [int(pid) for pid, noted in lines if noted == line]

    def workers(self) -> dict[int, str]:
        """Return state by pid."""
        return {worker["pid"]: worker["state"] for worker in self.server.status()["workers"]}

    def wait_for_states(self, *states: str) -> dict[int, str]:
        def found() -> dict[int, str] | None:
            workers = self.workers()
            return workers if sorted(workers.values()) == sorted(states) else None

        # Not asked once more: they may have gone to sleep again.
        workers: dict[int, str] = wait_for(found, f"workers {states}")
        return workers

    def get(self, path: str = "/") -> int:
        with urllib.request.urlopen(self.server.url + path, timeout=20) as response:
            return int(response.read())

    def connect(self, stack: ExitStack) -> ClientConnection:
        return stack.enter_context(connect(self.server.ws_url, close_timeout=1))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Staff]]:
    """Return a function that starts a server with options."""
    journal = tmp_path / "journal"
    journal.touch()
    slow = tmp_path / "slow"
    slow.touch()
    with ExitStack() as stack:

        def start(*options: str, workers: int = 1) -> Staff:
            last_post = str(tmp_path / "last post")
            env = {"JOURNAL": str(journal), "SLOW_IMPORT": str(slow), "LAST_POST": last_post}
            server = stack.enter_context(Server.start(STAFF, *options, workers=workers, env=env))
            return Staff(server, journal)

        yield start


def ask(ws: ClientConnection, what: str) -> str:
    ws.send(what)
    return str(ws.recv(20))


# -- spares


def test_a_spare_takes_over_without_a_process_start(serve: Callable[..., Staff]) -> None:
    staff = serve()
    states = staff.wait_for_states("serving", "spare")
    spare = next(pid for pid, state in states.items() if state == "spare")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        first = int(ask(ws, "pid"))
        assert first != spare
        assert staff.get() == first
        os.kill(first, signal.SIGKILL)
        assert int(ask(ws, "pid")) == spare
        assert staff.get() == spare
        assert ask(ws, "count") == "3"
    states = staff.wait_for_states("serving", "spare")
    assert states[spare] == "serving"


def test_a_spare_is_drained_with_its_generation(serve: Callable[..., Staff]) -> None:
    staff = serve()
    before = staff.wait_for_states("serving", "spare")
    assert staff.server.reload().returncode == 0
    after = staff.wait_for_states("serving", "spare")
    assert not before.keys() & after.keys()
    wait_for(lambda: set(staff.noted("shutdown")) == set(before), "both ran their shutdown")


def test_a_stop_lets_a_spare_run_its_shutdown(serve: Callable[..., Staff]) -> None:
    staff = serve()
    states = staff.wait_for_states("serving", "spare")
    assert staff.server.stop() == 0
    assert set(staff.noted("shutdown")) == set(states)


# -- workers that are replaced for their age


def test_a_worker_is_replaced_after_so_many_events(serve: Callable[..., Staff]) -> None:
    staff = serve("--max-events", "50", "--spare", "0")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        pids = [ask(ws, "pid") for _ in range(60)]
        wait_for(lambda: ask(ws, "pid") != pids[0], "another worker answers")
        # Nothing was lost or doubled on the way.
        count = int(ask(ws, "count"))
        assert int(ask(ws, "count")) == count + 1
        assert staff.get() != int(pids[0])
        wait_for(lambda: not is_alive(int(pids[0])), "the old one has left")
        assert int(pids[0]) in staff.noted("shutdown")
    assert "will be replaced: it has handled" in staff.server.log()


def test_a_worker_is_replaced_that_takes_too_much_memory(serve: Callable[..., Staff]) -> None:
    staff = serve("--max-rss", "120")
    staff.wait_for_states("serving", "spare")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        first = ask(ws, "eat")
        ask(ws, "eat"), ask(ws, "eat")
        wait_for(lambda: ask(ws, "pid") != first, "another worker answers")
    assert "MiB of memory" in staff.server.log()


# -- sleep


def asleep(serve: Callable[..., Staff], *options: str, workers: int = 2) -> Staff:
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5", *options, workers=workers)
    wait_for(lambda: staff.workers() == {}, "all workers have left")
    assert staff.server.status()["supervisor"]["state"] == "asleep"
    return staff


def test_a_request_wakes_the_application(serve: Callable[..., Staff]) -> None:
    staff = asleep(serve)
    assert staff.get() > 0
    # Not by their states: the first may be idle for long enough before the second serves.
    wait_for(lambda: len(staff.noted("startup")) == 4, "both have started again")
    wait_for(lambda: staff.workers() == {}, "all workers have left again")
    assert staff.noted("shutdown")[2:]


def test_connections_stay_while_the_application_sleeps_and_a_message_wakes_it(
    serve: Callable[..., Staff],
) -> None:
    # All of them, not only the one that wakes it. Bindings there are none.
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5")
    with ExitStack() as stack:
        ws, other = staff.connect(stack), staff.connect(stack)
        first = ask(ws, "pid")
        for count in (3, 5):
            wait_for(lambda: staff.workers() == {}, "all workers have left")
            assert ask(ws, "pid") != first
            assert ask(ws, "count") == str(count)
        assert ask(other, "count") == "1"


def test_a_post_wakes_an_application_that_listens(
    serve: Callable[..., Staff], tmp_path: Path
) -> None:
    # As long as all posts come from workers, only the last one to leave can post to sleepers.
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        (tmp_path / "last post").touch()
        assert ws.recv(20) == "posted by the last to leave"
        wait_for(lambda: staff.noted("heard posted by the last to leave"), "a worker heard")
    (left,) = set(staff.noted("startup")[:1])
    assert staff.noted("heard posted by the last to leave") != [left]


def test_a_client_that_leaves_wakes_the_application(serve: Callable[..., Staff]) -> None:
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5")
    with ExitStack() as stack:
        staff.connect(stack)
        wait_for(lambda: staff.workers() == {}, "all workers have left")
    wait_for(lambda: staff.noted("closed 1000"), "the close event was dispatched")


def test_close_events_are_dispatched_when_a_sleeping_server_stops(
    serve: Callable[..., Staff],
) -> None:
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        wait_for(lambda: staff.workers() == {}, "all workers have left")
        assert staff.server.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert staff.noted("closed 1001")


def test_some_workers_may_stay(serve: Callable[..., Staff]) -> None:
    staff = serve("--min-workers", "1", "--idle-timeout", "0.5", workers=3)
    (stayed,) = staff.wait_for_states("serving")
    assert staff.get() == stayed
    wait_for(lambda: len(staff.noted("startup")) == 5, "the others have started again")
    assert stayed not in staff.noted("shutdown")


def test_an_application_is_not_put_to_sleep_that_has_something_to_do(
    serve: Callable[..., Staff],
) -> None:
    staff = serve("--min-workers", "0", "--idle-timeout", "0.5")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        for what in ("pid", "slow", "slow", "pid"):
            ws.send(what)
        first = ws.recv(20)
        gone = staff.noted("shutdown")
        *_, last = [ws.recv(20) for _ in range(3)]
        # Two seconds in one listener after the other, and nobody has left.
        assert first == last
        assert staff.noted("shutdown") == gone


# -- listeners that hang, loops that stand


def test_a_listener_that_hangs_is_cancelled_and_the_connection_goes_on(
    serve: Callable[..., Staff],
) -> None:
    staff = serve("--event-timeout", "1")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        pid = ask(ws, "pid")
        ws.send("hang")
        assert ask(ws, "pid") == pid
        assert ask(ws, "count") == "3"  # What the hanging listener changed was discarded.
        assert "the listeners took longer than 1 s" in staff.server.log()
        ws.send("hang on")
        assert ask(ws, "pid") == pid
    assert len(staff.noted("cancelled once")) == 1


def test_a_worker_whose_loop_stands_is_killed_and_its_messages_go_elsewhere(
    serve: Callable[..., Staff],
) -> None:
    staff = serve("--event-timeout", "1")
    with ExitStack() as stack:
        ws = staff.connect(stack)
        pid = ask(ws, "pid")
        assert ask(ws, "block") == "blocked no more, attempt 2"
        assert staff.noted("blocks") == [int(pid)]
        assert ask(ws, "pid") != pid
    assert "is killed: its loop has stood for" in staff.server.log()


def test_nobody_else_waits_for_a_worker_whose_loop_stands(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    with ExitStack() as stack:
        connections = [staff.connect(stack) for _ in range(20)]
        pids = [ask(ws, "pid") for ws in connections]
        assert len(set(pids)) == 2
        blocked, others = connections[0], connections[1:]
        blocked.send("block")
        wait_for(lambda: staff.noted("blocks"), "a loop stands")
        # Those whose next message had gone to that worker before it was noticed wait with it.
        time_to_notice = 3  # twelve of the keeper's ticks; two are needed
        until = time.monotonic() + time_to_notice
        wait_for(lambda: time.monotonic() > until, "the keeper has noticed", time_to_notice + 1)
        for ws in others:
            ws.send("pid")
        answers = [ws.recv(10) for ws in others]
        assert set(answers) == set(pids) - {pids[0]}
        os.kill(int(pids[0]), signal.SIGKILL)
        assert blocked.recv(20) == "blocked no more, attempt 2"


def test_a_request_goes_to_a_worker_that_accepts(serve: Callable[..., Staff]) -> None:
    # All have the one port, and whoever can takes what comes. There, in a pool, they take
    # turns, and a request waits for one whose turn it is though it does nothing.
    staff = serve(workers=2)
    both = set(staff.wait_for_states("serving", "serving"))
    for _ in range(4):
        answered = staff.get()
        os.kill(answered, signal.SIGSTOP)
        try:
            assert {answered, staff.get()} == both
        finally:
            os.kill(answered, signal.SIGCONT)


def test_a_slow_listener_does_not_delay_others_on_its_worker(serve: Callable[..., Staff]) -> None:
    staff = serve()
    with ExitStack() as stack:
        slow, quick = staff.connect(stack), staff.connect(stack)
        assert ask(slow, "pid") == ask(quick, "pid")
        slow.send("wait")
        assert ask(quick, "count") == "2"
        quick.send("go on")
        assert slow.recv(10) == "waited"


# -- starts


def test_a_generation_that_does_not_get_ready_is_given_up(
    serve: Callable[..., Staff], tmp_path: Path
) -> None:
    staff = serve("--start-timeout", "5")
    (tmp_path / "slow").write_text("3600")
    done = staff.server.reload()
    assert done.returncode == 1
    assert "its first worker was not ready within 5 s" in done.stderr
    assert staff.get() > 0


# -- the keeper


def test_workers_go_on_with_another_keeper(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    with ExitStack() as stack:
        ws = staff.connect(stack)
        ask(ws, "pid")
        before = staff.wait_for_states("serving", "serving")
        keeper = staff.server.status()["keeper"]["pid"]
        os.kill(keeper, signal.SIGKILL)
        # A TCP close; nothing hangs.
        with pytest.raises(ConnectionClosed):
            ws.recv(10)
        wait_for(lambda: staff.server.status()["keeper"]["state"] == "serving", "another keeper")
        assert staff.server.status()["keeper"]["pid"] != keeper
        wait_for(lambda: can_connect(staff), "connections are accepted again")
        other = staff.connect(stack)
        assert ask(other, "count") == "1"
        assert staff.workers() == before
    log = staff.server.log()
    assert (
        "CRITICAL holdfast: the keeper died (signal 9): every WebSocket connection is lost" in log
    )
    assert staff.noted("startup") == list(dict.fromkeys(staff.noted("startup")))
    assert staff.server.stop() == 0


def test_channel_objects_go_on_with_another_keeper(serve: Callable[..., Staff]) -> None:
    # What listened at the one that is gone listens at the next.
    staff = serve(workers=2)
    workers = set(staff.wait_for_states("serving", "serving"))
    staff.get("/post")
    wait_for(lambda: set(staff.noted("heard a post")) == workers, "both workers have heard")
    os.kill(staff.server.status()["keeper"]["pid"], signal.SIGKILL)
    wait_for(lambda: staff.server.status()["keeper"]["state"] == "serving", "another keeper")
    wait_for(lambda: can_connect(staff), "connections are accepted again")

    def both_hear() -> bool:
        staff.get("/post")
        heard = staff.noted("heard a post")
        return all(heard.count(pid) > 1 for pid in workers)

    wait_for(both_hear, "both workers have heard again")


def can_connect(staff: Staff) -> bool:
    try:
        with connect(staff.server.ws_url, close_timeout=1) as ws:
            return ask(ws, "count") == "1"
    except (OSError, ConnectionClosed, Exception):
        return False


def test_a_reload_with_a_keeper_that_has_just_died_works(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    os.kill(staff.server.status()["keeper"]["pid"], signal.SIGKILL)
    assert staff.server.reload().returncode == 0
    with ExitStack() as stack:
        wait_for(lambda: can_connect(staff), "connections are accepted again")
        assert ask(staff.connect(stack), "count") == "1"


def test_a_stop_with_a_keeper_that_has_just_died_is_a_stop(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    os.kill(staff.server.status()["keeper"]["pid"], signal.SIGKILL)
    assert staff.server.stop() == 0


# -- requests


class Visitor:
    """Asks every 10 ms, and counts who answered and what failed.

    Args:
        get: makes one request; raises OSError or HTTPException if there is no answer.
    """

    def __init__(self, get: Callable[[], bytes]) -> None:
        self._get = get
        self.answers: list[bytes] = []
        self.failures: list[Exception] = []
        self._has_left = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_left.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._has_left.wait(0.01):
            try:
                self.answers.append(self._get())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)

    def wait_for_more(self) -> None:
        """Return when ten more requests have been answered."""
        enough = len(self.answers) + 10
        wait_for(lambda: len(self.answers) >= enough, "ten more answers")


def disturb(staff: Staff, visitor: Visitor) -> int:
    """Kill workers and reload, with answers before, between and after; return the kills."""
    visitor.wait_for_more()
    for _ in range(3):
        os.kill(staff.server.worker_pids()[0], signal.SIGKILL)
        visitor.wait_for_more()
    reloads(staff, visitor)
    return 3


def reloads(staff: Staff, visitor: Visitor) -> None:
    for _ in range(2):
        visitor.wait_for_more()
        assert staff.server.reload().returncode == 0
        visitor.wait_for_more()


def test_requests_notice_neither_reloads_nor_crashes(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    with Visitor(lambda: get_raw(staff.server.port)) as visitor:
        killed = disturb(staff, visitor)
    # At most a request that was inside a worker when it was killed; refused, never.
    assert not [each for each in visitor.failures if isinstance(each, ConnectionRefusedError)]
    assert len(visitor.failures) <= killed
    assert len(set(visitor.answers)) > 2


def test_requests_on_connections_that_are_kept_alive_do_not_notice_reloads(
    serve: Callable[..., Staff],
) -> None:
    staff = serve(workers=2)
    with KeptAlive(staff.server.port) as client, Visitor(client.get) as visitor:
        reloads(staff, visitor)
    assert not visitor.failures
    # One connection per worker that said goodbye, and not one per request.
    assert len(visitor.answers) > 10 * client.connections
    assert len(set(visitor.answers)) > 1


def test_requests_on_connections_that_are_kept_alive_fail_only_with_their_worker(
    serve: Callable[..., Staff],
) -> None:
    # The kernel closes what a killed process had open. The next request finds the connection
    # closed, as after any keep-alive timeout, and clients make another.
    staff = serve(workers=2)
    with KeptAlive(staff.server.port) as client, Visitor(client.get) as visitor:
        killed = disturb(staff, visitor)
    assert not [each for each in visitor.failures if isinstance(each, ConnectionRefusedError)]
    assert len(visitor.failures) <= killed


class KeptAlive:
    """A client that makes another connection only when the server has closed this one."""

    def __init__(self, port: int) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._client.auto_open = 0
        self.connections = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self) -> bytes:
        if self._client.sock is None:
            self._client.connect()
            self.connections += 1
        try:
            self._client.request("GET", "/")
            response = self._client.getresponse()
            assert response.status == 200
            return response.read()
        except (OSError, http.client.HTTPException):
            self._client.close()
            raise


def get_raw(port: int) -> bytes:
    """Make one request on a connection of its own; raise OSError if there is no answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    if not received.startswith(b"HTTP/1.1 200"):
        raise ConnectionResetError(f"received {received!r}")
    return received.rpartition(b"\r\n")[2]


# -- several things at once


def test_reloads_in_quick_succession_each_succeed(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    with ExitStack() as stack:
        ws = staff.connect(stack)
        assert ask(ws, "count") == "1"
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda _: staff.server.reload(), range(3)))
        assert [each.returncode for each in done] == [0, 0, 0], done
        assert ask(ws, "count") == "2"
    staff.wait_for_states("serving", "serving")


def test_a_reload_while_an_older_generation_drains_waits_for_nobody(
    serve: Callable[..., Staff],
) -> None:
    staff = serve("--drain-timeout", "20", workers=1)
    with ExitStack() as stack:
        slow, ws = staff.connect(stack), staff.connect(stack)
        slow.send("hang")  # Its worker cannot finish before the drain timeout.
        assert ask(ws, "count") == "1"
        began = time.monotonic()
        for count in ("2", "3"):
            assert staff.server.reload().returncode == 0
            assert ask(ws, "count") == count
        assert time.monotonic() - began < 15
        assert "draining" in staff.workers().values()


def test_a_server_starts_at_once_where_another_was_killed(serve: Callable[..., Staff]) -> None:
    staff = serve(workers=2)
    orphans = staff.server.pids()[1:]
    with ExitStack() as stack:
        ws = staff.connect(stack)
        # Nobody waits for the children of the dead: they leave by themselves.
        staff.server.kill_and_start_again()
        with pytest.raises(ConnectionClosed):
            ws.recv(10)
        wait_for(lambda: staff.server.log().count("holdfast: serving") == 2, "it serves again")
        assert ask(staff.connect(stack), "count") == "1"
    assert not any(is_alive(pid) for pid in orphans)
