from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from holdfast.supervisor import commands as do
from holdfast.supervisor.back_off import BACK_OFF_MOST, YOUNG
from holdfast.supervisor.plan import ChildState, Plan
from holdfast.supervisor.policy import Policy
from holdfast.supervisor.workers import ASK_EVERY
from holdfast.wire import control
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT = 120.0
DRAIN_TIMEOUT = 30.0
BLOCKED_TIMEOUT = 60.0

CLOSE_ALL = [do.StopListening(), do.TellKeeper(control.CloseAll(1001, ""))]

UNFINISHED = "it has not finished within 30 s"


def new_policy(
    workers: int = 2, *, min_workers: int | None = None, spares: int = 0, blocked: float = 0.0
) -> Policy:
    plan = Plan(
        workers=workers,
        min_workers=workers if min_workers is None else min_workers,
        spares=spares,
        start_timeout=START_TIMEOUT,
        drain_timeout=DRAIN_TIMEOUT,
        blocked_timeout=blocked,
    )
    return Policy(plan, first_worker=1)


def starting(workers: int = 2) -> Policy:
    """Return a policy whose first generation is starting, with worker 1."""
    policy = new_policy(workers)
    policy.reload_requested(0.0)
    policy.take_commands()
    return policy


def serving(workers: int = 2) -> Policy:
    """Return a policy that serves generation 1, with workers 1, 2 and so on."""
    policy = starting(workers)
    for worker in range(1, workers + 1):
        policy.worker_ready(worker, 0.0)
    policy.take_commands()
    return policy


def reloading(workers: int = 2) -> Policy:
    """Return a policy that serves generation 1 and starts generation 2: its first worker."""
    policy = serving(workers)
    policy.reload_requested(0.0)
    policy.take_commands()
    return policy


def reloaded() -> Policy:
    """Return a policy that serves generation 2 with workers 3 and 4, while 1 and 2 drain."""
    policy = reloading()
    policy.worker_ready(3, 0.0)
    policy.worker_ready(4, 0.0)
    for worker in (1, 2):
        policy.worker_quiet(worker, 0.0)
    policy.take_commands()
    return policy


def asleep() -> Policy:
    """Return a policy whose workers, 1 and 2, have left because they were idle."""
    policy = serving_with(min_workers=0)
    for worker in (1, 2):
        policy.worker_idle(worker, 10.0)
    for worker in (1, 2):
        policy.worker_exited(worker, 0, 11.0)
    policy.take_commands()
    return policy


def serving_with(workers: int = 2, **plan: float) -> Policy:
    """Return a policy that serves with workers 1, 2 and so on; its spares are ready too."""
    policy = new_policy(workers, **plan)  # type: ignore[arg-type]
    policy.reload_requested(0.0)
    while waiting := [c for c in policy.children if c.state is ChildState.STARTING]:
        policy.worker_ready(waiting[0].worker, 0.0)
    policy.take_commands()
    return policy


def told(policy: Policy) -> list[control.ToWorker]:
    """Return what workers are told."""
    commands = policy.take_commands()
    return [each.message for each in commands if isinstance(each, do.TellWorker)]


def states(policy: Policy) -> dict[int, str]:
    return {child.worker: child.state.value for child in policy.children}


# Start.


def test_a_generation_starts_with_one_worker_that_installs_and_activates() -> None:
    policy = new_policy()
    policy.reload_requested(0.0)
    assert policy.take_commands() == [do.StartWorker(1, 1, first=True)]


def test_workers_are_numbered_from_where_they_are_told_to() -> None:
    plan = Plan(1, 1, 0, 1.0, 1.0, 0.0)
    policy = Policy(plan, first_worker=700)
    policy.reload_requested(0.0)
    assert policy.take_commands() == [do.StartWorker(700, 1, first=True)]


def test_the_first_generation_serves_as_soon_as_its_first_worker_is_ready() -> None:
    # The model differs: there, all workers start at once. Here the first one installs, the others
    # follow.
    policy = starting()
    assert policy.generation == 0
    policy.worker_ready(1, 1.0)
    expected = [
        do.StartWorker(2, 1, first=False),
        do.TellKeeper(control.Prefer(1)),
        do.TellWorker(1, control.Serve()),
        do.Promoted(1),
    ]
    assert policy.take_commands() == expected
    assert policy.generation == 1


def test_the_other_workers_serve_as_they_become_ready() -> None:
    policy = starting()
    policy.worker_ready(1, 1.0)
    policy.take_commands()
    policy.worker_ready(2, 2.0)
    assert policy.take_commands() == [do.TellWorker(2, control.Serve())]


def test_a_worker_becomes_ready_once() -> None:
    policy = serving()
    policy.worker_ready(1, 1.0)
    policy.worker_ready(404, 1.0)
    assert policy.take_commands() == []


def test_commands_are_taken_once() -> None:
    policy = new_policy()
    policy.reload_requested(0.0)
    policy.take_commands()
    assert policy.take_commands() == []


def test_a_server_whose_application_cannot_be_started_leaves_with_status_1() -> None:
    policy = starting()
    policy.worker_failed(1, "ImportError", "Traceback …", 1.0)
    failed = do.GenerationFailed(1, "ImportError", "Traceback …")
    assert policy.take_commands() == [do.Kill(1), failed]
    policy.worker_exited(1, 1, 1.0)
    assert policy.take_commands() == [do.Exit(1)]


def test_first_early_death_is_retried() -> None:
    policy = starting()
    policy.worker_exited(1, -9, 1.0)
    assert policy.take_commands() == [do.StartWorker(2, 1, first=True)]


@pytest.mark.parametrize(("status", "what"), [(3, "exit status 3"), (-9, "signal 9")])
def test_two_deaths_before_it_is_ready_end_a_generation(status: int, what: str) -> None:
    policy = starting()
    policy.worker_exited(1, 0, 1.0)
    policy.take_commands()
    policy.worker_exited(2, status, 1.0)
    summary = f"a worker died before it was ready ({what})"
    assert policy.take_commands() == [do.GenerationFailed(1, summary, ""), do.Exit(1)]


# Reload.


def test_a_new_generation_begins_with_its_first_worker_while_the_old_one_serves() -> None:
    policy = serving()
    policy.reload_requested(1.0)
    assert policy.take_commands() == [do.StartWorker(3, 2, first=True)]
    assert policy.generation == 1


def test_the_rest_of_a_generation_starts_when_its_first_worker_has_activated_it() -> None:
    policy = reloading(3)
    policy.worker_ready(4, 1.0)
    expected = [do.StartWorker(5, 2, first=False), do.StartWorker(6, 2, first=False)]
    assert policy.take_commands() == expected


def test_the_new_generation_replaces_the_old_one_when_all_its_workers_are_ready() -> None:
    # The model differs: there, the old one ends first.
    policy = reloading()
    policy.worker_ready(3, 1.0)
    policy.take_commands()
    policy.worker_ready(4, 1.0)
    replaced = [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(3, control.Serve()),
        do.TellWorker(4, control.Serve()),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]
    assert policy.take_commands() == replaced
    assert policy.generation == 2


@pytest.mark.parametrize("exits", [False, True])
def test_a_generation_is_promoted_when_no_older_worker_accepts_any_more(exits: bool) -> None:
    policy = reloading()
    policy.worker_ready(3, 1.0)
    policy.worker_ready(4, 1.0)
    policy.worker_quiet(1, 1.0)
    policy.take_commands()
    if exits:
        policy.worker_exited(2, 0, 1.0)
    else:
        policy.worker_quiet(2, 1.0)
    assert policy.take_commands() == [do.Promoted(2)]


def test_a_generation_is_promoted_once() -> None:
    policy = reloaded()
    for worker in (1, 2):
        policy.worker_quiet(worker, 1.0)
        policy.worker_exited(worker, 0, 1.0)
    assert policy.take_commands() == []


def test_an_old_worker_that_was_still_starting_is_killed() -> None:
    policy = starting()
    policy.worker_ready(1, 0.0)
    policy.reload_requested(0.0)
    policy.take_commands()
    policy.worker_ready(3, 1.0)
    policy.worker_ready(4, 1.0)
    assert policy.take_commands()[-2:] == [do.TellWorker(1, control.Drain()), do.Kill(2)]


def test_a_generation_of_one_worker_is_replaced_at_once() -> None:
    policy = reloading(1)
    policy.worker_ready(2, 1.0)
    assert policy.take_commands() == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(2, control.Serve()),
        do.TellWorker(1, control.Drain()),
    ]


def test_when_a_new_generation_cannot_be_started_the_old_one_goes_on() -> None:
    policy = reloading()
    policy.worker_failed(3, "SyntaxError", "…", 1.0)
    assert policy.take_commands() == [do.Kill(3), do.GenerationFailed(2, "SyntaxError", "…")]
    policy.worker_exited(3, 1, 1.0)
    assert policy.take_commands() == []
    assert policy.generation == 1


def test_all_workers_of_a_failed_generation_are_ended() -> None:
    policy = reloading()
    policy.worker_ready(3, 1.0)
    policy.take_commands()
    policy.worker_failed(4, "startup failed", "…", 1.0)
    assert policy.take_commands()[:2] == [do.Kill(3), do.Kill(4)]


def test_a_failed_generation_does_not_come_back_to_life() -> None:
    policy = reloading()
    policy.worker_failed(3, "SyntaxError", "…", 1.0)
    policy.take_commands()
    policy.worker_ready(3, 1.0)
    policy.worker_failed(3, "again", "…", 1.0)
    assert policy.take_commands() == []


def test_after_a_failed_reload_the_next_one_is_a_generation_of_its_own() -> None:
    # Numbers of generations do not come again.
    policy = reloading()
    policy.worker_failed(3, "SyntaxError", "…", 1.0)
    policy.take_commands()
    policy.reload_requested(2.0)
    assert policy.take_commands() == [do.StartWorker(4, 3, first=True)]


def test_activation_is_not_run_again_when_the_worker_that_ran_it_dies() -> None:
    policy = reloading()
    policy.worker_ready(3, 1.0)
    policy.take_commands()
    policy.worker_exited(3, -9, 1.0)
    assert policy.take_commands() == [do.StartWorker(5, 2, first=False)]


def test_a_death_is_forgotten_with_the_generation_it_was_in() -> None:
    policy = reloading()
    policy.worker_exited(3, -9, 1.0)
    policy.worker_failed(4, "SyntaxError", "…", 1.0)
    policy.reload_requested(2.0)
    policy.take_commands()
    policy.worker_exited(5, -9, 2.0)
    assert policy.take_commands() == [do.StartWorker(6, 3, first=True)]


def test_reloads_during_a_reload_wait_and_count_as_one() -> None:
    policy = reloading(1)
    policy.reload_requested(1.0)
    policy.reload_requested(1.0)
    policy.worker_ready(2, 2.0)
    policy.worker_exited(1, 0, 2.0)
    *_, promoted, start = policy.take_commands()
    assert (promoted, start) == (do.Promoted(2), do.StartWorker(3, 3, first=True))
    policy.worker_ready(3, 3.0)
    policy.worker_exited(2, 0, 3.0)
    assert policy.take_commands()[-1] == do.Promoted(3)


def test_a_reload_that_waited_starts_after_a_failure_as_well() -> None:
    policy = reloading()
    policy.reload_requested(1.0)
    policy.worker_failed(3, "SyntaxError", "…", 2.0)
    assert policy.take_commands()[-1] == do.StartWorker(4, 3, first=True)


def test_a_reload_waits_while_an_older_worker_still_accepts() -> None:
    policy = reloading(1)
    policy.worker_ready(2, 1.0)
    policy.reload_requested(1.0)
    policy.take_commands()
    policy.worker_quiet(1, 2.0)
    assert policy.take_commands() == [do.Promoted(2), do.StartWorker(3, 3, first=True)]


# Draining.


def test_a_worker_that_does_not_leave_in_time_is_killed_once() -> None:
    policy = reloaded()
    assert policy.next_tick() == DRAIN_TIMEOUT
    policy.tick(DRAIN_TIMEOUT - 0.1)
    assert policy.take_commands() == []
    policy.tick(DRAIN_TIMEOUT)
    assert policy.take_commands() == [do.Kill(1, UNFINISHED), do.Kill(2, UNFINISHED)]
    policy.tick(DRAIN_TIMEOUT + 1)
    assert (policy.take_commands(), policy.next_tick()) == ([], None)


def test_a_worker_that_has_drained_is_not_replaced() -> None:
    policy = reloaded()
    policy.worker_exited(1, 0, 1.0)
    assert policy.take_commands() == []
    assert states(policy) == {2: "draining", 3: "serving", 4: "serving"}


# Replacement.


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    policy = serving()
    policy.worker_exited(1, -9, 1.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False)]
    policy.worker_ready(3, 2.0)
    assert policy.take_commands() == [do.TellWorker(3, control.Serve())]


def test_a_death_is_told_once() -> None:
    policy = serving()
    policy.worker_exited(1, -9, 1.0)
    policy.take_commands()
    policy.worker_exited(1, -9, 1.0)
    assert policy.take_commands() == []


def delays_of_young_deaths(policy: Policy, count: int) -> Iterator[float]:
    """Let replacements die as soon as they are started; yield how long each takes to come."""
    now = 100.0
    for worker in range(2, count + 2):
        policy.worker_exited(worker, 1, now)
        commands, when = policy.take_commands(), now
        if not commands:
            when = policy.next_tick() or now
            policy.tick(when)
            commands = policy.take_commands()
        yield round(when - now, 3)
        assert commands == [do.StartWorker(worker + 1, 1, first=False)]
        now = when


def one_worker_whose_replacement_was_just_started() -> Policy:
    policy = serving(1)
    policy.worker_exited(1, 1, 100.0)
    policy.take_commands()
    return policy


def test_early_deaths_delay_replacements() -> None:
    delays = delays_of_young_deaths(one_worker_whose_replacement_was_just_started(), 10)
    assert list(delays) == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_deaths_may_go_on_for_a_day() -> None:
    # 2.0 ** 1024 is no float.
    delays = delays_of_young_deaths(one_worker_whose_replacement_was_just_started(), 8640)
    assert set(delays) == {0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, BACK_OFF_MOST}


def test_old_workers_death_resets_back_off() -> None:
    policy = one_worker_whose_replacement_was_just_started()
    list(delays_of_young_deaths(policy, 5))
    (child,) = policy.children
    policy.worker_exited(child.worker, 1, child.started + YOUNG)
    assert policy.take_commands() == [do.StartWorker(child.worker + 1, 1, first=False)]


def test_what_is_due_comes_when_it_is_due() -> None:
    policy = one_worker_whose_replacement_was_just_started()
    list(delays_of_young_deaths(policy, 1))
    policy.worker_exited(3, 1, 100.0)
    assert policy.next_tick() == pytest.approx(100.1)
    policy.tick(100.05)
    assert policy.take_commands() == []
    policy.tick(200.0)
    assert policy.take_commands() == [do.StartWorker(4, 1, first=False)]
    assert policy.next_tick() == 200.0 + START_TIMEOUT


def test_pending_start_dies_with_its_generation() -> None:
    policy = serving()
    for worker in (1, 2):
        policy.worker_exited(worker, 1, 1.0)
    policy.reload_requested(1.0)
    policy.worker_ready(4, 1.0)
    policy.worker_ready(5, 1.0)
    policy.take_commands()
    policy.tick(20.0)
    assert policy.take_commands() == []


def test_new_generation_resets_back_off() -> None:
    policy = one_worker_whose_replacement_was_just_started()
    list(delays_of_young_deaths(policy, 5))
    policy.reload_requested(103.0)
    policy.worker_ready(8, 103.0)
    policy.take_commands()
    policy.worker_exited(8, 1, 103.0)
    assert do.StartWorker(9, 2, first=False) in policy.take_commands()


def test_a_worker_of_the_serving_generation_that_cannot_start_is_replaced_when_it_exits() -> None:
    policy = starting()
    policy.worker_ready(1, 0.0)
    policy.take_commands()
    policy.worker_failed(2, "startup failed", "…", 1.0)
    assert policy.take_commands() == []
    policy.worker_exited(2, 1, 1.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False)]


def test_a_worker_that_broke_the_contract_is_killed_and_then_replaced() -> None:
    policy = serving()
    policy.worker_broken(1)
    assert policy.take_commands() == [do.Kill(1)]
    policy.worker_exited(1, -9, 9.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False)]


def test_a_worker_that_is_gone_is_not_killed() -> None:
    policy = serving()
    policy.worker_broken(404)
    assert policy.take_commands() == []


# The keeper.


def test_the_first_keeper_has_nothing_to_hear_of() -> None:
    policy = starting()
    policy.keeper_started(0.0)
    assert policy.take_commands() == []


def test_another_keeper_is_started_and_told_which_generation_serves() -> None:
    policy = serving()
    policy.keeper_started(0.0)
    policy.keeper_exited(100.0)
    assert policy.take_commands() == [do.StartKeeper()]
    policy.keeper_started(100.0)
    assert policy.take_commands() == [
        do.ConnectWorker(1),
        do.ConnectWorker(2),
        do.TellKeeper(control.Prefer(1)),
    ]


def test_early_keeper_is_told_generation_later() -> None:
    policy = starting()
    policy.keeper_exited(0.0)
    policy.take_commands()
    policy.keeper_started(0.0)
    assert policy.take_commands() == [do.ConnectWorker(1)]


def test_early_deaths_delay_keepers() -> None:
    policy, now = serving(), 0.0
    for delay in (0, 0.1, 0.2, 0.4):
        policy.keeper_exited(now)
        if delay:
            assert policy.take_commands() == []
            assert policy.next_tick() == pytest.approx(now + delay)
            policy.tick(now + delay)
        assert policy.take_commands() == [do.StartKeeper()]
        policy.keeper_started(now + delay)
        policy.take_commands()


def test_keeper_is_not_replaced_during_stop() -> None:
    policy = serving()
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.keeper_exited(2.0)
    assert policy.take_commands() == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]


def test_a_stop_does_not_wait_for_a_keeper_that_is_gone() -> None:
    policy = serving()
    for _ in range(2):
        policy.keeper_exited(1.0)
    policy.take_commands()
    policy.stop_requested(1.0)
    assert policy.take_commands()[-3:] == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]
    policy.tick(90.0)
    assert do.StartKeeper() not in policy.take_commands()


# A worker that takes too long to get ready.


def test_a_first_worker_that_does_not_get_ready_in_time_ends_its_generation() -> None:
    # Whoever waits for it hears of it.
    policy = reloading()
    assert policy.next_tick() == START_TIMEOUT
    policy.tick(START_TIMEOUT)
    summary = "its first worker was not ready within 120 s"
    assert policy.take_commands() == [do.Kill(3), do.GenerationFailed(2, summary, "")]
    assert policy.next_tick() is None
    assert policy.generation == 1


def test_another_worker_that_does_not_get_ready_in_time_is_killed_and_replaced() -> None:
    policy = serving()
    policy.worker_exited(1, -9, 0.0)
    policy.take_commands()
    policy.tick(START_TIMEOUT)
    assert policy.take_commands() == [do.Kill(3, "it was not ready within 120 s")]
    policy.worker_exited(3, -9, START_TIMEOUT)
    assert policy.take_commands() == [do.StartWorker(4, 1, first=False)]


# Spares.


def test_a_spare_is_started_beside_the_generation_that_serves() -> None:
    policy = new_policy(1, spares=1)
    policy.reload_requested(0.0)
    policy.take_commands()
    policy.worker_ready(1, 0.0)
    assert policy.take_commands() == [
        do.TellKeeper(control.Prefer(1)),
        do.TellWorker(1, control.Serve()),
        do.Promoted(1),
        do.StartWorker(2, 1, first=False, spare=True),
    ]
    policy.worker_ready(2, 1.0)
    assert policy.take_commands() == []


def test_a_spare_takes_the_place_of_a_worker_that_dies() -> None:
    policy = serving_with(1, spares=1)
    policy.worker_exited(1, -9, 100.0)
    assert policy.take_commands() == [
        do.TellWorker(2, control.Serve()),
        do.StartWorker(3, 1, first=False, spare=True),
    ]


def test_a_spare_that_still_starts_serves_when_it_is_ready() -> None:
    policy = new_policy(1, spares=1)
    policy.reload_requested(0.0)
    policy.worker_ready(1, 0.0)
    policy.take_commands()
    policy.worker_exited(1, -9, 100.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False, spare=True)]
    policy.worker_ready(2, 100.0)
    assert policy.take_commands() == [do.TellWorker(2, control.Serve())]


def test_a_ready_spare_goes_before_one_that_starts() -> None:
    policy = serving_with(1, spares=2)
    policy.worker_exited(2, -9, 100.0)
    policy.take_commands()
    policy.worker_exited(1, -9, 100.0)
    assert policy.take_commands()[0] == do.TellWorker(3, control.Serve())


def test_a_spare_that_dies_is_replaced_by_a_spare() -> None:
    policy = serving_with(1, spares=1)
    policy.worker_exited(2, -9, 100.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False, spare=True)]


def test_the_spare_of_an_old_generation_leaves_with_it() -> None:
    policy = serving_with(1, spares=1)
    policy.reload_requested(0.0)
    policy.take_commands()
    policy.worker_ready(3, 0.0)
    assert policy.take_commands()[:4] == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(3, control.Serve()),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]


# Workers that want to be replaced.


def test_a_worker_that_wants_to_be_replaced_serves_until_another_does() -> None:
    policy = serving()
    policy.worker_retiring(1, 1.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False)]
    policy.worker_ready(3, 2.0)
    assert policy.take_commands() == [
        do.TellWorker(3, control.Serve()),
        do.TellKeeper(control.DrainWorker(1)),
        do.TellWorker(1, control.Drain()),
    ]
    policy.worker_exited(1, 0, 3.0)
    assert policy.take_commands() == []


def test_all_may_want_to_be_replaced_at_once() -> None:
    policy = serving()
    policy.worker_retiring(1, 1.0)
    policy.worker_retiring(2, 1.0)
    policy.take_commands()
    for worker, retired in ((3, 1), (4, 2)):
        policy.worker_ready(worker, 2.0)
        assert policy.take_commands() == [
            do.TellWorker(worker, control.Serve()),
            do.TellKeeper(control.DrainWorker(retired)),
            do.TellWorker(retired, control.Drain()),
        ]


def test_a_spare_takes_the_place_of_a_worker_that_wants_to_be_replaced() -> None:
    policy = serving_with(1, spares=1)
    policy.worker_retiring(1, 1.0)
    assert policy.take_commands() == [
        do.TellWorker(2, control.Serve()),
        do.TellKeeper(control.DrainWorker(1)),
        do.TellWorker(1, control.Drain()),
        do.StartWorker(3, 1, first=False, spare=True),
    ]


def test_only_serving_workers_may_retire() -> None:
    policy = reloading()
    policy.worker_retiring(3, 1.0)
    policy.worker_retiring(404, 1.0)
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.worker_retiring(1, 1.0)
    assert policy.take_commands() == []


# Sleep.


def test_surplus_idle_workers_leave() -> None:
    policy = serving_with(3, min_workers=1)
    policy.worker_idle(1, 1.0)
    policy.worker_idle(3, 1.0)
    assert policy.take_commands() == []
    policy.worker_idle(2, 2.0)
    assert policy.take_commands() == [
        do.TellKeeper(control.DrainWorker(1)),
        do.TellWorker(1, control.Drain()),
        do.TellKeeper(control.DrainWorker(2)),
        do.TellWorker(2, control.Drain()),
    ]
    assert policy.is_asleep


def test_when_nobody_is_left_requests_are_looked_for() -> None:
    policy = serving_with(1, min_workers=0, spares=1)
    policy.worker_idle(1, 1.0)
    assert policy.take_commands() == [
        do.TellKeeper(control.DrainWorker(1)),
        do.TellWorker(1, control.Drain()),
        do.TellKeeper(control.DrainWorker(2)),
        do.TellWorker(2, control.Drain()),
        do.Watch(on=True),
    ]


def test_one_that_has_something_to_do_again_keeps_all() -> None:
    policy = serving_with(min_workers=0)
    policy.worker_idle(1, 1.0)
    policy.worker_busy(1, 1.0)
    policy.worker_idle(2, 1.0)
    assert policy.take_commands() == []


def test_without_a_smaller_number_to_go_to_nobody_leaves() -> None:
    policy = serving()
    policy.worker_idle(1, 1.0)
    policy.worker_idle(2, 1.0)
    policy.worker_idle(404, 1.0)
    policy.worker_busy(404, 1.0)
    assert policy.take_commands() == []


def test_nobody_leaves_while_a_generation_starts() -> None:
    policy = serving_with(min_workers=0)
    policy.reload_requested(1.0)
    policy.take_commands()
    for worker in (1, 2, 3):
        policy.worker_idle(worker, 1.0)
    assert policy.take_commands() == []


def test_work_that_waits_has_one_worker_started_and_then_the_others() -> None:
    policy = asleep()
    policy.work_waits(20.0)
    assert policy.take_commands() == [do.Watch(on=False), do.StartWorker(3, 1, first=False)]
    policy.work_waits(20.0)
    policy.tick(20.0)
    assert policy.take_commands() == []
    policy.worker_ready(3, 21.0)
    assert policy.take_commands() == [
        do.TellWorker(3, control.Serve()),
        do.StartWorker(4, 1, first=False),
    ]


def test_busy_remaining_worker_wakes_the_others() -> None:
    policy = serving_with(3, min_workers=1)
    for worker in (1, 2, 3):
        policy.worker_idle(worker, 1.0)
    policy.take_commands()
    policy.worker_busy(3, 2.0)
    assert policy.take_commands() == [
        do.StartWorker(4, 1, first=False),
        do.StartWorker(5, 1, first=False),
    ]


def test_waiting_work_starts_nobody_when_awake() -> None:
    policy = serving()
    policy.work_waits(1.0)
    assert policy.take_commands() == []


def test_one_that_stays_is_replaced_when_it_dies() -> None:
    policy = serving_with(2, min_workers=1)
    for worker in (1, 2):
        policy.worker_idle(worker, 1.0)
    policy.take_commands()
    policy.worker_exited(2, -9, 100.0)
    assert policy.take_commands() == [do.StartWorker(3, 1, first=False)]


def test_a_reload_wakes_everybody() -> None:
    policy = asleep()
    policy.reload_requested(20.0)
    policy.worker_ready(3, 20.0)
    policy.worker_ready(4, 20.0)
    expected = [
        do.Watch(on=False),
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(3, control.Serve()),
        do.TellWorker(4, control.Serve()),
        do.Promoted(2),
    ]
    assert policy.take_commands()[-5:] == expected
    assert not policy.is_asleep


def test_reload_waits_for_leaving_idle_workers() -> None:
    # They may still accept.
    policy = serving_with(2, min_workers=1)
    for worker in (1, 2):
        policy.worker_idle(worker, 1.0)
    policy.reload_requested(2.0)
    for worker in (3, 4):
        policy.worker_ready(worker, 2.0)
    assert do.Promoted(2) not in policy.take_commands()
    policy.worker_quiet(1, 3.0)
    policy.worker_quiet(2, 3.0)
    assert policy.take_commands() == [do.Promoted(2)]


# Blocked workers.


def test_workers_are_asked_whether_their_loops_turn() -> None:
    policy = serving_with(blocked=BLOCKED_TIMEOUT)
    assert policy.next_tick() == ASK_EVERY
    policy.tick(ASK_EVERY)
    assert policy.take_commands() == [
        do.TellWorker(1, wire.Probe()),
        do.TellWorker(2, wire.Probe()),
    ]
    assert policy.next_tick() == 2 * ASK_EVERY


def test_a_worker_that_does_not_answer_for_too_long_is_killed() -> None:
    policy, now = serving_with(blocked=BLOCKED_TIMEOUT), 0.0
    while now < BLOCKED_TIMEOUT:
        now += ASK_EVERY
        policy.tick(now)
        policy.worker_answered(2, now)
    assert do.Kill not in {type(command) for command in policy.take_commands()}
    policy.tick(now + ASK_EVERY)
    assert policy.take_commands() == [
        do.Kill(1, "its loop has stood for 65 s"),
        do.TellWorker(1, wire.Probe()),
        do.TellWorker(2, wire.Probe()),
    ]


def test_an_answer_of_nobody_changes_nothing() -> None:
    policy = serving_with(blocked=BLOCKED_TIMEOUT)
    policy.worker_answered(404, 1.0)
    policy.worker_quiet(404, 1.0)
    assert policy.take_commands() == []


def test_without_a_limit_nobody_is_asked() -> None:
    policy = serving()
    assert policy.next_tick() is None
    policy.tick(1000.0)
    assert policy.take_commands() == []


def test_who_is_starting_or_leaving_is_not_asked() -> None:
    policy = serving_with(blocked=BLOCKED_TIMEOUT)
    policy.worker_exited(1, -9, 1.0)
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.tick(DRAIN_TIMEOUT)
    assert wire.Probe() not in told(policy)


# Stop.


def test_a_stop_closes_listeners_and_connections_first() -> None:
    # The model differs: there, what comes during a stop waits for ever.
    policy = serving()
    policy.stop_requested(1.0)
    assert policy.take_commands() == [
        do.TellWorker(1, control.Quiesce()),
        do.TellWorker(2, control.Quiesce()),
        *CLOSE_ALL,
    ]


def test_workers_are_drained_when_the_close_events_have_been_handled() -> None:
    policy = serving()
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.connections_closed()
    # No worker is of generation 2: the keeper drains all there are.
    assert policy.take_commands() == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(1, control.Drain()),
        do.TellWorker(2, control.Drain()),
    ]


def test_the_server_leaves_when_the_last_worker_has() -> None:
    # Nobody waits for longer than they take.
    policy = serving()
    policy.stop_requested(1.0)
    policy.connections_closed()
    policy.take_commands()
    policy.worker_exited(1, 0, 2.0)
    assert policy.take_commands() == []
    policy.worker_exited(2, 0, 2.0)
    assert policy.take_commands() == [do.Exit(0)]


def test_a_stop_is_one_stop() -> None:
    policy = serving()
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.stop_requested(2.0)
    assert policy.take_commands() == []


def test_after_a_stop_nothing_is_started() -> None:
    policy = serving()
    policy.worker_exited(1, 1, 1.0)
    policy.worker_exited(2, 1, 1.0)
    policy.take_commands()
    policy.stop_requested(1.0)
    policy.connections_closed()
    policy.worker_exited(3, 1, 1.0)
    policy.reload_requested(2.0)
    policy.worker_retiring(4, 2.0)
    policy.work_waits(2.0)
    policy.tick(99.0)
    assert [c for c in policy.take_commands() if isinstance(c, do.StartWorker)] == []


def test_a_request_to_reload_tells_which_generation_will_be_the_answer() -> None:
    policy = new_policy()
    assert policy.reload_requested(0.0) == 1
    # One is starting: whoever asks now wants what comes after it.
    assert policy.reload_requested(0.1) == 2
    assert policy.reload_requested(0.2) == 2


def test_a_request_to_reload_while_stopping_has_no_answer() -> None:
    policy = new_policy()
    policy.stop_requested(1.0)
    assert policy.reload_requested(2.0) is None


def test_a_worker_that_is_starting_is_not_waited_for() -> None:
    policy = starting()
    policy.stop_requested(1.0)
    assert policy.take_commands() == [do.Kill(1), *CLOSE_ALL]
    policy.worker_exited(1, -9, 1.0)
    # It was asked to leave, and did.
    assert policy.take_commands() == [do.Exit(0)]


def test_a_worker_that_was_ready_when_the_signal_reached_it_starts_no_others() -> None:
    policy = reloading()
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.worker_ready(3, 1.0)
    assert policy.take_commands() == []


def test_a_stop_during_a_reload_ends_both_generations() -> None:
    policy = reloading()
    policy.worker_ready(3, 1.0)
    policy.stop_requested(1.0)
    policy.connections_closed()
    policy.take_commands()
    assert states(policy) == dict.fromkeys([1, 2, 3, 4], "draining")
    for worker in (1, 2, 3, 4):
        policy.worker_exited(worker, 0, 2.0)
    assert policy.take_commands() == [do.Exit(0)]


def test_reload_failure_is_told_during_stop() -> None:
    policy = reloading()
    policy.stop_requested(1.0)
    policy.take_commands()
    policy.worker_failed(3, "SyntaxError", "…", 1.0)
    assert do.GenerationFailed(2, "SyntaxError", "…") in policy.take_commands()


def test_a_stop_takes_no_longer_than_the_drain_timeout() -> None:
    policy = serving()
    policy.stop_requested(1.0)
    policy.take_commands()
    assert policy.next_tick() == 1.0 + DRAIN_TIMEOUT
    policy.tick(1.0 + DRAIN_TIMEOUT)
    assert policy.take_commands() == [do.Kill(1, UNFINISHED), do.Kill(2, UNFINISHED)]


def test_stop_does_not_extend_drain_deadline() -> None:
    policy = reloaded()
    policy.stop_requested(20.0)
    policy.take_commands()
    policy.tick(DRAIN_TIMEOUT)
    assert policy.take_commands() == [do.Kill(1, UNFINISHED), do.Kill(2, UNFINISHED)]


def test_without_workers_a_stop_is_the_end() -> None:
    policy = starting()
    policy.worker_exited(1, 1, 100.0)
    policy.worker_exited(2, 1, 100.0)
    assert policy.take_commands()[-1] == do.Exit(1)
    policy.stop_requested(100.0)
    assert policy.take_commands() == []


def test_close_events_have_a_worker_started_if_there_is_none() -> None:
    # They are dispatched before the server leaves, also when it slept or has just crashed.
    policy = asleep()
    policy.stop_requested(100.0)
    assert policy.take_commands() == [*CLOSE_ALL, do.StartWorker(3, 1, first=False)]
    policy.worker_ready(3, 101.0)
    assert policy.take_commands() == []
    policy.connections_closed()
    assert policy.take_commands() == [
        do.TellKeeper(control.Prefer(2)),
        do.TellWorker(3, control.Drain()),
    ]
    policy.worker_exited(3, 0, 102.0)
    assert policy.take_commands() == [do.Exit(0)]


def test_a_worker_for_close_events_is_not_waited_for_if_there_are_none() -> None:
    policy = asleep()
    policy.stop_requested(100.0)
    policy.take_commands()
    policy.connections_closed()
    assert policy.take_commands() == [do.TellKeeper(control.Prefer(2)), do.Kill(3)]


def test_a_worker_that_dies_of_a_close_event_is_replaced_a_few_times() -> None:
    policy = serving(1)
    policy.stop_requested(1.0)
    policy.take_commands()
    for worker in range(1, 5):
        policy.worker_exited(worker, -9, 1.0)
        commands = policy.take_commands()
        assert commands == (
            [do.StartWorker(worker + 1, 1, first=False)] if worker < 4 else [do.Exit(0)]
        )


def test_close_events_have_the_time_of_a_drain() -> None:
    policy = asleep()
    policy.stop_requested(100.0)
    policy.take_commands()
    policy.worker_ready(3, 101.0)
    assert policy.next_tick() == 100.0 + DRAIN_TIMEOUT
    policy.tick(100.0 + DRAIN_TIMEOUT)
    assert policy.take_commands() == [do.Kill(3, UNFINISHED)]


def test_empty_keeper_matters_only_in_stop() -> None:
    policy = serving()
    policy.connections_closed()
    assert policy.take_commands() == []


def test_states_can_be_seen_from_outside() -> None:
    policy = starting()
    policy.worker_ready(1, 0.0)
    policy.reload_requested(0.0)
    policy.worker_ready(3, 0.0)
    assert states(policy) == {1: "serving", 2: "starting", 3: "ready", 4: "starting"}


# Never a tight loop.


def start_times(workers: int, lives: list[float], until: float) -> list[float]:
    """Simulate workers that live this long, one after the other; return when each started."""
    policy, now, started = starting(workers), 0.0, list[float]()
    policy.worker_ready(1, 0.0)
    deaths, life = [(0.0, 1)], cycle(lives)
    while now < until:
        for command in policy.take_commands():
            if isinstance(command, do.StartWorker):
                policy.worker_ready(command.worker, now)
                heapq.heappush(deaths, (now + next(life), command.worker))
                started.append(now)
        tick = policy.next_tick()
        if deaths and (tick is None or deaths[0][0] <= tick):
            now, worker = heapq.heappop(deaths)
            policy.worker_exited(worker, 1, now)
        elif tick is not None:
            now = tick
            policy.tick(now)
    return started


@given(
    st.integers(1, 4),
    st.lists(st.one_of(st.just(0.0), st.floats(0, 2 * YOUNG)), min_size=1, max_size=20),
)
def test_restarts_never_form_a_tight_loop(workers: int, lives: list[float]) -> None:
    times = start_times(workers, lives, until=60.0)
    # A worker that has lived for a while lets the back-off begin again: one start at once, and
    # five more (0, 0.1, 0.2, 0.4 and 0.8 s) within the second.
    for time in times:
        assert len([other for other in times if time <= other < time + 1]) <= 7 * workers


def test_an_application_that_always_dies_is_started_every_few_seconds() -> None:
    times = start_times(4, [0.0], until=600.0)
    assert len([time for time in times if time > 60]) <= 4 * 540 / BACK_OFF_MOST + 4


# Whatever happens.

WORKERS = 3


@dataclass
class Seen:
    """A worker process, seen from outside."""

    generation: int
    spare: bool
    is_ready: bool = False
    accepts: bool = False
    is_retired: bool = False  # told to leave, one way or another
    is_retiring: bool = False  # has asked to be replaced


class PolicyMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.policy = new_policy(WORKERS)
        self.spares = 0
        self.min_workers = WORKERS
        self.now = 0.0
        self.alive: dict[int, Seen] = {}
        self.last_worker = 0
        self.serving = 0
        self.activated: set[int] = set()  # generations whose first worker became ready
        self.failed: set[int] = set()
        self.restarts: list[tuple[float, int]] = []
        self.is_watching = self.has_keeper = True
        self.is_stopping = self.are_connections_closed = self.has_nothing = False
        self.exits: list[int] = []

    @initialize(spares=st.sampled_from([0, 1, 2]), min_workers=st.sampled_from([0, 1, WORKERS]))
    def start(self, spares: int, min_workers: int) -> None:
        self.spares, self.min_workers, self.is_watching = spares, min_workers, False
        self.policy = new_policy(
            WORKERS, min_workers=min_workers, spares=spares, blocked=BLOCKED_TIMEOUT
        )
        self.policy.keeper_started(self.now)
        self.reload()

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.alive)))

    @rule()
    def reload(self) -> None:
        self.policy.reload_requested(self.now)
        self.run()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        if waiting := self.not_ready():
            self.become_ready(data.draw(st.sampled_from(waiting)))

    @precondition(lambda self: self.alive)
    @rule()
    def all_ready(self) -> None:
        while waiting := self.not_ready():
            self.become_ready(waiting[0])

    def not_ready(self) -> list[int]:
        return [number for number, seen in self.alive.items() if not seen.is_ready]

    def become_ready(self, worker: int) -> None:
        seen = self.alive[worker]
        seen.is_ready = True
        self.policy.worker_ready(worker, self.now)
        self.run()
        self.activated.add(seen.generation)

    @precondition(lambda self: self.alive and self.serving)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.policy.worker_failed(self.some(data), "why", "…", self.now)
        self.run()

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), status=st.sampled_from([0, 1, -9]))
    def exit(self, data: st.DataObject, status: int) -> None:
        self.bury(self.some(data), status)

    def bury(self, worker: int, status: int) -> None:
        del self.alive[worker]
        self.policy.worker_exited(worker, status, self.now)
        self.run(restarts=True)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def quiet(self, data: st.DataObject) -> None:
        retired = [number for number, seen in self.alive.items() if seen.is_retired]
        if retired:
            worker = data.draw(st.sampled_from(retired))
            self.alive[worker].accepts = False
            self.policy.worker_quiet(worker, self.now)
            self.run()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def broken(self, data: st.DataObject) -> None:
        worker = self.some(data)
        self.policy.worker_broken(worker)
        assert self.policy.take_commands() == [do.Kill(worker)]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def retiring(self, data: st.DataObject) -> None:
        worker = self.some(data)
        seen = self.alive[worker]
        seen.is_retiring |= seen.accepts and not seen.is_retired
        self.policy.worker_retiring(worker, self.now)
        self.run()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def idle(self, data: st.DataObject) -> None:
        self.policy.worker_idle(self.some(data), self.now)
        self.run()

    @rule()
    def all_idle(self) -> None:
        for worker in sorted(self.alive):
            self.policy.worker_idle(worker, self.now)
            self.run()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def busy(self, data: st.DataObject) -> None:
        self.policy.worker_busy(self.some(data), self.now)
        self.run()

    @rule()
    def work_waits(self) -> None:
        self.policy.work_waits(self.now)
        self.run()
        # Whatever waits, somebody comes.
        if self.serving and not self.is_stopping and not self.exits:
            assert not self.policy.is_asleep

    @rule()
    def another_keeper(self) -> None:
        self.has_keeper = False
        self.are_connections_closed |= self.is_stopping
        self.policy.keeper_exited(self.now)
        self.run()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.5, 4.0, 11.0, 2 * DRAIN_TIMEOUT]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.policy.tick(self.now)
        self.run(restarts=True)
        when = self.policy.next_tick()
        assert when is None or when > self.now

    @rule()
    def all_answer(self) -> None:
        for worker in sorted(self.alive):
            self.policy.worker_answered(worker, self.now)

    @precondition(lambda self: self.serving > 2)
    @rule()
    def stop(self) -> None:
        self.is_stopping = True
        self.are_connections_closed |= not self.has_keeper
        self.policy.stop_requested(self.now)
        self.run()

    @rule()
    def connections_closed(self) -> None:
        self.are_connections_closed |= self.is_stopping
        self.policy.connections_closed()
        self.run()

    # What follows.

    def run(self, *, restarts: bool = False) -> None:
        for command in self.policy.take_commands():
            self.follow(command)
            is_restart = isinstance(command, do.StartWorker) and not command.first
            if restarts and is_restart:
                self.restarts.append((self.now, self.serving))

    def follow(self, command: do.Command) -> None:
        match command:
            case do.StartWorker(worker, generation, first, spare):
                assert worker > self.last_worker
                assert first == (generation not in self.activated and not self.is_ready(generation))
                assert not (spare and (first or generation != self.serving))
                # During a stop only one, for close events.
                assert not self.is_stopping or not (
                    self.are_connections_closed or first or spare or self.of(generation)
                )
                self.last_worker = worker
                self.alive[worker] = Seen(generation, spare)
            case do.TellWorker(worker, control.Serve()):
                seen = self.alive[worker]
                assert seen.is_ready
                assert not seen.is_retired
                assert seen.generation == self.serving
                assert not self.is_stopping
                seen.accepts, seen.spare = True, False
            case do.TellKeeper(control.Prefer(generation)):
                assert generation >= self.serving
                assert generation not in self.failed
                # At the very end, a generation that will never be.
                self.serving = self.serving if self.are_connections_closed else generation
            case do.TellWorker(worker, wire.Probe()):
                assert self.alive[worker].is_ready
            case do.Watch(on):
                assert self.min_workers == 0
                assert on != self.is_watching
                self.is_watching = on
            case do.StartKeeper():
                assert not self.has_keeper
                assert not self.is_stopping
                self.has_keeper = True
                self.policy.keeper_started(self.now)
                connected = [
                    c for c in self.policy.take_commands() if isinstance(c, do.ConnectWorker)
                ]
                # And those that are about to start: the shell starts them with it.
                assert {each.worker for each in connected} >= set(self.alive)
            case _:
                self.follow_the_end(command)

    def of(self, generation: int) -> list[Seen]:
        return [seen for seen in self.alive.values() if seen.generation == generation]

    def is_ready(self, generation: int) -> bool:
        return any(seen.is_ready for seen in self.of(generation))

    def follow_the_end(self, command: do.Command) -> None:
        match command:
            case do.TellKeeper(control.DrainWorker(worker)):
                seen = self.alive[worker]
                # Others serve in its place, or there is nothing to do.
                others = [s for s in self.of(self.serving) if s.accepts and not s.is_retired]
                assert self.policy.is_asleep or (seen.is_retiring and len(others) > WORKERS)
                seen.is_retired = True
            case do.TellWorker(worker, control.Drain()):
                # The new one serves already, or there is nothing left to serve.
                seen = self.alive[worker]
                is_old = seen.generation < self.serving
                assert is_old or seen.is_retired or self.are_connections_closed
                seen.is_retired = True
            case do.Kill(worker, why):
                # Of those that serve, none is killed but at the end of its time.
                seen = self.alive[worker]
                assert seen.is_retired or not seen.accepts or self.is_stopping or "stood" in why
                # One that ran out of time may say that it is ready before the signal reaches it.
                seen.is_retired = seen.is_retired or not (seen.accepts or why)
            case do.TellWorker(worker, control.Quiesce()):
                assert self.is_stopping
                self.alive[worker].accepts = False
            case do.Promoted(generation):
                assert generation == self.serving or self.is_stopping
                assert {seen.generation for seen in self.alive.values() if seen.accepts} <= {
                    generation
                }
            case do.GenerationFailed(generation):
                assert generation > self.serving or self.is_stopping
                self.failed.add(generation)
                self.has_nothing |= not (self.serving or self.is_stopping)
            case do.Exit(status):
                assert self.alive == {}
                # 1 only if it leaves by itself, since its first generation was given up.
                assert status == self.has_nothing
                self.exits.append(status)

    # What always holds.

    @invariant()
    def one_generation_serves(self) -> None:
        accepting = {s.generation for s in self.alive.values() if s.accepts and not s.is_retired}
        assert accepting <= {self.serving}
        is_over = self.is_stopping or self.exits
        assert is_over or self.policy.generation == self.serving

    @invariant()
    def no_more_workers_than_wanted(self) -> None:
        for generation in {seen.generation for seen in self.alive.values()}:
            alive = [s for s in self.of(generation) if not (s.is_retired or s.is_retiring)]
            assert len(alive) <= WORKERS + self.spares

    @invariant()
    def no_tight_loop(self) -> None:
        for generation in {generation for _, generation in self.restarts}:
            since = [t for t, g in self.restarts if g == generation and t > self.now - 1]
            assert len(since) <= 7 * (WORKERS + self.spares)

    @invariant()
    def all_children_are_known(self) -> None:
        assert {child.worker for child in self.policy.children} == set(self.alive)
        for child in self.policy.children:
            assert child.state is not ChildState.SERVING or self.alive[child.worker].is_ready

    @invariant()
    def requests_are_looked_for_when_nobody_accepts_them(self) -> None:
        is_over = self.is_stopping or self.exits
        assert is_over or self.is_watching == (self.policy.is_asleep and not self.min_workers)

    def teardown(self) -> None:
        """Whatever has happened: all that should serve comes back, and the end is an end."""
        if self.serving and not self.is_stopping and not self.exits:
            self.all_answer()
            self.work_waits()
            self.now += BACK_OFF_MOST + 1
            self.policy.tick(self.now)
            self.run()
            for worker, seen in sorted(self.alive.items()):
                if seen.is_retired or not seen.is_ready:
                    self.bury(worker, -9)
            self.now += BACK_OFF_MOST + 1
            self.policy.tick(self.now)
            self.run()
            self.all_ready()
            present = [s for s in self.of(self.serving) if not s.is_retired]
            assert len([s for s in present if s.accepts]) == WORKERS
            assert len([s for s in present if s.spare]) == self.spares
        self.stop()
        self.connections_closed()
        for worker in sorted(self.alive):
            self.bury(worker, 0)
        assert len(self.exits) == 1


TestPolicyWhateverHappens = pytest.mark.timeout(400)(PolicyMachine.TestCase)
