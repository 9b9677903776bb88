"""Whose task is it? A worker that is lost takes all its tasks with it, and only those.

Shell. Each worker runs in a context of its own, which says whose it is and which its tasks
inherit, as asyncio's tasks do. So also those count that a listener or a library started on its
own. All clients on one loop share one watch.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def retrieve(task: asyncio.Task[Any]) -> None:
    """Have looked at what a task raised: else asyncio complains where nobody else wants it."""
    if not task.cancelled():
        task.exception()


class Owner:
    """A worker as the owner of tasks."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.is_lost = False

    def own(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def lose(self) -> None:
        """Cancel all tasks; there will be no new ones."""
        self.is_lost = True
        for task in list(self.tasks):
            task.cancel()

    async def reap(self, timeout: float) -> None:
        """Return when all tasks have ended, or after `timeout` seconds: some resist."""
        current = asyncio.current_task()
        tasks = [task for task in self.tasks if task is not current]
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=timeout)
            for task in done:
                retrieve(task)


current_owner: ContextVar[Owner] = ContextVar("holdfast_test_owner")


class TaskWatch:
    """The loop's task factory while a client is open."""

    def __init__(self, before: Any) -> None:
        self._before = before
        self._users = 0

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> TaskWatch:
        """Return the watch of this loop, put in place; `close` undoes it."""
        watch = getattr(loop.get_task_factory(), "__self__", None)
        if not isinstance(watch, TaskWatch):
            watch = cls(loop.get_task_factory())
            loop.set_task_factory(watch.make_task)
        watch._users += 1
        return watch

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """One user less; after the last one, the loop has the factory it had before."""
        self._users -= 1
        if not self._users and getattr(loop.get_task_factory(), "__self__", None) is self:
            loop.set_task_factory(self._before)

    # The type of a task factory differs between Python's versions.
    def make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        context = options.get("context")
        owner = current_owner.get(None) if context is None else context.get(current_owner)
        if owner is not None and owner.is_lost:
            # Code of a worker that does not exist any more.
            work.close()
            raise asyncio.CancelledError
        if self._before is None:
            task = asyncio.Task(work, loop=loop, **options)
        else:
            task = self._before(loop, work, **options)
        if owner is not None:
            owner.own(task)
        return task


class OwnedLoop:
    """The loop as the parts of a worker use it: what they start is the worker's.

    Args:
        on_end: called when one of the tasks has ended.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, owner: Owner, on_end: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._on_end = on_end

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """Return this as what it passes for."""
        return cast("asyncio.AbstractEventLoop", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_task(self, work: Coroutine[Any, Any, None], **options: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(work, **options)
        # Here too: somebody may have replaced the loop's task factory in the meantime.
        self._owner.own(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._on_end()
