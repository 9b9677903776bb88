from __future__ import annotations

from holdfast.supervisor import commands as do
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.stage import ServerFact, ServerStage
from holdfast.wire import control
from tests.supervisor.parts import Parts


def serving(workers: int = 2, *, min_workers: int | None = None, spares: int = 0) -> Parts:
    parts = Parts(workers, min_workers=min_workers, spares=spares)
    parts.serve()
    return parts


def idle(parts: Parts, *workers: int) -> None:
    for worker in workers:
        parts.child(worker).is_idle = True
    parts.serving.sleep_if_idle(1.0)


def lose(parts: Parts, worker: int, now: float = 100.0) -> None:
    child = parts.workers.remove(worker)
    assert child is not None
    parts.serving.worker_lost(child, now)


def ready(parts: Parts, worker: int) -> None:
    parts.workers.note_ready(parts.child(worker), 2.0)
    parts.serving.worker_ready(parts.child(worker), 2.0)


def drained(*workers: int) -> list[do.Command]:
    """Return what has these workers drained."""
    return [
        command
        for worker in workers
        for command in (
            do.TellKeeper(control.DrainWorker(worker)),
            do.TellWorker(worker, control.Drain()),
        )
    ]


def serve(worker: int) -> do.Command:
    return do.TellWorker(worker, control.Serve())


def test_ready_workers_serve_when_preferred() -> None:
    parts = Parts()
    parts.workers.note_ready(parts.workers.start(1, 0.0), 0.0)
    parts.workers.start(1, 0.0)
    parts.taken()
    parts.serving.take_over(1)
    assert parts.taken() == [do.TellKeeper(control.Prefer(1)), serve(1)]
    assert (parts.serving.number, parts.server.stage) == (1, ServerStage.SERVING)


def test_before_a_generation_serves_nothing_starts() -> None:
    parts = Parts()
    parts.serving.fill(0.0)
    parts.serving.work_waits(0.0)
    assert parts.taken() == []


def test_a_lost_worker_is_replaced() -> None:
    parts = serving()
    lose(parts, 1)
    assert parts.taken() == [do.StartWorker(3, 1, False)]
    ready(parts, 3)
    assert parts.taken() == [serve(3)]


def test_replacements_of_young_deaths_wait() -> None:
    parts = serving(1)
    lose(parts, 1, 1.0)
    lose(parts, 2, 1.0)
    assert parts.taken() == [do.StartWorker(2, 1, False)]
    assert parts.serving.back_off.until is not None
    parts.serving.fill(parts.serving.back_off.until)
    assert parts.taken() == [do.StartWorker(3, 1, False)]


def test_a_stopping_server_replaces_nobody() -> None:
    parts = serving()
    parts.server.tell(ServerFact.STOP)
    lose(parts, 1)
    assert parts.taken() == []


def test_a_spare_serves_in_place_of_a_lost_worker() -> None:
    parts = serving(1, spares=1)
    lose(parts, 1)
    assert parts.taken() == [serve(2), do.StartWorker(3, 1, False, True)]


def test_a_starting_spare_serves_once_it_is_ready() -> None:
    parts = serving(1, spares=1)
    lose(parts, 2)
    lose(parts, 1)
    parts.taken()
    assert not parts.child(3).spare
    ready(parts, 3)
    assert parts.taken() == [serve(3)]


def test_a_lost_spare_is_replaced_by_a_spare() -> None:
    parts = serving(1, spares=1)
    lose(parts, 2)
    assert parts.taken() == [do.StartWorker(3, 1, False, True)]
    ready(parts, 3)
    assert parts.taken() == []


def test_a_draining_spare_counts_no_more() -> None:
    parts = serving(2, min_workers=1, spares=1)
    idle(parts, 1, 2)
    parts.taken()
    parts.serving.work_waits(2.0)
    # Spare 3 has not left yet.
    started = [do.StartWorker(4, 1, False), do.StartWorker(5, 1, False, True)]
    assert parts.taken() == started


def test_a_retiring_worker_serves_until_it_is_replaced() -> None:
    parts = serving()
    parts.serving.worker_retiring(parts.child(1), 1.0)
    assert parts.taken() == [do.StartWorker(3, 1, False)]
    assert parts.child(1).state is ChildState.RETIRING
    assert parts.child(1).serves
    ready(parts, 3)
    assert parts.taken() == [serve(3), *drained(1)]


def test_all_idle_workers_leave_but_for_min_workers() -> None:
    parts = serving(3, min_workers=1)
    idle(parts, 1, 2)
    assert parts.taken() == []
    idle(parts, 3)
    assert parts.taken() == drained(1, 2)
    assert parts.server.is_asleep


def test_without_workers_requests_are_watched_for() -> None:
    parts = serving(1, min_workers=0, spares=1)
    idle(parts, 1)
    assert parts.taken() == [*drained(1, 2), do.Watch(on=True)]


def test_idle_workers_stay_during_a_stop() -> None:
    parts = serving(1, min_workers=0)
    parts.server.tell(ServerFact.STOP)
    idle(parts, 1)
    assert parts.taken() == []


def test_waiting_work_wakes_one_worker_first() -> None:
    parts = serving(2, min_workers=0)
    idle(parts, 1, 2)
    parts.taken()
    parts.serving.work_waits(2.0)
    assert parts.taken() == [do.Watch(on=False), do.StartWorker(3, 1, False)]
    parts.serving.work_waits(2.0)
    assert parts.taken() == []
    ready(parts, 3)
    assert parts.taken() == [serve(3), do.StartWorker(4, 1, False)]


def test_another_generation_ends_the_sleep() -> None:
    parts = serving(1, min_workers=0)
    idle(parts, 1)
    parts.workers.note_ready(parts.workers.start(2, 3.0), 3.0)
    parts.taken()
    parts.serving.take_over(2)
    assert parts.taken() == [do.Watch(on=False), do.TellKeeper(control.Prefer(2)), serve(2)]
