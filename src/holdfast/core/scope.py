"""ServiceWorker: the scope that an application registers its listeners on.

Pure. A host asks it for the listeners of an event; nothing is dispatched from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, overload

from holdfast.core.registration import Registration

if TYPE_CHECKING:
    from holdfast.core import events

__all__ = ["EVENT_TYPES", "Listener", "ServiceWorker"]

# The aliases are the names of the seed of the model (inventory 0.4, K20).
ALIASES = {"wsmessage": "websocketmessage", "wsclose": "websocketclose"}

EVENT_TYPES = (
    "install",
    "activate",
    "startup",
    "shutdown",
    "fetch",
    "websocketupgrade",
    "websocketmessage",
    "websocketclose",
    "error",
)

OnError = Literal["continue", "close"]

E = TypeVar("E")
R = TypeVar("R")
L = TypeVar("L", bound=Callable[..., object])


class Decorator(Protocol[E]):
    """What `ServiceWorker.on` returns: it gives the function back as it was."""

    def __call__(self, listener: Callable[[E], R], /) -> Callable[[E], R]: ...


class Listener(NamedTuple):
    """A registered function and what happens to the connection when it raises."""

    call: Callable[[Any], object]
    registered: object
    on_error: OnError


class ServiceWorker:
    """What an application registers its listeners on, usually as `app` at module level.

    Listeners are `def` or `async def` functions of one argument, the event, or objects with a
    `handle_event` method. They run in the order of registration.
    """

    def __init__(self) -> None:
        self.registered: dict[str, tuple[Listener, ...]] = dict.fromkeys(EVENT_TYPES, ())
        """For hosts: the listeners by event type, in order."""
        self.registration = Registration()

    def add_event_listener(
        self, type: str, listener: object, *, on_error: OnError = "continue"
    ) -> None:
        """Register `listener` for events of `type`. Registering it again changes nothing.

        Args:
            type: "install", "activate", "startup", "shutdown", "fetch", "websocketupgrade",
                "websocketmessage", "websocketclose" or "error".
            listener: a function of the event, or an object with a `handle_event` method.
            on_error: "close" closes the connection with 1011 when the listener raises.

        Raises:
            ValueError: there is no such event.
            TypeError: the listener cannot be called.
        """
        name = _event_type(type)
        if on_error not in ("continue", "close"):
            raise ValueError(f"on_error is 'continue' or 'close', not {on_error!r}")
        present = self.registered[name]
        if all(known.registered != listener for known in present):
            self.registered[name] = (*present, Listener(_callable(listener), listener, on_error))

    def remove_event_listener(self, type: str, listener: object) -> None:
        """Undo `add_event_listener`. A listener that is not registered is no error.

        Raises:
            ValueError: there is no such event.
        """
        name = _event_type(type)
        present = self.registered[name]
        self.registered[name] = tuple(known for known in present if known.registered != listener)

    @overload
    def on(
        self, type: Literal["install"], *, on_error: OnError = ...
    ) -> Decorator[events.InstallEvent]: ...
    @overload
    def on(
        self, type: Literal["activate"], *, on_error: OnError = ...
    ) -> Decorator[events.ActivateEvent]: ...
    @overload
    def on(
        self, type: Literal["startup"], *, on_error: OnError = ...
    ) -> Decorator[events.StartupEvent]: ...
    @overload
    def on(
        self, type: Literal["shutdown"], *, on_error: OnError = ...
    ) -> Decorator[events.ShutdownEvent]: ...
    @overload
    def on(
        self, type: Literal["fetch"], *, on_error: OnError = ...
    ) -> Decorator[events.FetchEvent]: ...
    @overload
    def on(
        self, type: Literal["websocketupgrade"], *, on_error: OnError = ...
    ) -> Decorator[events.WebSocketUpgradeEvent]: ...
    @overload
    def on(
        self, type: Literal["websocketmessage", "wsmessage"], *, on_error: OnError = ...
    ) -> Decorator[events.WebSocketMessageEvent]: ...
    @overload
    def on(
        self, type: Literal["websocketclose", "wsclose"], *, on_error: OnError = ...
    ) -> Decorator[events.WebSocketCloseEvent]: ...
    @overload
    def on(
        self, type: Literal["error"], *, on_error: OnError = ...
    ) -> Decorator[events.ErrorEvent]: ...
    def on(self, type: str, *, on_error: OnError = "continue") -> object:
        """Register the decorated function; see `add_event_listener`.

        A type checker knows the event that each type name brings.
        """

        def register(listener: L) -> L:
            self.add_event_listener(type, listener, on_error=on_error)
            return listener

        return register


def _event_type(name: str) -> str:
    name = ALIASES.get(name, name)
    if name not in EVENT_TYPES:
        known = ", ".join(EVENT_TYPES)
        raise ValueError(f"there is no event {name!r}; the events are {known}")
    return name


def _callable(listener: object) -> Callable[[Any], object]:
    if callable(listener):
        return listener
    handle: object = getattr(listener, "handle_event", None)
    if callable(handle):
        return handle
    kind = type(listener).__qualname__
    raise TypeError(f"a listener is callable or has a handle_event method; {kind} is neither")
