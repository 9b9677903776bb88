from __future__ import annotations

import asyncio
from math import inf

import pytest

from holdfast.http.deadlines import GRAIN, Deadline, Deadlines
from tests import jumping


class Requests:
    """Requests that wait for ever, and what their clients were told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self._tell)
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    async def _tell(self, name: str) -> None:
        self.told.append(name)

    def begin(self, name: str, seconds: float) -> asyncio.Task[None]:
        """Have a request wait for at most so many seconds since these began."""
        return self._loop.create_task(self._wait(name, self._start + seconds))

    async def _wait(self, name: str, until: float) -> None:
        deadline = self.deadlines.add(until, name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if deadline.is_cancelled_by_others:
                raise
        finally:
            self.deadlines.remove(deadline)
        await deadline.told()


def test_each_request_ends_at_its_own_time() -> None:
    async def main() -> None:
        requests = Requests()
        tasks = [requests.begin(str(number), 0.001 * number) for number in (30, 1, 15, 16)]
        await asyncio.gather(*tasks)
        assert requests.told == ["1", "15", "16", "30"]

    jumping.run(main())


def test_client_is_told_before_listener_ends() -> None:
    async def main() -> None:
        requests, steps = Requests(), []

        async def slow() -> None:
            deadline = requests.deadlines.add(0, "x")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                while not requests.told:
                    await asyncio.sleep(0)
                await requests.begin("other", 2 * GRAIN)
                steps.append("cleaned up")
            await deadline.told()
            task = asyncio.current_task()
            assert task is not None
            steps.append(str(task.cancelling()))

        await asyncio.create_task(slow())
        assert steps == ["cleaned up", "0"]
        assert requests.told == ["x", "other"]

    jumping.run(main())


def test_a_request_that_has_ended_is_never_late() -> None:
    async def main() -> None:
        requests = Requests()

        async def quick() -> Deadline[str]:
            deadline = requests.deadlines.add(asyncio.get_running_loop().time(), "quick")
            requests.deadlines.remove(deadline)
            await requests.begin("other", 0.001)
            return deadline

        deadline = await asyncio.create_task(quick())
        assert deadline.telling is None
        assert requests.told == ["other"]

    jumping.run(main())


def test_infinite_deadline_never_cancels() -> None:
    async def main() -> None:
        requests = Requests()
        for_ever = requests.begin("for ever", inf)
        await requests.begin("a", 0)
        await requests.begin("b", GRAIN)
        for_ever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await for_ever
        assert requests.told == ["a", "b"]

    jumping.run(main())


def test_late_request_can_be_cancelled_by_others() -> None:
    async def main() -> None:
        requests = Requests()
        task = requests.begin("a", 0)
        # In the turn in which its time is up, and before the task notices.
        while not task.cancelling():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert requests.told == ["a"]

    jumping.run(main())
