"""Who hears a publication: connections that are subscribed, and workers that listen.

Pure: facts in, commands out, as the ledger, whose part it is.

A publication is at most once. But when the last worker that listened to a channel is gone (it had
nothing to do and left, or it died), what is published there waits for the next one, up to a limit:
a sleeping application would never hear what is to wake it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast.ledger import commands as do
from holdfast.ledger.connection import State
from holdfast.wire.codec import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from collections.abc import Collection

    from holdfast.ledger.connection import Connection
    from holdfast.wire.messages import Publish

OPEN = State.OPEN

# Publications that wait for a worker to come, over all channels.
MAX_WAITING = 256


M = TypeVar("M")
K = TypeVar("K")
V = TypeVar("V")


class Subscriptions(Generic[M]):
    """An index of members (anything hashable) by channel name, and back.

    A member without a subscription, and a channel without members, take no memory.
    """

    def __init__(self) -> None:
        # Dictionaries keep the order of subscription, so that a fan-out has an order too.
        self._members: dict[str, dict[M, None]] = {}
        self._channels: dict[M, dict[str, None]] = {}

    def add(self, channel: str, member: M) -> None:
        self._members.setdefault(channel, {})[member] = None
        self._channels.setdefault(member, {})[channel] = None

    def remove(self, channel: str, member: M) -> None:
        """Undo `add`; what was never added is no error."""
        _discard(self._members, channel, member)
        _discard(self._channels, member, channel)

    def drop(self, member: M) -> None:
        """Remove a member from all its channels."""
        for channel in self._channels.pop(member, ()):
            _discard(self._members, channel, member)

    def members(self, channel: str) -> Collection[M]:
        """A live view, in order of subscription; copy it before it may change."""
        return self._members.get(channel, {}).keys()

    def channels(self, member: M) -> Collection[str]:
        return self._channels.get(member, {}).keys()


def _discard(index: dict[K, dict[V, None]], key: K, value: V) -> None:
    values = index.get(key)
    if values is not None:
        values.pop(value, None)
        if not values:
            del index[key]


class PubSub:
    """Subscriptions of connections, and of workers."""

    def __init__(self) -> None:
        self._subscribers: Subscriptions[Connection] = Subscriptions()
        # By number: a worker may listen before it is ready.
        self._listeners: Subscriptions[int] = Subscriptions()
        # By channel whose last listening worker is gone: what was published since.
        self._unheard: dict[str, list[Publish]] = {}
        self._waiting = 0

    @property
    def has_waiting(self) -> bool:
        """True while something waits for a worker that listens."""
        return self._waiting > 0

    # --- connections ----------------------------------------------------------------------------

    def subscribe(self, connection: Connection, channel: str) -> None:
        self._subscribers.add(channel, connection)
        self._note_channels(connection)

    def unsubscribe(self, connection: Connection, channel: str) -> None:
        self._subscribers.remove(channel, connection)
        self._note_channels(connection)

    def drop(self, connection: Connection) -> None:
        self._subscribers.drop(connection)

    def members(self, channel: str) -> Collection[Connection]:
        """The connections that are subscribed, in the order in which they did."""
        return self._subscribers.members(channel)

    # --- workers --------------------------------------------------------------------------------

    def listen(self, worker: int, channel: str) -> list[do.Command]:
        """Send what is published to this worker too, and what waits for one."""
        self._listeners.add(channel, worker)
        waiting = self._unheard.pop(channel, [])
        self._waiting -= len(waiting)
        return [do.PublishTo([worker], action) for action in waiting]

    def unlisten(self, worker: int, channel: str) -> None:
        self._listeners.remove(channel, worker)

    def unlisten_all(self, worker: int) -> None:
        """This worker hears nothing more: it is gone, or has finished."""
        channels = list(self._listeners.channels(worker))
        self._listeners.drop(worker)
        for channel in channels:
            if not self._listeners.members(channel):
                self._unheard[channel] = []

    def settle(self) -> None:
        """A worker is there that has said what it listens to: nobody waits for the rest."""
        self._unheard.clear()
        self._waiting = 0

    # --- publications ---------------------------------------------------------------------------

    def publish(self, action: Publish) -> list[do.Command]:
        channel, exclude = action.channel, action.exclude
        commands: list[do.Command] = []
        members = [
            connection
            for connection in self._subscribers.members(channel)
            if connection.state is OPEN and connection.serial != exclude
        ]
        if members:
            commands.append(do.WriteMany(members, action.data))
        listeners = self._listeners.members(channel)
        if listeners:
            commands.append(do.PublishTo(list(listeners), action))
        elif channel in self._unheard and self._waiting < MAX_WAITING:
            self._unheard[channel].append(action)
            self._waiting += 1
        return commands

    def _note_channels(self, connection: Connection) -> None:
        channels = frozenset(self._subscribers.channels(connection))
        about = decode_metadata(connection.about)
        connection.about = encode_metadata(about._replace(channels=channels))
