"""The table of an endpoint's life, walked along all of its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from holdfast.endpoints.stages import (
    ACCEPTING,
    ANSWERING,
    CONNECTING,
    ENDED,
    LEAVING,
    OPEN,
    OVER,
    RELEASED,
    RESUMING,
    TABLE,
    EndpointFact,
    EndpointStage,
    Tell,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGINS = (CONNECTING, RESUMING)
ENDS = (OVER, RELEASED)
# Where the endpoint knows of no end, and there is none to know of.
BEFORE_THE_END = (CONNECTING, ACCEPTING, ANSWERING, RESUMING, OPEN)


class Step(NamedTuple):
    before: EndpointStage
    fact: EndpointFact
    after: EndpointStage
    tell: tuple[Tell, ...]


Path = tuple[Step, ...]


def steps_from(stage: EndpointStage) -> Iterator[Step]:
    for (before, fact), (after, tell) in TABLE.items():
        if before is stage and after is not stage:
            yield Step(before, fact, after, tell)


def paths_from(stage: EndpointStage, walked: Path = ()) -> Iterator[Path]:
    """Yield all paths to where the table ends, or back to a stage that was passed."""
    passed = {each.before for each in walked}
    steps = [] if stage in passed else list(steps_from(stage))
    if not steps:
        yield walked
    for each in steps:
        yield from paths_from(each.after, (*walked, each))


PATHS = [path for begin in BEGINS for path in paths_from(begin)]


def told(path: Path) -> list[Tell]:
    return [tell for each in path for tell in each.tell]


def test_every_path_ends() -> None:
    assert len(PATHS) > 50
    assert {path[-1].after for path in PATHS} == set(ENDS)


def test_every_stage_is_on_a_path() -> None:
    assert {each.before for path in PATHS for each in path} == set(EndpointStage) - set(ENDS)


def test_every_endpoint_may_end() -> None:
    without = {stage for stage in EndpointStage if (stage, EndpointFact.ENDS) not in TABLE}
    assert without == {ENDED, *ENDS}


@pytest.mark.parametrize("tell", [Tell.DISCONNECT, Tell.CLOSE, Tell.RELEASE])
def test_nothing_is_told_twice(tell: Tell) -> None:
    assert max(told(path).count(tell) for path in PATHS) == 1


def test_disconnect_is_told_at_the_end() -> None:
    for path in PATHS:
        for length, each in enumerate(path):
            if each.before in (LEAVING, ENDED):
                break
            expected = 0 if each.before in BEFORE_THE_END else 1
            assert told(path[:length]).count(Tell.DISCONNECT) == expected, path


def test_nothing_is_sent_behind_a_close() -> None:
    senders = {stage for stage, fact in TABLE if fact is EndpointFact.SENDS}
    assert senders == {OPEN}
    for path in PATHS:
        for length, each in enumerate(path):
            assert each.before is not OPEN or Tell.CLOSE not in told(path[:length]), path


def test_no_close_follows_the_clients() -> None:
    ends = {EndpointFact.CLIENT_CLOSED, EndpointFact.LOST}
    for path in PATHS:
        has_ended = False
        for each in path:
            assert not has_ended or Tell.CLOSE not in each.tell, path
            has_ended = has_ended or each.fact in ends


def test_open_connection_is_closed_by_the_end() -> None:
    for stage in (OPEN, RESUMING):
        assert step(stage, EndpointFact.ENDS) == (ENDED, (Tell.CLOSE, Tell.ACKNOWLEDGE))


def test_released_connection_is_not_acknowledged() -> None:
    for path in PATHS:
        is_released = path[-1].after is RELEASED
        assert (Tell.RELEASE in told(path)) is is_released
        assert not is_released or Tell.ACKNOWLEDGE not in told(path), path


def test_deliveries_are_acknowledged_at_the_end() -> None:
    for path in PATHS:
        ends_open = any(each.before is OPEN for each in path) and path[-1].after is OVER
        # What a lost connection has delivered is nobody's business.
        is_lost = path[-1].fact is EndpointFact.LOST
        assert not ends_open or is_lost or Tell.ACKNOWLEDGE in path[-1].tell, path


def test_only_connections_are_released() -> None:
    before = {stage for stage, fact in TABLE if fact is EndpointFact.LEAVES}
    assert before.isdisjoint({CONNECTING, ACCEPTING, ANSWERING})


def test_unknown_fact_changes_nothing() -> None:
    assert step(OVER, EndpointFact.LOST) == (OVER, ())
