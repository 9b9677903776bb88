from __future__ import annotations

import asyncio
import time

from tests.jumping import run


def test_timers_run_in_their_order_at_their_time() -> None:
    async def story() -> None:
        loop, log = asyncio.get_running_loop(), []

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            log.append((seconds, round(loop.time(), 6)))

        await asyncio.gather(*(sleep(seconds) for seconds in (7200, 0.015, 0.016)))
        assert log == [(0.015, 0.015), (0.016, 0.016), (7200, 7200)]

    run(story())


def test_time_stands_still_while_something_runs() -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_later(1e-6, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() == 0

    run(story())


def test_time_stands_still_while_a_thread_works() -> None:
    async def story() -> None:
        async with asyncio.timeout(1e-6):
            await asyncio.to_thread(time.sleep, 0.01)

    run(story())
