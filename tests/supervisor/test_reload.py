from __future__ import annotations

import pytest

from holdfast.supervisor import commands as do
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.stage import ServerFact, ServerStage
from holdfast.wire import control
from tests.supervisor.parts import START_TIMEOUT, Parts


def requested(workers: int = 2) -> Parts:
    """Return parts whose first generation starts, with worker 1."""
    parts = Parts(workers)
    assert parts.reload.request(0.0) == 1
    parts.taken()
    return parts


def reloading(workers: int = 2) -> Parts:
    """Return parts that serve generation 1 and start generation 2: its first worker."""
    parts = requested(workers)
    for worker in range(1, workers + 1):
        ready(parts, worker)
    parts.reload.request(0.0)
    parts.taken()
    return parts


def ready(parts: Parts, worker: int) -> None:
    child = parts.child(worker)
    parts.workers.note_ready(child, 1.0)
    if parts.reload.starts(child):
        parts.reload.worker_ready(child, 1.0)
    else:
        parts.serving.worker_ready(child, 1.0)


def lose(parts: Parts, worker: int, status: int = -9) -> None:
    child = parts.workers.remove(worker)
    assert child is not None
    parts.reload.worker_lost(child, status, 1.0)


def test_a_generation_starts_with_its_first_worker() -> None:
    parts = Parts()
    assert parts.reload.next_generation == 1
    assert parts.reload.request(0.0) == 1
    assert parts.taken() == [do.StartWorker(1, 1, True)]
    assert parts.reload.is_starting
    assert parts.reload.starts(parts.child(1))


def test_the_first_generation_serves_with_one_worker() -> None:
    parts = requested()
    ready(parts, 1)
    assert parts.taken() == [
        do.StartWorker(2, 1, False),
        do.TellKeeper(control.Prefer(1)),
        do.TellWorker(1, control.Serve()),
        do.Promoted(1),
    ]
    assert not parts.reload.is_starting


def test_a_later_generation_waits_for_all_its_workers() -> None:
    parts = reloading()
    ready(parts, 3)
    assert parts.taken() == [do.StartWorker(4, 2, False)]
    ready(parts, 4)
    assert parts.taken() == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(3, control.Serve()),
        do.TellWorker(4, control.Serve()),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]


def test_a_draining_worker_is_not_drained_again() -> None:
    parts = reloading(1)
    parts.workers.drain(parts.child(1), 1.0)
    parts.taken()
    ready(parts, 2)
    assert do.TellWorker(1, control.Drain()) not in parts.taken()


def test_a_reload_ends_when_old_workers_are_quiet() -> None:
    parts = reloading(1)
    ready(parts, 2)
    parts.taken()
    parts.reload.finish_if_quiet(2.0)
    assert parts.taken() == []
    parts.child(1).accepts = False
    for _ in range(2):
        parts.reload.finish_if_quiet(2.0)
    assert parts.taken() == [do.Promoted(2)]


def test_requests_during_a_reload_count_as_one() -> None:
    parts = reloading(1)
    assert parts.reload.request(1.0) == parts.reload.request(1.0) == 3
    ready(parts, 2)
    parts.child(1).accepts = False
    parts.taken()
    parts.reload.finish_if_quiet(2.0)
    assert parts.taken() == [do.Promoted(2), do.StartWorker(3, 3, True)]
    assert parts.reload.next_generation == 4


def test_no_generation_starts_during_a_stop() -> None:
    parts = reloading(1)
    parts.reload.request(1.0)
    parts.server.tell(ServerFact.STOP)
    parts.reload.give_up("SyntaxError", "…", 1.0)
    assert parts.taken() == [do.Kill(2), do.GenerationFailed(2, "SyntaxError", "…")]


@pytest.mark.parametrize(("status", "how"), [(3, "exit status 3"), (-9, "signal 9")])
def test_the_second_death_ends_a_generation(status: int, how: str) -> None:
    parts = reloading()
    lose(parts, 3)
    assert parts.taken() == [do.StartWorker(4, 2, True)]
    lose(parts, 4, status)
    summary = f"a worker died before it was ready ({how})"
    assert parts.taken() == [do.GenerationFailed(2, summary, "")]
    assert parts.serving.number == 1


def test_activation_runs_once() -> None:
    parts = reloading()
    ready(parts, 3)
    parts.taken()
    lose(parts, 3)
    assert parts.taken() == [do.StartWorker(5, 2, False)]


def test_a_late_first_worker_ends_its_generation() -> None:
    parts = reloading()
    parts.reload.worker_late(parts.child(3), START_TIMEOUT)
    summary = "its first worker was not ready within 120 s"
    assert parts.taken() == [do.Kill(3), do.GenerationFailed(2, summary, "")]


def test_another_late_worker_is_killed() -> None:
    parts = reloading()
    ready(parts, 3)
    parts.taken()
    parts.reload.worker_late(parts.child(4), START_TIMEOUT)
    assert parts.taken() == [do.Kill(4, "it was not ready within 120 s")]
    assert parts.reload.is_starting


def test_a_failed_first_generation_ends_the_server() -> None:
    parts = requested()
    parts.reload.give_up("ImportError", "…", 1.0)
    assert parts.server.stage is ServerStage.FAILED
    assert parts.of_state(ChildState.DRAINING) == [1]
