"""Listeners as they are registered, on a scope or on a channel.

Pure. A row of listeners is a tuple that is replaced, never changed: who runs through one is not
disturbed by a listener that adds or removes others.
"""

from __future__ import annotations

from inspect import isasyncgenfunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

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
