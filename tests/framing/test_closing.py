"""The closing handshake as a table: what is told, sent and done, and when (RFC 6455 section 7)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from holdfast.framing.closing import (
    ANSWERING,
    CLOSING,
    FINISHING,
    GONE,
    LINGERING,
    OPEN,
    TABLE,
    Do,
    Fact,
    Stage,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE_FRAMES = {Do.SEND_CLOSE, Do.ECHO_CLOSE}

Path = list[tuple[Stage, Fact, Stage, tuple[Do, ...]]]


def walk(stage: Stage, path: Path) -> Iterator[Path]:
    """Yield every path from here on that changes stage with each step, to where none goes on."""
    steps = [(fact, *step(stage, fact)) for fact in Fact]
    onward = [(fact, then, todo) for fact, then, todo in steps if then is not stage]
    if not onward:
        yield path
    for fact, then, todo in onward:
        yield from walk(then, [*path, (stage, fact, then, todo)])


PATHS = list(walk(OPEN, []))


def name(path: Path) -> str:
    return "-".join(fact.name for _, fact, *_ in path)


def run(*facts: Fact) -> tuple[Stage, list[Do]]:
    """Tell facts to a new connection; return its stage and all that was to be done."""
    stage, done = OPEN, list[Do]()
    for fact in facts:
        stage, todo = step(stage, fact)
        done += todo
    return stage, done


# -- every path


def test_every_row_is_on_a_path() -> None:
    walked = {(stage, fact) for path in PATHS for stage, fact, *_ in path}
    assert walked == {(stage, fact) for (stage, fact), (then, _) in TABLE.items() if then != stage}


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_every_path_ends_in_gone(path: Path) -> None:
    done = [do for *_, todo in path for do in todo]
    assert path[-1][2] is GONE
    assert done.count(Do.TELL) == 1
    assert done.count(Do.RELEASE) == 1
    assert done[-1] is Do.RELEASE
    assert sum(do in CLOSE_FRAMES for do in done) <= 1


def test_stages_only_go_forward() -> None:
    assert all(then >= stage for (stage, _), (then, _) in TABLE.items())


def test_only_shutting_down_keeps_the_stage() -> None:
    repeated = [todo for (stage, _), (then, todo) in TABLE.items() if then is stage]
    assert repeated == [(Do.SHUT_DOWN_WRITING,)]


def test_nothing_happens_after_the_end() -> None:
    assert all(step(GONE, fact) == (GONE, ()) for fact in Fact)


@pytest.mark.parametrize(("stage", "fact"), list(product(Stage, Fact)))
def test_what_is_not_listed_changes_nothing(stage: Stage, fact: Fact) -> None:
    if (stage, fact) not in TABLE:
        assert step(stage, fact) == (stage, ())


# -- Close frames (section 5.5.1)


def test_close_frame_answers_a_close_frame() -> None:
    assert run(Fact.PEER_CLOSES) == (
        FINISHING,
        [Do.ECHO_CLOSE, Do.TELL, Do.START_TIMER, Do.FINISH],
    )


def test_close_frame_is_not_answered_twice() -> None:
    stage, done = run(Fact.WE_CLOSE, Fact.PEER_CLOSES, Fact.PEER_CLOSES)
    assert (stage, Do.ECHO_CLOSE in done) == (FINISHING, False)


def test_nothing_follows_a_close_frame() -> None:
    # Owners write messages in the two stages before it, and in no other.
    for (stage, _), (then, todo) in TABLE.items():
        if CLOSE_FRAMES & {*todo}:
            assert stage in (OPEN, ANSWERING)
            assert then not in (OPEN, ANSWERING)


def test_application_closes_once() -> None:
    assert run(Fact.WE_CLOSE, Fact.WE_CLOSE) == (CLOSING, [Do.SEND_CLOSE, Do.START_TIMER])


# -- what is told (section 7.1.5)


def test_close_is_told_once() -> None:
    for fact, again in product(Fact, Fact):
        stage, done = run(fact, again, Fact.PEER_GONE)
        assert (stage, done.count(Do.TELL)) == (GONE, 1)


def test_our_close_is_told_with_the_answer() -> None:
    assert Do.TELL not in run(Fact.WE_CLOSE)[1]
    assert Do.TELL in run(Fact.WE_CLOSE, Fact.PEER_CLOSES)[1]


def test_vanished_peer_is_released_at_once() -> None:
    assert run(Fact.PEER_GONE) == (GONE, [Do.TELL, Do.RELEASE])


def test_dropped_peer_gets_no_close_frame() -> None:
    assert run(Fact.WE_DROP) == (GONE, [Do.TELL, Do.RELEASE])


@pytest.mark.parametrize("trouble", [Fact.WE_DROP, Fact.PEER_GONE])
@pytest.mark.parametrize("facts", list(product(Fact, repeat=2)), ids=str)
def test_close_frame_that_cannot_be_sent_tells_once(trouble: Fact, facts: tuple[Fact, ...]) -> None:
    # An owner finds out while it sends, in the middle of a step.
    stage, done = OPEN, list[Do]()

    def advance(fact: Fact) -> None:
        nonlocal stage
        stage, todo = step(stage, fact)
        for do in todo:
            done.append(do)
            if do in CLOSE_FRAMES:
                advance(trouble)

    for fact in (*facts, Fact.PEER_GONE):
        advance(fact)
    assert (stage, done.count(Do.TELL), done.count(Do.RELEASE)) == (GONE, 1, 1)


# -- violations (section 7.1.7)


def test_violation_waits_for_earlier_answers() -> None:
    assert run(Fact.PEER_VIOLATES) == (ANSWERING, [Do.START_TIMER, Do.ASK])


@pytest.mark.parametrize("fact", [Fact.ANSWERED, Fact.WE_CLOSE, Fact.WE_FAIL, Fact.DEADLINE])
def test_violation_is_closed_when_answered(fact: Fact) -> None:
    stage, done = run(Fact.PEER_VIOLATES, fact)
    assert (stage, done.count(Do.SEND_CLOSE), done.count(Do.TELL)) == (LINGERING, 1, 1)


def test_violation_while_closing_sends_no_frame() -> None:
    stage, done = run(Fact.WE_CLOSE, Fact.PEER_VIOLATES)
    assert (stage, done.count(Do.SEND_CLOSE)) == (LINGERING, 1)


def test_failed_connection_is_read_to_its_end() -> None:
    # Section 7.1.1: shut down writing, then read until the peer closes.
    stage, done = run(Fact.WE_FAIL, Fact.WRITTEN)
    assert (stage, done[-1]) == (LINGERING, Do.SHUT_DOWN_WRITING)
    assert run(Fact.WE_FAIL, Fact.WRITTEN, Fact.PEER_GONE)[0] is GONE


def test_orderly_close_ends_with_the_last_byte() -> None:
    assert run(Fact.PEER_CLOSES, Fact.WRITTEN)[0] is GONE
    assert run(Fact.WE_CLOSE, Fact.WRITTEN)[0] is CLOSING


# -- time


def test_silent_peer_is_dropped_after_timeout() -> None:
    stage, done = run(Fact.WE_CLOSE, Fact.DEADLINE)
    assert (stage, done[-2:]) == (GONE, [Do.TELL, Do.RELEASE])


def test_peer_that_reads_nothing_is_dropped() -> None:
    assert run(Fact.PEER_CLOSES, Fact.DEADLINE)[0] is GONE
    assert run(Fact.WE_FAIL, Fact.DEADLINE)[0] is GONE


def test_late_answers_leave_time_to_close() -> None:
    stage, done = run(Fact.PEER_VIOLATES, Fact.DEADLINE)
    assert (stage, done.count(Do.START_TIMER)) == (LINGERING, 2)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_timer_runs_until_the_end(path: Path) -> None:
    running = 0
    for _, fact, then, todo in path:
        running += todo.count(Do.START_TIMER) - (fact is Fact.DEADLINE)
        assert running > 0 or then is GONE


def test_deadline_means_nothing_to_open_connection() -> None:
    assert run(Fact.DEADLINE) == (OPEN, [])
