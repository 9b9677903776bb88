"""What `holdfast status`, `reload` and `stop` get as answers.

Shell. Private.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from holdfast.supervisor.status import count_http, describe
from holdfast.wire import control

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Any

    from holdfast.config import ServerSettings
    from holdfast.supervisor import commands as do
    from holdfast.supervisor.children import Processes
    from holdfast.supervisor.policy import Policy

T = TypeVar("T")

log = logging.getLogger("holdfast")

# Seconds. The keeper answers within one turn of its loop.
STATUS_TIMEOUT = 5.0

# What a keeper that is gone would say.
NO_STATUS = control.KeeperStatus(0, 0, 0, 0, 0, 0, 0, {})


class Operator:
    """Answers whoever asks on the control socket, and logs what generations come to.

    Args:
        policy: read, never told anything.
        reload: requests a reload; returns the generation that will be the answer, or None.
        stop: requests a stop; returns when the server has stopped.
    """

    def __init__(
        self,
        settings: ServerSettings,
        policy: Policy,
        processes: Processes,
        reload: Callable[[], int | None],
        stop: Callable[[], Awaitable[object]],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._processes = processes
        self._reload = reload
        self._stop = stop
        # Who asked for a reload, by the generation that will be the answer.
        self._reloads: dict[int, list[asyncio.Future[dict[str, Any]]]] = {}
        self._statuses: list[asyncio.Future[control.KeeperStatus]] = []
        # What workers have refused over HTTP, those that are gone too; by limit.
        self._http_hits: Counter[str] = Counter()

    async def answer(self, request: dict[str, Any]) -> object:
        command = request.get("command")
        if command == "status":
            return await self._status()
        if command == "reload":
            return await self._wait_for_generation(self._reload())
        if command == "stop":
            await self._stop()
            return {"ok": True}
        return {"ok": False, "summary": f"there is no command {command!r}"}

    # --- facts ----------------------------------------------------------------------------------

    def count(self, hits: Mapping[str, int]) -> None:
        """A worker has refused so much over HTTP since it said so last."""
        count_http(self._http_hits, hits, self._settings)

    def keeper_reported(self, status: control.KeeperStatus) -> None:
        waiting, self._statuses = self._statuses, []
        _answer_all(waiting, status)

    def keeper_lost(self) -> None:
        self.keeper_reported(NO_STATUS)

    def promoted(self, command: do.Promoted) -> None:
        generation = command.generation
        if generation == 1:
            log.info("serving %s on %s", self._settings.application, self._url())
        else:
            log.info("generation %d serves", generation)
        _answer_all(self._reloads.pop(generation, ()), {"ok": True, "generation": generation})

    def failed(self, command: do.GenerationFailed) -> None:
        summary, traceback = command.summary, command.traceback
        if command.generation == 1:
            what = "the application was not started"
        else:
            what = f"generation {command.generation} was given up"
        log.error("%s: %s\n%s", what, summary, traceback)
        answer = {"ok": False, "summary": summary, "traceback": traceback}
        _answer_all(self._reloads.pop(command.generation, ()), answer)

    # --- answers --------------------------------------------------------------------------------

    async def _wait_for_generation(self, generation: int | None) -> dict[str, Any]:
        if generation is None:
            return {"ok": False, "summary": "the server is stopping", "traceback": ""}
        waiter: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reloads.setdefault(generation, []).append(waiter)
        return await waiter

    async def _ask_keeper(self) -> control.KeeperStatus:
        keeper = self._processes.keeper
        if keeper.is_lost:
            return NO_STATUS
        waiter: asyncio.Future[control.KeeperStatus] = asyncio.get_running_loop().create_future()
        self._statuses.append(waiter)
        keeper.link.send(control.Report())
        return await asyncio.wait_for(waiter, STATUS_TIMEOUT)

    async def _status(self) -> dict[str, Any]:
        status = await self._ask_keeper()
        keeper, workers = self._processes.keeper, self._processes.workers
        return {
            "url": self._url(),
            "application": self._settings.application,
            "generation": self._policy.generation,
            "supervisor": {"pid": os.getpid(), "state": self._state()},
            "keeper": {
                "pid": keeper.process.pid,
                "state": "lost" if keeper.is_lost else "serving",
            },
            "workers": [
                {
                    "worker": child.worker,
                    "pid": workers[child.worker].process.pid,
                    "generation": child.generation,
                    "state": "spare" if child.spare else child.state.value,
                }
                for child in self._policy.children
                if child.worker in workers
            ],
            **describe(status, self._http_hits, self._settings),
        }

    def _state(self) -> str:
        server = self._policy.server
        if server.is_stopping:
            return "stopping"
        if server.is_asleep:
            return "asleep"
        return "serving" if self._policy.generation else "starting"

    def _url(self) -> str:
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"


def _answer_all(waiters: Iterable[asyncio.Future[T]], answer: T) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(answer)
