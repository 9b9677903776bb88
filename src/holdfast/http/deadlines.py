"""How long the listeners of requests may take.

Shell. Only requests whose listeners wait come here, and they share one timer, which is set anew
once per timeout and not per request: a timer of its own would cost each of them 1 µs.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

# Each turn of the timer looks at all requests that wait; a thousand whose time is up within one
# second, because a database stands still, must not make a thousand turns.
GRAIN = 0.01  # seconds

T = TypeVar("T")


class Deadline(Generic[T]):
    """That of one request, whose listeners run in `task`."""

    __slots__ = ("_request", "_task", "telling", "until")

    def __init__(self, until: float, task: asyncio.Task[Any], request: T) -> None:
        self.until = until
        self.telling: asyncio.Task[None] | None = None
        """Set when time was up: tells the client. Nothing decided since counts."""
        self._task = task
        self._request = request

    def expire(self, tell: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        # Beside the listener, which may catch the cancellation and go on, or take long to clean up.
        self.telling = self._task.get_loop().create_task(tell(self._request))
        self._task.cancel()

    @property
    def is_cancelled_by_others(self) -> bool:
        """True when somebody else has cancelled the task: the server, which stops."""
        return self._task.cancelling() > (self.telling is not None)

    async def told(self) -> None:
        """Return when the client was told."""
        assert self.telling is not None
        self._task.uncancel()
        await self.telling


class Deadlines(Generic[T]):
    """Cancels listeners whose time is up, and has their clients told.

    Args:
        tell: what to run for a request.
    """

    def __init__(self, tell: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        self._tell = tell
        # A dict for its order, and because a request that ends is removed at once.
        self._running: dict[Deadline[T], None] = {}
        self._next = inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, until: float, request: T) -> Deadline[T]:
        """Watch the current task; `remove` what is returned when its listeners have ended.

        Args:
            until: a time of the loop's clock; infinity for never.
        """
        task = asyncio.current_task()
        assert task is not None  # A request is answered by a task.
        deadline = Deadline(until, task, request)
        self._running[deadline] = None
        if until < self._next:
            self._set_timer(until)
        return deadline

    def remove(self, deadline: Deadline[T]) -> None:
        self._running.pop(deadline, None)

    def _set_timer(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = until
        self._timer = asyncio.get_running_loop().call_at(until, self._expire)

    def _expire(self) -> None:
        now = max(self._next, asyncio.get_running_loop().time())
        for deadline in [each for each in self._running if each.until <= now]:
            del self._running[deadline]
            deadline.expire(self._tell)
        self._timer, self._next = None, inf
        until = min((each.until for each in self._running), default=inf)
        if until < inf:
            self._set_timer(max(until, now + GRAIN))
