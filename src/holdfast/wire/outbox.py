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
    from holdfast.wire.messages import Action

__all__ = ["WireOutbox"]


class WireOutbox:
    """Collects actions in order.

    Args:
        actions: a list of another kind to collect them in.
    """

    __slots__ = ("actions",)

    def __init__(self, actions: list[Action] | None = None) -> None:
        self.actions: list[Action] = [] if actions is None else actions

    def send(self, connection: int, data: str | bytes) -> None:
        if isinstance(data, str):
            self.actions.append(SendText(connection, data))
        else:
            self.actions.append(SendBinary(connection, data))

    def close(self, connection: int, code: int, reason: str) -> None:
        self.actions.append(Close(connection, code, reason))

    def attach(self, connection: int, attachment: bytes) -> None:
        self.actions.append(Attach(connection, attachment))

    def subscribe(self, connection: int, channel: str) -> None:
        self.actions.append(Subscribe(connection, channel))

    def unsubscribe(self, connection: int, channel: str) -> None:
        self.actions.append(Unsubscribe(connection, channel))

    def publish(self, channel: str, data: str | bytes) -> None:
        if isinstance(data, str):
            self.actions.append(PublishText(channel, data))
        else:
            self.actions.append(PublishBinary(channel, data))

    def take(self) -> list[Action]:
        """Return what was collected, and start again empty."""
        taken, self.actions = self.actions, []
        return taken
