"""ServiceWorker: an application.

The only file that knows of ASGI hosting. The core never imports what hosts it; here the scope meets
what runs it under an ASGI server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from holdfast.config import AsgiSettings
from holdfast.core.scope import GlobalScope
from holdfast.setting import make

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, MutableMapping
    from typing import Any

DEFAULTS = AsgiSettings()

# What an ASGI server calls (https://asgi.readthedocs.io).
ASGIApplication: TypeAlias = Callable[
    [
        "MutableMapping[str, Any]",
        "Callable[[], Awaitable[MutableMapping[str, Any]]]",
        "Callable[[MutableMapping[str, Any]], Awaitable[None]]",
    ],
    "Awaitable[None]",
]


class ServiceWorker(GlobalScope):
    """What an application registers its listeners on, usually as `app` at module level.

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
        super().__init__()
        # As ASGI servers call it, once one does.
        self._asgi: ASGIApplication | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Be an ASGI 3 application: `uvicorn chat:app`. Other settings than the defaults: `asgi`.

        Connections end with the process that the server runs it in.
        """
        if self._asgi is None:
            self._asgi = self.asgi()
        await self._asgi(scope, receive, send)

    def asgi(
        self,
        *,
        develop: bool = False,
        allow_origins: Iterable[str] = (),
        max_message: int = DEFAULTS.keeper.max_message,
        max_outbound: int = DEFAULTS.keeper.max_outbound,
        max_body: int = DEFAULTS.max_body,
        request_timeout: float = DEFAULTS.request_timeout,
        event_timeout: float = DEFAULTS.event_timeout,
        drain_timeout: float = DEFAULTS.drain_timeout,
    ) -> ASGIApplication:
        """Return this application for an ASGI server, with settings: `asgi = app.asgi(…)`.

        They mean what the options of `holdfast serve` mean, and have the same defaults.

        Args:
            develop: show error details to clients; not for production.
            allow_origins: as `--allow-origin`, several.
            max_message: bytes that one message may have; the server may take less.
            max_outbound: bytes that may wait for a client that does not read.
            max_body: bytes that the body of a request may have.
            request_timeout: seconds that listeners may take to answer a request; 0 for ever.
            event_timeout: seconds that the listeners of one WebSocket event may take; 0 for ever.
            drain_timeout: seconds that connections and `wait_until` work may take to end when the
                server stops.

        Raises:
            TypeError: something is of the wrong type.
            ValueError: an origin is none, a size is not above 0, a time is below it.
        """
        # Loaded when an ASGI server asks for it: `holdfast serve` has no use for it.
        from holdfast.asgi.application import Application

        return Application(
            self,
            make(
                AsgiSettings,
                develop=develop,
                allow_origins=allow_origins,
                max_message=max_message,
                max_outbound=max_outbound,
                max_body=max_body,
                request_timeout=request_timeout,
                event_timeout=event_timeout,
                drain_timeout=drain_timeout,
            ),
        )
