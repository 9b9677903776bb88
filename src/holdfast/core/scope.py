"""The scope that an application registers its listeners on.

Pure. A host asks it for the listeners of an event; nothing is dispatched from here but what the
application asks of itself (`fetch`). Applications make a `ServiceWorker` (`app.py`), which is a
scope that ASGI servers can call as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, overload

from holdfast.core import events, request_events
from holdfast.core.answer import fetch_from_itself, own_request
from holdfast.core.clients import Clients
from holdfast.core.dispatch import check_event_type, with_listener, without_listener
from holdfast.core.mounts import make_mount, with_mount
from holdfast.core.registration import Registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Mapping

    from holdfast.core.connection import Connection
    from holdfast.core.dispatch import OnError, Row
    from holdfast.core.mounts import Mount, OnWorkerExit
    from holdfast.web.headers import HeadersInit
    from holdfast.web.request import Request
    from holdfast.web.response import Response
    from holdfast.web.url import URL

# Other names for the same events: those of the first WebSocket work in the model.
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

# Looked for here by who knows that there are such events somewhere.
_OF_CHANNELS = {
    "message": "; 'message' is an event of a BroadcastChannel; the messages of connections are "
    "websocketmessage",
    "gap": "; 'gap' is an event of a BroadcastChannel",
}

# What may be registered for each event: the type checker keeps the function's own type.
L = TypeVar("L", bound=Callable[..., object])
OnInstall = TypeVar("OnInstall", bound=Callable[[events.InstallEvent], object])
OnActivate = TypeVar("OnActivate", bound=Callable[[events.ActivateEvent], object])
OnStartup = TypeVar("OnStartup", bound=Callable[[events.StartupEvent], object])
OnShutdown = TypeVar("OnShutdown", bound=Callable[[events.ShutdownEvent], object])
# Those of requests answer by what they return; a connection is what `accept` returned.
Answer: TypeAlias = "Response | Connection | None"
Answered: TypeAlias = "Answer | Awaitable[Answer]"
OnFetch = TypeVar("OnFetch", bound=Callable[[request_events.FetchEvent], "Answered"])
OnUpgrade = TypeVar("OnUpgrade", bound=Callable[[request_events.WebSocketUpgradeEvent], "Answered"])
OnMessage = TypeVar("OnMessage", bound=Callable[[events.WebSocketMessageEvent], object])
OnClose = TypeVar("OnClose", bound=Callable[[events.WebSocketCloseEvent], object])
OnFailure = TypeVar("OnFailure", bound=Callable[[events.ErrorEvent], object])


class GlobalScope:
    """What listeners are registered on, and ASGI applications mounted in.

    The global scope of the Service Workers specification, as an object (DOM Standard, EventTarget).

    Listeners are `def` or `async def` functions of one argument, the event, or objects with a
    `handle_event` method. They run in the order of registration, one after the other: the next
    begins when the one before has returned, an `async def` with all that it awaits.

    Attributes:
        registration: where this version of the application stands in its life:
            `app.registration.state`.
        clients: finds connections.
    """

    def __init__(self) -> None:
        self.registered: dict[str, Row] = dict.fromkeys(EVENT_TYPES, ())
        """For hosts: the listeners by event type, in order."""
        self.mounts: tuple[Mount, ...] = ()
        """For hosts: ASGI applications, in the order in which to look for a path."""
        self.registration = Registration()
        self.clients = Clients()

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
            TypeError: the type is no str, or the listener cannot be called.
        """
        name = _event_type(type)
        _check_on_error(on_error)
        self.registered[name] = with_listener(self.registered[name], listener, on_error)

    def remove_event_listener(self, type: str, listener: object) -> None:
        """Undo `add_event_listener`. A listener that is not registered is no error.

        Args:
            type: that it was registered for.
            listener: the same object.

        Raises:
            ValueError: there is no such event.
        """
        name = _event_type(type)
        self.registered[name] = without_listener(self.registered[name], listener)

    def mount(
        self,
        app: object,
        path: str = "/",
        *,
        on_worker_exit: OnWorkerExit | Mapping[str, OnWorkerExit] = "resume",
    ) -> None:
        """Serve an ASGI application: `app.mount(fastapi_app, "/api")`.

        It gets the requests and handshakes below `path` that no listener answers, with `path` added
        to the scope's `root_path`. Where several applications are mounted, the longest path counts.
        Its lifespan runs in each worker, within `startup` and `shutdown`. Only `max_body` limits
        its requests; there is no request timeout.

        A WebSocket endpoint may outlive its worker: another worker resumes it on the same
        connection, with the same scope.

        Args:
            app: of ASGI 3 or 2: Starlette, FastAPI, Django, Litestar, Quart and others.
            path: begins with a slash.
            on_worker_exit: what becomes of a WebSocket when its worker is replaced or lost.
                "resume": another worker calls the endpoint again, and the client notices nothing.
                "close": the connection closes with 1012. A dict chooses by what paths begin with
                below `path`: `{"/": "resume", "/trade": "close"}`.

        Raises:
            TypeError: this is no ASGI application, or an argument is of the wrong type.
            ValueError: something is mounted at this path already, it is no path, or
                `on_worker_exit` is something else.
        """
        if isinstance(app, GlobalScope):
            raise TypeError("a ServiceWorker is not mounted; register its listeners on this one")
        self.mounts = with_mount(self.mounts, make_mount(app, path, on_worker_exit))

    async def fetch(
        self,
        url: str | URL | Request,
        *,
        method: str = "GET",
        headers: HeadersInit | None = None,
        body: str | bytes | AsyncIterable[bytes] | None = None,
    ) -> Response:
        """Ask this application itself, without a network: `await app.fetch("/page")`.

        A fetch event of its own, whose effects count if it succeeds. The response is what a client
        would get: with its cookies, 404 if nobody answers, an HTTPError as its response. May be
        called during install and activate. No request timeout applies but that of the listener
        that calls it.

        Args:
            url: a path, relative to http://localhost; or a Request to there, without the rest.
            method: as for a Request.
            headers: as for a Request.
            body: as for a Request.

        Raises:
            ValueError: the URL is somebody else's (use an HTTP client), or no request can be made
                of this.
            TypeError: the same, for its types.
            NotInsideHoldfast: nothing serves this application.
            SelfFetchTooDeep: a listener fetches itself.
            NotAnUpgradeRequest: a listener upgraded; and anything else that one may raise.
        """
        request = own_request(url, method, headers, body)
        return await fetch_from_itself(self.registered["fetch"], request)

    @overload
    def on(
        self, type: Literal["install"], *, on_error: OnError = ...
    ) -> Callable[[OnInstall], OnInstall]: ...
    @overload
    def on(
        self, type: Literal["activate"], *, on_error: OnError = ...
    ) -> Callable[[OnActivate], OnActivate]: ...
    @overload
    def on(
        self, type: Literal["startup"], *, on_error: OnError = ...
    ) -> Callable[[OnStartup], OnStartup]: ...
    @overload
    def on(
        self, type: Literal["shutdown"], *, on_error: OnError = ...
    ) -> Callable[[OnShutdown], OnShutdown]: ...
    @overload
    def on(
        self, type: Literal["fetch"], *, on_error: OnError = ...
    ) -> Callable[[OnFetch], OnFetch]: ...
    @overload
    def on(
        self, type: Literal["websocketupgrade"], *, on_error: OnError = ...
    ) -> Callable[[OnUpgrade], OnUpgrade]: ...
    @overload
    def on(
        self, type: Literal["websocketmessage", "wsmessage"], *, on_error: OnError = ...
    ) -> Callable[[OnMessage], OnMessage]: ...
    @overload
    def on(
        self, type: Literal["websocketclose", "wsclose"], *, on_error: OnError = ...
    ) -> Callable[[OnClose], OnClose]: ...
    @overload
    def on(
        self, type: Literal["error"], *, on_error: OnError = ...
    ) -> Callable[[OnFailure], OnFailure]: ...
    def on(self, type: str, *, on_error: OnError = "continue") -> object:
        """Register the decorated function, and return it as it is: `@app.on("fetch")`.

        A type checker knows the event that each type name brings.

        Args:
            type: as for `add_event_listener`, which also says what is raised.
            on_error: "close" closes the connection with 1011 when the listener raises.
        """
        # Now, not when it decorates: `@app.on` without a type would register nothing.
        _event_type(type)
        _check_on_error(on_error)

        def register(listener: L) -> L:
            self.add_event_listener(type, listener, on_error=on_error)
            return listener

        return register


def _check_on_error(on_error: object) -> None:
    if on_error not in ("continue", "close"):
        raise ValueError(f"on_error is 'continue' or 'close', not {on_error!r}")


def _event_type(name: str) -> str:
    check_event_type(name)
    name = ALIASES.get(name, name)
    if name not in EVENT_TYPES:
        known = ", ".join(EVENT_TYPES)
        hint = _OF_CHANNELS.get(name, "")
        raise ValueError(f"there is no event {name!r}; the events are {known}{hint}")
    return name
