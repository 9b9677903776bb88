"""Mounted ASGI applications as they run in one process.

Shell. `core/mounts.py` knows what is mounted where; here each application has its lifespan, and
gets its requests, limited in nothing but the size of their bodies.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from holdfast.core.answer import failure_response
from holdfast.core.mounts import asgi_version
from holdfast.http.lifespan import Lifespan, LifespanFailed
from holdfast.web.http_errors import ContentTooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
    from typing import Any

    from holdfast.core.mounts import Mount
    from holdfast.http.exchange import Exchange, Receive, Scope, Send
    from holdfast.web.request import Request

log = logging.getLogger("holdfast.worker")

DISCONNECT = {"type": "http.disconnect"}


class Mounted:
    """One application at one path."""

    __slots__ = ("_state", "_version", "app", "mount")

    def __init__(self, mount: Mount, lifespan: Lifespan, version: str) -> None:
        self.mount = mount
        self.app: Callable[..., Awaitable[object]] = lifespan.app
        self._state = lifespan.state
        self._version = version

    def make_child_scope(self, scope: Scope) -> None:
        """Make the server's scope the one that the application gets."""
        if self._state or "state" not in scope:
            # As uvicorn does: to each request its own copy.
            scope["state"] = self._state.copy()
        path = self.mount.path
        if path:
            scope["root_path"] = scope.get("root_path", "") + path
        if self._version != "3.0":
            scope["asgi"] = {**scope["asgi"], "version": self._version}


class Mounts:
    """All that is mounted in one application, in one worker."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounted: list[Mounted] = []
        # By application: one that is mounted twice lives once.
        self._lifespans: dict[int, Lifespan] = {}
        self._started: list[Lifespan] = []
        for mount in mounts:
            version = f"{asgi_version(mount.app)}.0"
            lifespan = self._lifespans.get(id(mount.app))
            if lifespan is None:
                app = mount.app if version == "3.0" else _from_two_calls(mount.app)
                lifespan = self._lifespans[id(mount.app)] = Lifespan(app, version)
            self._mounted.append(Mounted(mount, lifespan, version))
        # The one that has all paths, if there is no other: for it, no path is looked at.
        is_one = len(self._mounted) == 1 and not self._mounted[0].mount.path
        self._of_all = self._mounted[0] if is_one else None

    def __bool__(self) -> bool:
        return bool(self._mounted)

    def find(self, scope: Scope) -> Mounted | None:
        """Return whose request or handshake this is, or None."""
        if self._of_all is not None:
            return self._of_all
        path = path_below(scope)
        for mounted in self._mounted:
            if mounted.mount.has(path):
                return mounted
        return None

    async def startup(self) -> None:
        """Start the applications, those with the longest paths first.

        Raises:
            LifespanFailed: one of them did not start; those before it were ended.
        """
        for lifespan in self._lifespans.values():
            try:
                await lifespan.startup()
            except LifespanFailed:
                await self.shutdown()
                raise
            self._started.append(lifespan)

    async def shutdown(self) -> None:
        """End what was started, last first. Failures are logged: the others shall end too."""
        while self._started:
            try:
                await self._started.pop().shutdown()
            except LifespanFailed as error:
                log.error("%s\n%s", error, error.message, exc_info=error.error)


def path_below(scope: Scope) -> str:
    """Return the path without the server's own `root_path`, as far as that is in there."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class Endpoints(Protocol):
    """Runs the WebSocket endpoints of mounted applications."""

    async def begin(
        self,
        mounted: Mounted,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        handle: Any,
    ) -> None:
        """Begin the endpoint for a handshake; return when that is answered.

        Args:
            scope: of the handshake, as the server has it.
            receive: tells when the client leaves before that.
            send: for a response instead of a connection.
            upgrade handle: of the client's socket, a `http/asgi.py:UpgradeHandle`.
        """


class Passage:
    """What goes between a request and a mounted application when there is something to add.

    Args:
        exchange: of the request, some of whose body the listeners may have read.
        send: the server's.
        cookies: Set-Cookie values that the listeners left for the response.
        on_too_large: called if the body turns out to be larger than it may be.
    """

    def __init__(
        self,
        exchange: Exchange,
        send: Send,
        cookies: Sequence[str],
        on_too_large: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._cookies = cookies
        self._on_too_large = on_too_large
        self._has_started = self._is_refused = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self._is_refused:
            return dict(DISCONNECT)
        try:
            return await self._exchange.receive()
        except ContentTooLarge as error:
            # Frameworks know nothing of this limit: to them, the client has left.
            self._is_refused = True
            self._on_too_large()
            if not self._has_started:
                await self._exchange.respond(failure_response(error, develop=False))
            return dict(DISCONNECT)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._is_refused:
            return  # As uvicorn has it for a client that has left.
        if not self._has_started:
            self._has_started = True
            if self._cookies:
                fields = [(b"set-cookie", each.encode("latin-1")) for each in self._cookies]
                message["headers"] = [*message.get("headers", ()), *fields]
        await self._send(message)


def _from_two_calls(app: Callable[..., Any]) -> Callable[..., Awaitable[object]]:
    """Return an application of ASGI 2 as one of ASGI 3."""

    async def call(scope: Scope, receive: Receive, send: Send) -> object:
        return await app(scope)(receive, send)

    return call
