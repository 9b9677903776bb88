"""BroadcastChannel as applications see it.

Pure. What is posted goes into the outbox of the event that runs, or leaves at once outside one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.connection import check_channel, check_message, to_json
from holdfast.core.errors import NotInsideHoldfast
from holdfast.core.outbox import current_outbox

if TYPE_CHECKING:
    from typing import Any

__all__ = ["BroadcastChannel"]


class BroadcastChannel:
    """A name to publish on, after the web platform's class of the same name.

    Args:
        name: any text that is not empty; connections subscribe to it with
            `connection.subscribe(name)`.

    Publications are at most once. Messages of clients are at least once, with effects that are
    exactly once. Make channels at module level and keep them.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = check_channel(name)

    def __repr__(self) -> str:
        return f"BroadcastChannel({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    def post_message(self, message: str | bytes | Any) -> None:
        """Publish to every connection that is subscribed, on all workers.

        Text and bytes go out as they are; other plain data goes out as JSON text. Inside an event
        it leaves when the event commits, and never if the listener raises.

        Raises:
            TypeError, ValueError: the message cannot be carried.
            NotInsideHoldfast: no event is being dispatched in this context.
        """
        if not isinstance(message, str | bytes | bytearray | memoryview):
            message = to_json(message)
        data = check_message(message)
        outbox = current_outbox.get(None)
        if outbox is None:
            raise NotInsideHoldfast("BroadcastChannel.post_message")
        outbox.publish(self._name, data)
