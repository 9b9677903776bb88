"""The Protocols that outsiders implement: what the core needs from whoever runs it.

Pure: declarations only. A host (the worker process, an ASGI server, a Durable Object, the test
kit) implements `Host` and `Outbox`; the core calls them and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

__all__ = ["About", "CommittingHost", "Host", "Outbox"]


class About(NamedTuple):
    """What a connection keeps beside its attachment."""

    url: str
    subprotocol: str | None
    channels: frozenset[str]


class Outbox(Protocol):
    """Collects what a listener asks for. The host decides what an entry looks like.

    A connection is named by its serial, the integer behind its id. Arguments were checked by the
    caller. Entries keep their order.
    """

    def send(self, connection: int, data: str | bytes) -> None: ...
    def close(self, connection: int, code: int, reason: str) -> None: ...
    def attach(self, connection: int, attachment: bytes) -> None: ...
    def subscribe(self, connection: int, channel: str) -> None: ...
    def unsubscribe(self, connection: int, channel: str) -> None: ...
    def publish(self, channel: str, data: str | bytes) -> None: ...


class Host(Protocol):
    """What runs the core."""

    @property
    def outbox(self) -> Outbox:
        """Where actions outside an event go: they leave at once."""

    @property
    def attachment_limit(self) -> int:
        """Bytes an encoded attachment may have."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the event; a draining host waits for it."""

    def new_serial(self) -> int:
        """Return a connection serial that was never used before."""

    def connection_id(self, serial: int) -> str:
        """Return the opaque token that names the connection to applications."""

    def about(self, encoded: bytes) -> About:
        """Decode what a delivery carries about its connection."""

    def encode(self, value: object) -> bytes:
        """Encode plain data; raise TypeError, ValueError or OverflowError if it is not plain."""

    def decode(self, encoded: bytes) -> Any:
        """Decode what `encode` made."""

    async def flush(self, connection: int, number: int, attempt: int, outbox: Outbox) -> None:
        """Send what the outbox holds before its event has ended, and empty it."""


class CommittingHost(Host, Protocol):
    """A host whose requests and lifecycle events end in a commit of their own."""

    def new_outbox(self) -> Outbox:
        """Return an empty outbox for one event."""

    def commit(self, outbox: Outbox) -> None:
        """Let the actions of a finished event go, all together."""
