"""`app.clients`: finding connections, wherever they are on this machine.

Pure. The keeper knows all connections; the host asks it (`core/ports.py:Host.search`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from holdfast.core.connection import Connection, check_channel
from holdfast.core.ports import current_outbox
from holdfast.errors import AttachmentError, NotInsideHoldfast

if TYPE_CHECKING:
    from holdfast.core.ports import Found, Host, Outbox

# Asked for in pages: each attachment may have 16 KiB, and the keeper has others to serve.
PAGE = 256

# More connections than a machine has, and an int that every part takes.
MOST = 2**32

# The types of the Service Worker specification. Those without connections match nothing.
_TYPES = {"websocket": True, "all": True, "window": False, "worker": False, "sharedworker": False}


class FoundConnection(Connection):
    """A connection that was found by `Clients`: what it shows is of that moment."""

    __slots__ = ()

    @property
    def data(self) -> Any:
        """The attachment as it was committed last: a copy."""
        return Connection.data.fget(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: Any) -> None:
        raise AttachmentError(
            "data", "of a connection found by app.clients is a copy; only its own events change it"
        )


class Clients:
    """Finds connections; get it as `app.clients` (Service Workers, Clients).

    All connections of this machine are found, whichever worker had their last event. What is found
    is a handle like `event.source`: it can send, close, subscribe and unsubscribe; its `data` is a
    copy. For fan-outs, `subscribe` and BroadcastChannel are far cheaper.

    What is found is what was committed. So a connection is not found by the listeners that accept
    it, but after they have returned; it is still found by those of its own `websocketclose` event,
    and not after; and what a listener has changed in its `data`, in its channels or by `close`
    shows when that listener has returned, or at a `flush`, even to itself.
    """

    __slots__ = ()

    async def get(self, id: str) -> Connection | None:
        """Return the connection with this id, or None if there is none, or no more.

        Args:
            id: as in `connection.id`.

        Raises:
            TypeError: the id is no str.
            NotInsideHoldfast: no event is being dispatched in this context.
        """
        if not isinstance(id, str):
            raise TypeError(f"a connection id is a str, not {type(id).__qualname__}")
        outbox, host = _here()
        serial = host.serial(id)
        if serial is None:
            return None
        found = await host.look_up([serial])
        return _handle(outbox, found[0]) if found else None

    async def match_all(
        self,
        type: Literal["websocket", "all", "window", "worker", "sharedworker"] = "websocket",
        channel: str | None = None,
        limit: int | None = None,
    ) -> list[Connection]:
        """Return connections, oldest first; those of a channel in the order they subscribed.

        Args:
            type: "websocket" or "all"; the specification's other types match nothing.
            channel: only those subscribed to the channel of this name.
            limit: at most so many; None for all.

        Raises:
            TypeError, ValueError: an argument cannot be what it is said to be.
            NotInsideHoldfast: no event is being dispatched in this context.
        """
        if not isinstance(type, str) or type not in _TYPES:
            raise ValueError(f"there is no type {type!r}; the types are {', '.join(_TYPES)}")
        if channel is not None:
            channel = check_channel(channel)
        if limit is not None:
            limit = _checked_limit(limit)
        outbox, host = _here()
        if not _TYPES[type]:
            return []
        serials = await host.search(channel, limit or 0)
        connections: list[Connection] = []
        for start in range(0, len(serials), PAGE):
            found = await host.look_up(serials[start : start + PAGE])
            connections += [_handle(outbox, one) for one in found]
        return connections


def _checked_limit(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit is an int, not {type(limit).__qualname__}")
    if limit < 1:
        raise ValueError(f"limit is at least 1, not {limit}")
    return min(limit, MOST)


def _here() -> tuple[Outbox, Host]:
    outbox = current_outbox.get(None)
    if outbox is None:
        raise NotInsideHoldfast("app.clients")
    return outbox, outbox.host


def _handle(outbox: Outbox, found: Found) -> Connection:
    return FoundConnection(outbox, found.serial, found.about, found.attachment, found.closed)
