from __future__ import annotations

from holdfast.ledger.worker_pool import SLACK, Worker, WorkerPool, WorkerState


def staff_with(*numbers: int, generation: int = 1) -> tuple[WorkerPool, list[Worker]]:
    """Return a staff that prefers generation 1, and its workers."""
    staff = WorkerPool()
    staff.prefer(1)
    workers = [Worker(number, generation) for number in numbers]
    for worker in workers:
        staff.add(worker)
    return staff, workers


# Who serves.


def test_workers_of_the_preferred_generation_serve() -> None:
    staff, (old,) = staff_with(1)
    new = Worker(2, 2)
    staff.add(new)
    assert staff.serving == [old]
    assert staff.prefer(2) == [old]
    staff.refresh()
    assert staff.serving == [new]
    assert (old.is_serving, old.welcome, new.is_serving) == (False, 0, True)


def test_nobody_serves_before_a_generation_is_preferred() -> None:
    staff = WorkerPool()
    staff.add(Worker(1, 1))
    assert staff.serving == []


def test_there_is_no_way_back_to_an_older_generation() -> None:
    staff, (worker,) = staff_with(1)
    assert staff.prefer(0) == []
    assert staff.generation == 1
    assert worker.is_serving


def test_who_drains_does_not_serve() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.state = WorkerState.DRAINING
    staff.refresh()
    assert staff.serving == [other]
    assert staff.prefer(2) == [other]


def test_a_worker_is_removed_once() -> None:
    staff, (one, other) = staff_with(1, 2)
    assert staff.remove(one)
    assert not staff.remove(one)
    assert (staff.serving, staff.get(1), staff.get(2)) == ([other], None, other)
    assert (one.is_serving, one.welcome) == (False, 0)


# Who is chosen.


def test_nobody_is_chosen_when_nobody_serves() -> None:
    staff, (worker,) = staff_with(1, generation=2)
    assert staff.choose(None) is None
    assert staff.choose(worker) is None
    assert staff.choose_for_suspect() is None


def test_a_connection_without_a_worker_goes_to_the_least_busy() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = 1
    assert staff.choose(None) is other


def test_idle_workers_take_turns() -> None:
    staff, (one, other) = staff_with(1, 2)
    assert [staff.choose(None) for _ in range(3)] == [one, other, one]


def test_a_connection_stays_until_its_worker_is_much_busier() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = SLACK
    assert staff.choose(one) is one
    one.load = SLACK + 1
    assert staff.choose(one) is other


def test_choice_is_cached_for_the_turn() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = other.load = SLACK
    assert staff.choose(one) is one
    assert one.welcome == 2 * SLACK
    staff.end_turn()
    assert one.welcome == SLACK


def test_the_end_of_a_turn_ends_its_deliveries() -> None:
    staff, (one,) = staff_with(1)
    one.deliveries = []
    staff.end_turn()
    assert one.deliveries is None


def test_the_only_one_is_always_welcome() -> None:
    staff, (one,) = staff_with(1)
    assert one.welcome > 2**31
    staff.add(Worker(2, 1))
    assert one.welcome == SLACK


def test_end_of_turn_leaves_the_only_one_welcome() -> None:
    staff, (one, other) = staff_with(1, 2)
    staff.choose(one)
    staff.remove(other)
    staff.end_turn()
    assert one.welcome > 2**31


def test_removed_worker_stays_unwelcome() -> None:
    staff, (one, _) = staff_with(1, 2)
    staff.choose(one)
    staff.end_turn()
    staff.remove(one)
    staff.end_turn()
    assert one.welcome == 0


def test_a_suspect_goes_to_the_least_busy_that_has_none() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = 1
    assert staff.choose_for_suspect() is other
    other.has_suspect = True
    assert staff.choose_for_suspect() is one
    one.has_suspect = True
    assert staff.choose_for_suspect() is None


# Loops that stand.


def test_silent_busy_worker_is_probed() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = other.load = 1
    other.acks = 5
    assert staff.find_silent() == [one]


def test_who_does_not_answer_gets_nothing_new() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = 1
    staff.find_silent()
    assert staff.serving == [one, other]
    assert staff.find_silent() == []
    assert staff.serving == [other]
    assert one.is_blocked


def test_who_answers_goes_on() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = 1
    for _ in range(3):
        assert staff.find_silent() == [one]
        one.is_probed = False  # by the answer
    assert staff.serving == [one, other]


def test_who_turns_again_gets_deliveries_again() -> None:
    staff, (one, other) = staff_with(1, 2)
    one.load = 1
    staff.find_silent()
    staff.find_silent()
    one.acks += 1
    assert staff.find_silent() == []
    assert staff.serving == [one, other]


def test_when_all_loops_stand_the_deliveries_wait_with_them() -> None:
    staff, (one,) = staff_with(1)
    one.load = 1
    staff.find_silent()
    staff.find_silent()
    assert one.is_blocked
    assert staff.serving == [one]


def test_a_new_worker_has_nothing_in_flight_and_does_not_serve_yet() -> None:
    worker = Worker(7, 2)
    assert (worker.number, worker.generation, worker.state) == (7, 2, WorkerState.READY)
    assert (worker.load, worker.acks, worker.welcome, worker.is_serving) == (0, 0, 0, False)
    assert worker.deliveries is None


def test_a_worker_shows_where_it_stands() -> None:
    worker = Worker(7, 2)
    worker.load = 3
    assert repr(worker) == "<Worker 7 generation 2 ready load 3>"
