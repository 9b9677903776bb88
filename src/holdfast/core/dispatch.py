"""Listeners as they are registered, and one event through them to an outcome.

Pure: steps coroutines, awaits only what the listeners await, knows no event loop. Hosts drive it
and decide what the outcome means; nothing is logged or sent from here.

The listeners of one event type are a tuple that is replaced, never changed: a dispatch is not
disturbed by a listener that adds or removes others. Listeners run one after the other.

`begin` goes as far as it can without waiting, so that an event whose listeners never wait costs no
coroutine of ours. Where a listener waits, `begin` returns the rest as something to await.
`first_step` does the same for any coroutine: a request costs no timer unless its listeners wait.
"""

from __future__ import annotations

from inspect import isasyncgenfunction, isgeneratorfunction
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from holdfast.core.events import discard
from holdfast.core.request_events import Upgrade
from holdfast.errors import AlreadyDecided
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )

    from holdfast.core.events import ExtendableEvent
    from holdfast.core.request_events import RequestEvent

T_co = TypeVar("T_co", covariant=True)

# In the place of what a coroutine awaits, when it has ended.
_ENDED: Any = object()

# Whatever else a listener raises before it has waited is its own failure; so is CancelledError,
# since nobody could have cancelled anything yet (it awaited something that was cancelled before).
_ENDS_THE_PROCESS = (KeyboardInterrupt, SystemExit)

# What a listener of a request that returned something else should do.
_INSTEAD = {
    "fetch": "return a Response, or None to leave the request to the next listener",
    "websocketupgrade": "call event.accept() or event.reject(response), or return None to leave it "
    "to the next listener",
}


OnError = Literal["continue", "close"]


class Listener(NamedTuple):
    """A registered function and what happens to the connection when it raises."""

    call: Callable[[Any], object]
    registered: object
    on_error: OnError


Row: TypeAlias = tuple[Listener, ...]


def with_listener(row: Row, listener: object, on_error: OnError = "continue") -> Row:
    """Return `row` with `listener` at its end, or as it is if `listener` is in it already.

    Raises:
        TypeError: the listener cannot be called, or would not run when it is.
    """
    if any(known.registered == listener for known in row):
        return row
    return (*row, Listener(_callable(listener), listener, on_error))


def without_listener(row: Row, listener: object) -> Row:
    """Return `row` without `listener`, whether it was in it or not."""
    return tuple(known for known in row if known.registered != listener)


def check_event_type(type_: object) -> None:
    """Raise TypeError unless this may be the name of an event."""
    if not isinstance(type_, str):
        raise TypeError(f"the type of an event is a str, not {type(type_).__qualname__}")


def _callable(listener: object) -> Callable[[Any], object]:
    call: object = listener if callable(listener) else getattr(listener, "handle_event", None)
    if not callable(call):
        kind = type(listener).__qualname__
        raise TypeError(f"a listener is callable or has a handle_event method; {kind} is neither")
    # Calling it only makes a generator, which nobody would step.
    if isgeneratorfunction(call) or isasyncgenfunction(call):
        raise TypeError(f"a listener does not yield: of {call!r}, not a line would run")
    return call


class Failure:
    """A listener raised: what, and whether its connection is to be closed for it."""

    __slots__ = ("closes", "error")

    def __init__(self, error: BaseException, *, closes: bool) -> None:
        self.error = error
        self.closes = closes

    def take(self) -> BaseException:
        """Return the error, and keep it no longer: to be called last.

        Its traceback leads to the frames it came through, and from there to this object: a circle,
        which only the garbage collector could free, with all that belongs to the event.
        """
        error = self.error
        del self.error
        return error


class Steppable(Protocol[T_co]):
    """A coroutine, or the next item of an async generator on its way."""

    def send(self, value: Any, /) -> Any: ...
    def throw(self, error: BaseException, /) -> Any: ...
    def __await__(self) -> Generator[Any, Any, T_co]: ...


class Waiting(Generic[T_co]):
    """A coroutine that was stepped and waits. Await `finish()` for its result."""

    __slots__ = ("_awaited", "_work")

    def __init__(self, work: Steppable[T_co], awaited: object) -> None:
        self._work = work
        self._awaited = awaited

    @coroutine
    def finish(self) -> Generator[Any, Any, T_co]:
        awaited, work = self._awaited, self._work
        try:
            while True:
                try:
                    result = yield awaited
                except BaseException as error:
                    awaited = work.throw(error)
                else:
                    if result is None:
                        break
                    awaited = work.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        # What event loops send is None, and so is what `yield from` begins with: from here on the
        # interpreter steps the work itself.
        return (yield from work.__await__())


def first_step(work: Steppable[T_co]) -> T_co | Waiting[T_co]:
    """Run `work` until it ends or waits; return its result, or the rest of it.

    Raises whatever `work` raises.
    """
    try:
        return Waiting(work, work.send(None))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class Suspended:
    """An event one of whose listeners waits. Await `finish()` for the outcome."""

    __slots__ = ("_awaited", "_event", "_failure", "_listener", "_rest", "_running")

    def __init__(
        self,
        event: ExtendableEvent,
        listener: Listener,
        running: Coroutine[Any, Any, object],
        awaited: object,
        rest: Iterator[Listener],
        failure: Failure | None,
    ) -> None:
        self._event = event
        self._listener = listener
        self._running = running
        self._awaited = awaited
        self._rest = rest
        self._failure = failure

    @coroutine
    def finish(self) -> Generator[Any, Any, Failure | None]:
        """Run the listener that waits to its end, and then the others."""
        outcome: Failure | Suspended | None = self
        while isinstance(outcome, Suspended):
            failure = yield from outcome._end_listener()
            outcome = begin(outcome._event, outcome._rest, failure)
        return outcome

    def _end_listener(self) -> Generator[Any, Any, Failure | None]:
        awaited, running = self._awaited, self._running
        try:
            while True:
                try:
                    result = yield awaited
                except BaseException as error:
                    awaited = running.throw(error)
                else:
                    awaited = running.send(result)
        except StopIteration:
            return self._failure
        except Exception as error:
            return self._failure or Failure(error, closes=self._listener.on_error == "close")


async def dispatch(event: ExtendableEvent, listeners: Sequence[Listener]) -> Failure | None:
    """Run every listener to its end; return the first failure."""
    outcome = begin(event, listeners)
    return await outcome.finish() if isinstance(outcome, Suspended) else outcome


def begin(
    event: ExtendableEvent, listeners: Iterable[Listener], failure: Failure | None = None
) -> Failure | Suspended | None:
    """Run the listeners until all have returned or one waits.

    A listener that raises does not keep the others from running (DOM, "inner invoke"), but the
    event as a whole has failed: the outcome is the first failure, or `failure`.
    """
    rest = iter(listeners)
    for listener in rest:
        try:
            running = listener.call(event)
            if type(running) is not CoroutineType:
                if not hasattr(running, "__await__"):
                    continue
                running = _await(running)
        except _ENDS_THE_PROCESS:
            raise
        except BaseException as error:
            failure = failure or Failure(error, closes=listener.on_error == "close")
            continue
        try:
            # Not `send`, which would make an error of the end of each.
            awaited = next(running.__await__(), _ENDED)
        except _ENDS_THE_PROCESS:
            raise
        except BaseException as error:
            failure = failure or Failure(error, closes=listener.on_error == "close")
            continue
        if awaited is not _ENDED:
            return Suspended(event, listener, running, awaited, rest, failure)
    return failure


async def _await(work: Awaitable[object]) -> object:
    return await work


async def dispatch_request(
    event: RequestEvent, listeners: Sequence[Listener]
) -> Response | Upgrade | Failure | None:
    """Run the listeners of a request; return the answer, the first failure, or None.

    A Response that a listener returns answers the event if nothing else did; what is neither that
    nor None is a failure. A listener that raises after it answered has failed all the same: the
    answer is one of its effects, and the effects of a failed event are discarded.
    """
    failure: Failure | None = None
    try:
        for listener in listeners:
            try:
                result = listener.call(event)
                if result is not None and hasattr(result, "__await__"):
                    result = await result
                if result is not None:
                    _answer(event, listener, result)
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
                raise TypeError(
                    f"the awaitable given to respond_with made a {kind}, not a Response"
                )
        except Exception as error:
            return failure or Failure(error, closes=False)
        return failure or response
    finally:
        # An error has this frame in its traceback: a circle, which only the garbage collector could
        # free, with all that belongs to the request.
        failure = None


def _answer(event: RequestEvent, listener: Listener, result: object) -> None:
    """Take what a listener returned for its answer.

    Raises:
        AlreadyDecided: another one was given before.
        TypeError: it is none, and would be lost: the listener's author meant it.
    """
    decision = event.decision
    if isinstance(result, Response):
        if decision is None:
            event.answer(result)
        elif decision is not result:
            raise AlreadyDecided
        return
    # What `accept` and `upgrade_websocket` return may be passed on, as a lambda does.
    if isinstance(decision, Upgrade) and decision.connection is result:
        return
    discard(result)
    kind = type(result).__qualname__
    name = getattr(listener.registered, "__qualname__", type(listener.registered).__qualname__)
    instead = _INSTEAD[event.type]
    raise TypeError(f"the {event.type} listener {name} returned {kind}; {instead}")
