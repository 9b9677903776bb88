"""The outbox of an event, as the messages that leave: `core/ports.py:Outbox` for this wire.

Pure. The worker makes one per event; the actions go into the event's acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.core.ports import Host
from holdfast.wire.messages import (
    Attach,
    Close,
    PublishBinary,
    PublishJson,
    PublishText,
    SendBinary,
    SendText,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from holdfast.wire.messages import Action


class WireHost(Host, Protocol):
    """A host that shares its keeper with others."""

    def poster(self, number: int) -> int:
        """Turn the number of a channel object in this process into one among all; 0 stays 0."""


class WireOutbox:
    """Collects the actions of an event, in order.

    Args:
        host: whose outbox it is.
    """

    __slots__ = ("actions", "host", "is_sealed")

    def __init__(self, host: WireHost) -> None:
        self.host = host
        self.actions: list[Action] = []
        self.is_sealed = False

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

    def publish(self, channel: str, data: str | bytes, poster: int, exclude: int) -> None:
        poster = self.host.poster(poster)
        if isinstance(data, str):
            self.actions.append(PublishText(channel, data, poster, exclude))
        else:
            self.actions.append(PublishBinary(channel, data, poster, exclude))

    def publish_json(self, channel: str, data: str, poster: int, exclude: int) -> None:
        self.actions.append(PublishJson(channel, data, self.host.poster(poster), exclude))

    def take(self) -> list[Action]:
        """Return what was collected, and start again empty."""
        taken, self.actions = self.actions, []
        return taken

    def seal(self, leaving: list[Action]) -> list[Action]:
        """Return what was collected; what comes from now on goes into `leaving` instead."""
        taken, self.actions = self.actions, leaving
        self.is_sealed = True
        return taken
