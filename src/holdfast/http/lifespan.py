"""The lifespan of a mounted ASGI application in one worker.

Shell. As uvicorn's `--lifespan auto`: an application that raises when it is asked to start, without
a word about why, has no lifespan; one that says that it failed has failed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any, TypeAlias

    Message: TypeAlias = MutableMapping[str, Any]

log = logging.getLogger("holdfast.worker")

# How long an application may take to return when it has said that it has ended, or failed: then
# Starlette raises what went wrong.
LAST_WORDS = 1.0  # seconds


class LifespanFailed(Exception):
    """The application says that it cannot start, or could not end in order.

    Attributes:
        message (str): why; may be empty.
        error (BaseException | None): what it raised behind that.
    """

    def __init__(self, step: str, message: str, error: BaseException | None) -> None:
        self.step = step
        self.message = message
        self.error = error

    def __str__(self) -> str:
        # Starlette's message is a traceback, whose last line says what it is about.
        lines = self.message.strip().splitlines()
        return f"the lifespan {self.step} of the mounted application failed: " + (
            lines[-1] if lines else "it does not say why"
        )


class Lifespan:
    """One application; `startup` and `shutdown` once.

    Args:
        app: of ASGI 3.
        version: of ASGI that the scope names.
    """

    def __init__(self, app: Callable[..., Awaitable[object]], version: str) -> None:
        self.state: dict[str, Any] = {}
        """What the application keeps for its requests, each of which gets a copy."""
        self.app = app
        self._version = version
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        # What it has answered to the step that it is in.
        self._answer: asyncio.Future[Message] | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Return when the application has started, or is known to have no lifespan.

        Raises:
            LifespanFailed: it says that it cannot start.
        """
        self._task = asyncio.create_task(self._run())
        await self._take_step("startup")

    async def shutdown(self) -> None:
        """Return when the application has ended.

        Raises:
            LifespanFailed: it says that it could not end in order.
        """
        # One that has raised has no lifespan, or none any more.
        if self._task is not None and not self._task.done():
            await self._take_step("shutdown")
            await asyncio.wait([self._task], timeout=LAST_WORDS)

    async def _take_step(self, step: str) -> None:
        assert self._task is not None
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._to_app.put_nowait({"type": f"lifespan.{step}"})
        self._task.add_done_callback(lambda _: answer.done() or answer.cancel())
        await asyncio.wait([answer])
        if answer.cancelled():
            self._note_end(step)
        elif answer.result()["type"] == f"lifespan.{step}.failed":
            await asyncio.wait([self._task], timeout=LAST_WORDS)
            raise LifespanFailed(step, answer.result().get("message") or "", self._error())

    def _note_end(self, step: str) -> None:
        """The application has returned or raised, and not answered."""
        error = self._error()
        if error is None:
            pass  # uvicorn takes this for an answer as well.
        elif step == "startup":
            log.info("the mounted application has no lifespan: it raised %r", error)
        else:
            log.error("the lifespan %s of the mounted application raised", step, exc_info=error)

    def _error(self) -> BaseException | None:
        task = self._task
        assert task is not None
        return task.exception() if task.done() and not task.cancelled() else None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": self._version, "spec_version": "2.0"},
            "state": self.state,
        }
        await self.app(scope, self._to_app.get, self._send)

    async def _send(self, message: Message) -> None:
        answer, kind = self._answer, message["type"]
        assert answer is not None  # The application is running.
        if answer.done() or kind.rpartition(".")[2] not in ("complete", "failed"):
            raise RuntimeError(f"unexpected ASGI message {kind!r}")
        answer.set_result(message)
