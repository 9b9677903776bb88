"""The sweep over connections that get nowhere; the clock is the test's."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from holdfast.config import HttpLimits
from holdfast.http.limits import BAD_REQUEST, OVERLOADED, HttpCounts, Phase, Vigil
from holdfast.http.timeouts import AT_ONCE, Sweep
from tests import jumping

LIMITS = HttpLimits(header_timeout=20, write_timeout=60, keep_alive=5)


class Line:
    """A connection that does what the test says."""

    def __init__(self, phase: Phase, progress: object = None) -> None:
        self.vigil = Vigil()
        self.phase = phase
        self.progress = progress
        self.expired: list[Phase] = []
        self.is_aborted = False
        self.transport: Any = self

    def condition(self) -> tuple[Phase, object]:
        return self.phase, self.progress

    def expire(self, phase: Phase) -> None:
        self.expired.append(phase)

    def abort(self) -> None:
        self.is_aborted = True


def sweep_of(*lines: Line, limits: HttpLimits = LIMITS) -> Sweep:
    return Sweep(limits, HttpCounts(), set(lines), lambda _: None)


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        (Phase.IDLE, 5),
        (Phase.HEAD, 20),
        (Phase.BODY, 20),
        (Phase.WRITING, 60),
        (Phase.LINGERING, 2),
    ],
)
def test_what_gets_nowhere_for_so_long_and_not_a_second_less_is_ended(
    phase: Phase, limit: int
) -> None:
    line = Line(phase)
    sweep = sweep_of(line)
    for now in range(limit):
        sweep.look(now)
    assert line.expired == []
    sweep.look(limit)
    assert line.expired == [phase]


def test_what_waits_for_this_server_waits_for_ever() -> None:
    line = Line(Phase.BUSY)
    sweep = sweep_of(line)
    sweep.look(0)
    sweep.look(1e9)
    assert line.expired == []


@pytest.mark.parametrize("phase", [Phase.BODY, Phase.WRITING])
def test_what_gets_on_however_slowly_lives(phase: Phase) -> None:
    line = Line(phase, 0)
    sweep = sweep_of(line)
    for now in range(1000):
        line.progress = now // 19
        sweep.look(now)
    assert line.expired == []


def test_each_connection_has_its_own_time() -> None:
    early, late = Line(Phase.IDLE), Line(Phase.BUSY)
    sweep = sweep_of(early, late)
    sweep.look(0)
    late.phase = Phase.IDLE
    sweep.look(3)
    sweep.look(5)
    assert (early.expired, late.expired) == ([Phase.IDLE], [])
    sweep.look(8)
    assert late.expired == [Phase.IDLE]


def test_a_connection_that_ends_others_does_no_harm() -> None:
    lines = {Line(Phase.IDLE), Line(Phase.IDLE)}

    class Ending(Line):
        def expire(self, phase: Phase) -> None:
            lines.clear()

    lines.add(Ending(Phase.IDLE))
    sweep = Sweep(LIMITS, HttpCounts(), lines, lambda _: None)
    sweep.look(0)
    sweep.look(5)
    assert not lines


@pytest.mark.parametrize(
    ("limits", "interval"),
    [
        (LIMITS, 1.0),
        (HttpLimits(keep_alive=0.4), 0.1),
        (HttpLimits(keep_alive=0.001), 0.02),
        (HttpLimits(keep_alive=0, header_timeout=0, write_timeout=0), 1.0),
    ],
)
def test_it_looks_often_enough_for_the_shortest_time(limits: HttpLimits, interval: float) -> None:
    assert sweep_of(limits=limits).interval == pytest.approx(interval)


def test_it_looks_until_it_is_stopped() -> None:
    async def main() -> None:
        line = Line(Phase.LINGERING)
        sweep = sweep_of(line, limits=HttpLimits(keep_alive=0.01))
        sweep.start(asyncio.get_running_loop())
        line.phase = Phase.IDLE
        async with asyncio.timeout(10):
            while len(line.expired) < 2:
                await asyncio.sleep(0.01)
        sweep.stop()
        assert [each for each in asyncio.all_tasks() if each is not asyncio.current_task()] == []

    jumping.run(main())


def test_a_connection_that_fails_is_ended_and_the_others_are_looked_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Line):
        def condition(self) -> tuple[Phase, object]:
            raise RuntimeError("broken")

    failing, others = Failing(Phase.IDLE), [Line(Phase.IDLE) for _ in range(10)]
    sweep = sweep_of(failing, *others)
    sweep.look(0)
    sweep.look(5)
    assert failing.is_aborted
    assert all(other.expired == [Phase.IDLE] for other in others)
    assert "RuntimeError: broken" in caplog.text


def test_many_connections_are_looked_at_a_few_at_a_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lines = [Line(Phase.IDLE) for _ in range(3 * AT_ONCE + 1)]
        sweep = sweep_of(*lines, limits=HttpLimits(keep_alive=0, header_timeout=1e-6))
        sweep.start(loop)
        most = before = 0
        async with asyncio.timeout(10):
            while before < len(lines):
                await asyncio.sleep(0)
                looked = sum(1 for line in lines if line.expired)
                most, before = max(most, looked - before), looked
        sweep.stop()
        assert most == AT_ONCE

    asyncio.run(main())


# --- the log


def test_one_line_tells_of_all_since_the_last(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdfast.worker")
    counts, told = HttpCounts(), list[dict[str, int]]()
    sweep = Sweep(LIMITS, counts, set(), told.append)
    for _ in range(1000):
        counts.count("bad_requests")
        sweep.note(BAD_REQUEST.because("bad\nthing"), ("192.0.2.1", 5))
    counts.count("limit_concurrency")
    sweep.note(OVERLOADED, None)
    sweep.stop()
    sweep.stop()
    assert caplog.messages == [
        "HTTP: bad_requests 1000, limit_concurrency 1; the last one: 503 to None, "
        "'too many requests at once'"
    ]
    assert told == [{"bad_requests": 1000, "limit_concurrency": 1}]


def test_nothing_in_the_log_breaks_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdfast.worker")
    counts, told = HttpCounts(), list[dict[str, int]]()
    sweep = Sweep(LIMITS, counts, set(), told.append)
    counts.count("bad_requests")
    sweep.note(BAD_REQUEST.because("bad\nthing\x1b"), ("evil\n", 5))
    sweep.stop()
    assert caplog.messages == [
        r"HTTP: bad_requests 1; the last one: 400 to 'evil\n', 'bad\nthing\x1b'"
    ]


def test_what_was_cut_off_has_no_answer_to_tell_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdfast.worker")
    counts, told = HttpCounts(), list[dict[str, int]]()
    sweep = Sweep(LIMITS, counts, set(), told.append)
    counts.count("write_timeout")
    sweep.stop()
    assert caplog.messages == ["HTTP: write_timeout 1"]
