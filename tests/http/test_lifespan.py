"""The lifespan of a mounted application: what it may do, and what it must not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.http.lifespan import Lifespan, LifespanFailed
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def live(app: Callable[..., Awaitable[object]]) -> Lifespan:
    """Run an application from its startup to its shutdown."""

    async def main() -> Lifespan:
        lifespan = Lifespan(app, "3.0")
        async with asyncio.timeout(5):
            await lifespan.startup()
            await lifespan.shutdown()
        return lifespan

    return jumping.run(main())


def complete(step: str) -> dict[str, str]:
    return {"type": f"lifespan.{step}.complete"}


def test_an_application_starts_and_ends_in_one_task() -> None:
    lines: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["pool"] = "a pool"
        task = asyncio.current_task()
        for step in ("startup", "shutdown"):
            lines.append((await receive())["type"])
            await send(complete(step))
        assert asyncio.current_task() is task
        lines.append({name: scope[name] for name in ("type", "asgi")})

    assert live(app).state == {"pool": "a pool"}
    asgi = {"version": "3.0", "spec_version": "2.0"}
    assert lines == ["lifespan.startup", "lifespan.shutdown", {"type": "lifespan", "asgi": asgi}]


def test_one_that_raises_without_a_word_has_no_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    live(app)
    assert "has no lifespan: it raised AssertionError" in caplog.text


def test_one_that_returns_at_once_has_started() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    live(app)


@pytest.mark.parametrize("step", ["startup", "shutdown"])
def test_one_that_says_that_it_failed_has_failed(step: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != f"lifespan.{step}":
            await send(complete("startup"))
        message = "Traceback…\nOSError: no database\n"
        await send({"type": f"lifespan.{step}.failed", "message": message})
        raise OSError("no database")

    with pytest.raises(LifespanFailed) as failed:
        live(app)
    assert str(failed.value) == (
        f"the lifespan {step} of the mounted application failed: OSError: no database"
    )
    assert isinstance(failed.value.error, OSError)


def test_one_need_not_say_why_it_failed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(LifespanFailed, match="it does not say why") as failed:
        live(app)
    assert failed.value.error is None


def test_one_that_raises_while_it_ends_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(complete("startup"))
        await receive()
        raise OSError("still busy")

    live(app)
    assert "the lifespan shutdown of the mounted application raised" in caplog.text
    assert "still busy" in caplog.text


def test_early_ended_lifespan_gets_no_shutdown() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(complete("startup"))

    live(app)


@pytest.mark.parametrize(
    "messages",
    [["lifespan.startup.complete", "lifespan.startup.complete"], ["http.response.start"]],
)
def test_what_comes_out_of_turn_is_an_error(messages: list[str]) -> None:
    errors: list[RuntimeError] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            for kind in messages:
                await send({"type": kind})
        except RuntimeError as error:
            errors.append(error)

    live(app)
    assert "unexpected ASGI message" in str(errors[0])


def test_one_that_never_started_needs_no_end() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    jumping.run(Lifespan(app, "3.0").shutdown())
