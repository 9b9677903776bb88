"""One event, through its listeners, to an outcome.

Pure: a coroutine that awaits only what the listeners return. Hosts drive it and decide what the
outcome means; nothing is logged or sent from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import AlreadyDecided
from holdfast.core.events import Upgrade
from holdfast.core.http import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.events import ExtendableEvent, RequestEvent
    from holdfast.core.scope import Listener

__all__ = ["Failure", "dispatch", "dispatch_request"]


class Failure:
    """A listener raised: what, and whether its connection is to be closed for it."""

    __slots__ = ("closes", "error")

    def __init__(self, error: BaseException, *, closes: bool) -> None:
        self.error = error
        self.closes = closes


async def dispatch(event: ExtendableEvent, listeners: Sequence[Listener]) -> Failure | None:
    """Run every listener, one after the other; return the first failure.

    A listener that raises does not keep the others from running (DOM, "inner invoke"), but the
    event as a whole has failed.
    """
    failure: Failure | None = None
    for call, _, on_error in listeners:
        try:
            result = call(event)
            if result is not None and hasattr(result, "__await__"):
                await result
        except Exception as error:
            failure = failure or Failure(error, closes=on_error == "close")
    return failure


async def dispatch_request(
    event: RequestEvent, listeners: Sequence[Listener]
) -> Response | Upgrade | Failure | None:
    """Run the listeners of a request; return the answer, the first failure, or None.

    A Response that a listener returns answers the event if nothing else did. A listener that
    raises after it answered has failed all the same: the answer is one of its effects, and the
    effects of a failed event are discarded.
    """
    failure: Failure | None = None
    for call, _, _ in listeners:
        try:
            result = call(event)
            if result is not None and hasattr(result, "__await__"):
                result = await result
            if isinstance(result, Response):
                _answer(event, result)
        except Exception as error:
            failure = failure or Failure(error, closes=False)
    decision = event.decision
    if decision is None or isinstance(decision, Response | Upgrade):
        return failure or decision
    # An awaitable is awaited even after a failure, so that it never goes unretrieved.
    try:
        response = await decision
        if not isinstance(response, Response):
            kind = type(response).__qualname__
            raise TypeError(f"the awaitable given to respond_with made a {kind}, not a Response")
    except Exception as error:
        return failure or Failure(error, closes=False)
    return failure or response


def _answer(event: RequestEvent, response: Response) -> None:
    if event.decision is response:
        return
    if event.decision is not None:
        raise AlreadyDecided
    event.answer(response)
