"""Starts, stops, reloads and crashes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT, Running
from tests.conformance.member import join
from tests.conformance.promises import NO_PROCESS, Never, promise
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.hosts import Host

ONE_PROCESS = Never("connections end with the process that holds them, which runs the code too")


NO_LIFESPAN = "Daphne knows no lifespan: the lifecycle runs with the first request, shutdown never"
ABRUPT = "Daphne ends at once when it is told to stop"


@promise("install, activate and startup run before the first event")
def test_lifecycle_runs_in_order(server: Running) -> None:
    assert server.fetch("/").status == 200
    assert server.journal()[:3] == ["install", "activate", "startup"]


@promise("`shutdown` runs when all has finished", daphne=NO_LIFESPAN)
def test_shutdown_runs_in_the_end(own_server: Running) -> None:
    # What the application holds open is closed there.
    with join(own_server, "Liv") as member:
        member.ask("say", what="x")
    wait_for(lambda: own_server.journal("Liv closes"), "the close event")
    own_server.stop()
    assert own_server.journal()[-1] == "shutdown"


@promise(
    "an application whose `install` fails is not served",
    kit=NO_PROCESS,
)
def test_application_whose_install_fails_is_not_served(host: Host, tmp_path: Path) -> None:
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "bad install").touch()
    running = Running.spawn(host, tmp_path)
    try:

        def is_refused() -> bool:
            if running.process.poll() is not None:
                return True
            try:
                return running.fetch("/").status >= 500
            except OSError:
                return False

        wait_for(is_refused, "it is not served", TIMEOUT)
        assert "this version does not install" in running.log()
    finally:
        running.end()


@promise(
    "a stop closes connections with 1001 or 1012",
    granian="Granian ends without a close frame: 1006",
    hypercorn="Hypercorn closes with 1011 when it is told to stop",
    daphne=ABRUPT,
    kit=NO_PROCESS,
)
def test_stop_closes_connections_with_a_code(own_server: Running) -> None:
    # F7: "going away", or "service restart".
    with join(own_server, "Last") as member:
        assert member.ask("say", what="x") == "x"
        own_server.process.send_signal(signal.SIGTERM)
        assert member.receive_close()[0] in (1001, 1012)


@promise("a stop lets close events and `shutdown` run", daphne=ABRUPT)
def test_stop_lets_close_events_and_shutdown_run(own_server: Running) -> None:
    # Connections first, then what they need.
    with join(own_server, "Final") as member:
        assert member.ask("say", what="x") == "x"
        own_server.stop()
    journal = own_server.journal()
    (closed,) = own_server.journal("Final closes")
    assert journal.index(closed) < len(journal) - 1 - journal[::-1].index("shutdown")


@promise(
    "a stop waits for `wait_until` work",
    daphne=ABRUPT,
    kit=NO_PROCESS,
)
def test_stop_waits_for_work(own_server: Running) -> None:
    with join(own_server, "Busy") as member:
        assert member.ask("say later", gate="at last") == "now"
        own_server.process.send_signal(signal.SIGTERM)
        member.receive_close()
        assert own_server.journal("shutdown") == []
        own_server.open_gate("at last")
        own_server.process.wait(TIMEOUT)
    assert own_server.journal("shutdown") != []


@promise(
    "no connection closes when the code is replaced",
    single=ONE_PROCESS,
    kit=NO_PROCESS,
)
def test_no_connection_closes_when_the_code_is_replaced(own_server: Running) -> None:
    with join(own_server, "Tess") as member:
        before = member.ask("pid")
        assert member.ask("count") == "1"
        done = own_server.holdfast("reload")
        assert done.returncode == 0, done.stderr
        assert member.ask("count") == "2"
        assert member.ask("pid") != before


@promise(
    "no connection closes when a worker dies, and no message is lost",
    single=ONE_PROCESS,
    kit=NO_PROCESS,
)
def test_no_connection_closes_when_a_worker_dies(own_server: Running) -> None:
    with join(own_server, "Phil") as member:
        assert member.ask("die") == "attempt 2"
        os.kill(int(member.ask("pid")), signal.SIGKILL)
        assert member.ask("count") == "1"


@promise(
    "several processes share connections, channels and the lifecycle",
    single=Never(
        "each process is a world of its own: channels and `app.clients` reach no other, and every "
        "one runs `install`"
    ),
    kit=NO_PROCESS,
)
def test_several_processes_share_connections(own_server: Running) -> None:
    # All of them accept on the one port.
    with join(own_server, "one") as one, join(own_server, "two") as two:
        one.ask("subscribe", channel="shared")
        pids: set[str | bytes] = set()

        def both_have_answered() -> bool:
            two.tell("publish", channel="shared", what="x")
            assert one.receive() == "x"
            pids.update(
                (one.ask("pid"), two.ask("pid"), own_server.fetch("/").read().decode()[10:])
            )
            return len(pids) > 1

        wait_for(both_have_answered, "two processes have answered", TIMEOUT)
    assert own_server.journal("install") == ["install"]
    wait_for(lambda: len(own_server.journal("startup")) == 2, "each has started", TIMEOUT)


@promise("`holdfast status` and `stop`", asgi=Never("it has commands of its own"), kit=NO_PROCESS)
def test_status_and_stop(own_server: Running) -> None:
    with join(own_server, "seen") as member:
        assert member.ask("say", what="x") == "x"
        status = own_server.holdfast("status")
        assert "connections   1" in status.stdout, status.stderr
        assert own_server.holdfast("stop").returncode == 0
        assert member.receive_close()[0] == 1001
    assert own_server.process.wait(TIMEOUT) == 0
