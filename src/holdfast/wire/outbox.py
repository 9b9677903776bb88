"""The outbox of an event, as the messages that leave: `core/ports.py:Outbox` for this wire.

Pure. The worker makes one per event; the actions go into the event's acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wire.messages import (
    Attach,
    Close,
    PublishBinary,
    PublishText,
    SendBinary,
    SendText,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wire.messages import Action

__all__ = ["WireOutbox"]


class WireOutbox:
    """Collects actions in order.

    Args:
        put: takes each action instead; for actions that leave at once.
    """

    __slots__ = ("_put", "actions")

    def __init__(self, put: Callable[[Action], None] | None = None) -> None:
        self.actions: list[Action] = []
        self._put = self.actions.append if put is None else put

    def send(self, connection: int, data: str | bytes) -> None:
        if isinstance(data, str):
            self._put(SendText(connection, data))
        else:
            self._put(SendBinary(connection, data))

    def close(self, connection: int, code: int, reason: str) -> None:
        self._put(Close(connection, code, reason))

    def attach(self, connection: int, attachment: bytes) -> None:
        self._put(Attach(connection, attachment))

    def subscribe(self, connection: int, channel: str) -> None:
        self._put(Subscribe(connection, channel))

    def unsubscribe(self, connection: int, channel: str) -> None:
        self._put(Unsubscribe(connection, channel))

    def publish(self, channel: str, data: str | bytes) -> None:
        if isinstance(data, str):
            self._put(PublishText(channel, data))
        else:
            self._put(PublishBinary(channel, data))

    def take(self) -> list[Action]:
        """Return what was collected, and start again empty."""
        taken = self.actions[:]
        self.actions.clear()
        return taken
