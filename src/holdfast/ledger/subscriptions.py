"""Who is subscribed to what, both ways.

Pure. The ledger asks for a channel's members on each publication, and for a member's channels
when it closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection

M = TypeVar("M")


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


K = TypeVar("K")
V = TypeVar("V")


def _discard(index: dict[K, dict[V, None]], key: K, value: V) -> None:
    values = index.get(key)
    if values is not None:
        values.pop(value, None)
        if not values:
            del index[key]
