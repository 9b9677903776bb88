"""Runs tests that are coroutines, each in a loop of its own, and looks what they leave behind."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, ParamSpec

from holdfast import ServiceWorker
from holdfast.core.channels import channels
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from holdfast import WebSocketMessageEvent

__all__ = ["accepting", "echo_app", "in_loop", "in_real_loop", "left_behind"]

P = ParamSpec("P")

# What the kit replaces on the loop while it is open.
PATCHED = {"time", "call_at", "call_soon"}


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain test of a coroutine, which must leave nothing behind."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def story() -> None:
            # No asyncio.timeout around it, which the clock would make expire: pytest-timeout it is.
            await test(*args, **kwargs)
            assert left_behind() == []

        jumping.run(story())

    return run


def in_real_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Like `in_loop`, in real time: for frameworks with threads of their own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def left_behind() -> list[object]:
    """Everything that a closed TestClient should have taken away."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    # A loop that is not Python's own (uvloop) has no dictionary worth looking at.
    patched = PATCHED & getattr(loop, "__dict__", {}).keys()
    factory = loop.get_task_factory()
    return [*tasks, *patched, *channels._hosts, *([factory] if factory else [])]


def accepting() -> ServiceWorker:
    """An application that accepts every handshake."""
    app = ServiceWorker()

    @app.on("websocketupgrade")
    def accept(event: Any) -> None:
        event.accept()

    return app


def echo_app() -> ServiceWorker:
    """An application that sends back what it gets."""
    app = accepting()

    @app.on("websocketmessage")
    async def echo(event: WebSocketMessageEvent) -> None:
        event.source.send(event.data)

    return app
