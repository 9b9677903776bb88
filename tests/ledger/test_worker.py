from __future__ import annotations

from holdfast.ledger.worker import Worker, WorkerState


def test_a_new_worker_has_nothing_in_flight_and_does_not_serve_yet() -> None:
    worker = Worker(7, 2)
    assert (worker.number, worker.generation, worker.state) == (7, 2, WorkerState.READY)
    assert (worker.load, worker.acks, worker.welcome, worker.is_serving) == (0, 0, 0, False)
    assert worker.deliveries is None


def test_a_worker_shows_where_it_stands() -> None:
    worker = Worker(7, 2)
    worker.load = 3
    assert repr(worker) == "<Worker 7 generation 2 ready load 3>"
