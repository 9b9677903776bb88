from __future__ import annotations

import pytest

from holdfast.supervisor import commands as do
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.workers import ASK_EVERY
from holdfast.wire import control
from holdfast.wire import messages as wire
from tests.supervisor.parts import DRAIN_TIMEOUT, START_TIMEOUT, Parts

BLOCKED_TIMEOUT = 60.0


def started(count: int = 1, *, blocked: float = 0.0) -> Parts:
    parts = Parts(blocked=blocked)
    for _ in range(count):
        parts.workers.start(1, 0.0)
    parts.taken()
    return parts


def test_workers_are_numbered_in_order() -> None:
    parts = Parts()
    parts.workers.start(1, 0.0, first=True)
    parts.workers.start(2, 0.0, spare=True)
    assert parts.taken() == [do.StartWorker(1, 1, True), do.StartWorker(2, 2, False, True)]
    assert [child.worker for child in parts.workers.all()] == [1, 2]
    assert [child.worker for child in parts.workers.of(2)] == [2]


def test_a_removed_worker_is_unknown() -> None:
    parts = started()
    child = parts.child(1)
    assert parts.workers.remove(1) is child
    assert parts.workers.remove(1) is parts.workers.get(1) is None


def test_a_served_worker_is_told() -> None:
    parts = started()
    parts.workers.serve(parts.child(1))
    assert parts.taken() == [do.TellWorker(1, control.Serve())]
    assert parts.child(1).serves


def test_a_drained_worker_accepts_until_it_is_quiet() -> None:
    parts = started()
    child = parts.child(1)
    parts.workers.serve(child)
    assert parts.workers.are_quiet
    parts.workers.drain(child, 5.0)
    assert parts.taken()[1:] == [do.TellWorker(1, control.Drain())]
    assert (child.state, child.deadline) == (ChildState.DRAINING, 5.0 + DRAIN_TIMEOUT)
    assert not parts.workers.are_quiet


def test_a_starting_worker_is_killed_instead_of_drained() -> None:
    parts = started()
    parts.workers.drain(parts.child(1), 5.0)
    assert parts.taken() == [do.Kill(1)]
    assert parts.workers.are_quiet


def test_a_quiesced_worker_has_time_to_finish() -> None:
    parts = started(2)
    parts.workers.serve(parts.child(1))
    parts.taken()
    for child in parts.workers.all():
        parts.workers.quiesce(child, 5.0)
        assert child.deadline == 5.0 + DRAIN_TIMEOUT
    assert parts.taken() == [do.TellWorker(1, control.Quiesce()), do.Kill(2)]
    assert parts.of_state(ChildState.DRAINING) == [2]


def test_draining_at_last_tells_nobody_twice() -> None:
    parts = started()
    parts.workers.serve(parts.child(1))
    parts.workers.drain(parts.child(1), 5.0)
    parts.taken()
    parts.workers.drain_at_last(parts.child(1))
    assert parts.taken() == []


def test_a_given_up_worker_has_no_deadline() -> None:
    parts = started()
    parts.workers.give_up(parts.child(1))
    assert parts.taken() == [do.Kill(1)]
    assert parts.child(1).is_leaving
    assert parts.workers.next_deadline() == []


def test_a_late_worker_is_taken_once() -> None:
    parts = started()
    assert parts.workers.next_deadline() == [START_TIMEOUT]
    assert list(parts.workers.take_overdue(START_TIMEOUT - 1)) == []
    assert list(parts.workers.take_overdue(START_TIMEOUT)) == [parts.child(1)]
    assert list(parts.workers.take_overdue(START_TIMEOUT)) == []


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (ChildState.STARTING, "it was not ready within 120 s"),
        (ChildState.DRAINING, "it has not finished within 30 s"),
    ],
)
def test_the_log_says_what_took_too_long(state: ChildState, why: str) -> None:
    parts = started()
    parts.child(1).state = state
    parts.workers.kill_overdue(parts.child(1))
    assert parts.taken() == [do.Kill(1, why)]


@pytest.mark.parametrize("state", ChildState)
def test_ready_and_serving_workers_are_probed(state: ChildState) -> None:
    parts = started(blocked=BLOCKED_TIMEOUT)
    child = parts.child(1)
    parts.workers.note_ready(child, 0.0)
    child.state = state
    is_probed = state in (ChildState.READY, ChildState.SERVING, ChildState.RETIRING)
    assert parts.workers.next_question() == [ASK_EVERY] * is_probed
    parts.workers.ask(ASK_EVERY - 1)
    assert parts.taken() == []
    parts.workers.ask(ASK_EVERY)
    assert parts.taken() == [do.TellWorker(1, wire.Probe())] * is_probed


def test_a_silent_worker_is_killed_after_timeout() -> None:
    parts = started(blocked=BLOCKED_TIMEOUT)
    parts.workers.note_ready(parts.child(1), 0.0)
    parts.workers.ask(BLOCKED_TIMEOUT + ASK_EVERY - 1)
    assert parts.taken() == [do.TellWorker(1, wire.Probe())]
    parts.workers.ask(BLOCKED_TIMEOUT + 2 * ASK_EVERY)
    why = "its loop has stood for 70 s"
    assert parts.taken() == [do.Kill(1, why), do.TellWorker(1, wire.Probe())]


def test_no_blocked_timeout_no_probe() -> None:
    parts = started()
    parts.workers.note_ready(parts.child(1), 0.0)
    parts.workers.ask(1000.0)
    assert (parts.taken(), parts.workers.next_question()) == ([], [])
