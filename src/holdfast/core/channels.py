"""The channel objects of this process that listen, and what waits for them.

Pure. `channels` at the end is the one mutable object at module level in this package: as on the
web platform, a channel made anywhere in the process hears all others of its name, and may be made
when nothing runs yet (applications make them while they are imported).
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import MessagesLost
from holdfast.web.json import parse_json

if TYPE_CHECKING:
    from holdfast.core.ports import Host, Outbox, Waiter


class Inbound:
    """Messages that wait for the listeners of a channel object, or for one iteration.

    Args:
        limit: how many may wait; one more, and the oldest is lost.
        outbox: that of the event an iteration belongs to.
    """

    __slots__ = ("_is_over", "_outbox", "_waiter", "limit", "lost", "messages")

    def __init__(self, limit: int, outbox: Outbox | None = None) -> None:
        self.limit = limit
        self.messages: deque[Any] = deque()
        self.lost = 0
        self._outbox = outbox
        self._waiter: Waiter | None = None
        self._is_over = False

    def put(self, message: Any) -> None:
        if len(self.messages) == self.limit:
            self.messages.popleft()
            self.lost += 1
        self.messages.append(message)
        self.wake()

    def lose(self, count: int) -> None:
        self.lost += count
        self.wake()

    def take(self) -> Any:
        return self.messages.popleft()

    def end(self) -> None:
        """Let the iteration end when it has had what waits."""
        self._is_over = True
        self.wake()

    async def has_more(self) -> bool:
        """Wait for a message; return False when the iteration is over.

        Raises:
            MessagesLost: some were, since the last one.
        """
        while not (self.messages or self.lost or self._is_over) and not self._is_left_behind():
            assert self._outbox is not None
            self._waiter = self._outbox.host.new_waiter()
            await self._waiter
        if self.lost:
            raise MessagesLost(self.lost)
        return bool(self.messages)

    def wake(self) -> None:
        """Have `has_more` look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _is_left_behind(self) -> bool:
        """The worker leaves, and no listener waits for this iteration: they have returned."""
        outbox = self._outbox
        return outbox is not None and outbox.is_sealed and outbox.host.is_leaving


class Listening(Protocol):
    """What `Channels` needs of a BroadcastChannel."""

    number: int

    @property
    def name(self) -> str: ...
    def receive(self, host: Host, message: Any) -> None: ...
    def lose(self, host: Host, count: int) -> None: ...
    def wake_iterations(self) -> None: ...


class Switching(Protocol):
    """What `Channels` tells a host; part of `core/ports.py:Host`."""

    def listen(self, channel: str) -> None: ...
    def unlisten(self, channel: str) -> None: ...


class Channels:
    """An index of listening channel objects by name, and the hosts that deliver to them."""

    def __init__(self) -> None:
        self._listening: dict[str, list[Listening]] = {}
        self._hosts: list[Switching] = []
        self._numbers = count(1)

    def attach(self, host: Switching) -> None:
        """Tell `host` which names are listened on, now and as that changes."""
        self._hosts.append(host)
        for name in self._listening:
            host.listen(name)

    def detach(self, host: Switching) -> None:
        """Undo `attach`."""
        self._hosts.remove(host)
        for name in self._listening:
            host.unlisten(name)

    def host_leaves(self) -> None:
        """A host leaves (`core/ports.py:Host.is_leaving`): have iterations notice."""
        for listening in self._listening.values():
            for channel in listening:
                channel.wake_iterations()

    def add(self, channel: Listening) -> None:
        """`channel` listens from now on; told again, it changes nothing."""
        channel.number = channel.number or next(self._numbers)
        listening = self._listening.setdefault(channel.name, [])
        if not listening:
            for host in self._hosts:
                host.listen(channel.name)
        if channel not in listening:
            listening.append(channel)

    def remove(self, channel: Listening) -> None:
        """Undo `add`."""
        listening = self._listening.get(channel.name, [])
        if channel in listening:
            listening.remove(channel)
            if not listening:
                del self._listening[channel.name]
                for host in self._hosts:
                    host.unlisten(channel.name)

    def deliver(
        self, host: Host, name: str, data: str | bytes, poster: int, *, is_json: bool
    ) -> None:
        """Hand a publication to all that listen, but not to number `poster` of this process."""
        for channel in list(self._listening.get(name, ())):
            if channel.number != poster:
                # Parsed for each: what one of them changes is not seen by the next.
                channel.receive(host, parse_json(data) if is_json else data)

    def lose(self, host: Host, count: int) -> None:
        """So many publications, on whatever channels, never got here."""
        for listening in self._listening.values():
            for channel in list(listening):
                channel.lose(host, count)


channels = Channels()
