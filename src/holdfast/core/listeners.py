"""Listeners as they are registered, on a scope or on a channel.

Pure. A row of listeners is a tuple that is replaced, never changed: who runs through one is not
disturbed by a listener that adds or removes others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Listener", "OnError", "Row", "with_listener", "without_listener"]

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
        TypeError: the listener cannot be called.
    """
    if any(known.registered == listener for known in row):
        return row
    return (*row, Listener(_callable(listener), listener, on_error))


def without_listener(row: Row, listener: object) -> Row:
    """Return `row` without `listener`, whether it was in it or not."""
    return tuple(known for known in row if known.registered != listener)


def _callable(listener: object) -> Callable[[Any], object]:
    if callable(listener):
        return listener
    handle: object = getattr(listener, "handle_event", None)
    if callable(handle):
        return handle
    kind = type(listener).__qualname__
    raise TypeError(f"a listener is callable or has a handle_event method; {kind} is neither")
