"""An event loop whose time does not pass but jumps.

While anything is ready to run, time stands still. When nothing is, it is at once the time of the
next timer. So timers run in their order however busy the machine is, and a test waits for none.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor
    from typing import Any

__all__ = ["JumpingLoop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Never waits for a time; waits for descriptors and threads when there is no timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0
        """How many calls run in threads. No time passes before they have returned."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self.threads):
            return super().select(None)
        if not (ready := super().select(0)) and timeout:
            # As a real loop: a little late, and so never a rounding error too early.
            self.now += timeout + 1e-9
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        self._jumping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_has_returned)
        return future

    def _thread_has_returned(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1


def run(story: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in such a loop."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(story)
