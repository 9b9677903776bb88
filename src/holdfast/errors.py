"""Every exception holdfast raises.

HoldfastError
    LocalError              the application asked for something the contract forbids
        AlreadyDecided
        AttachmentError
        BodyUsed
        ChannelClosed
        EventSettled
        LifecycleError
        MessagesLost
        NotAnUpgradeRequest
        NotInsideHoldfast
        SelfFetchTooDeep
    RemoteError             a peer, or another process, broke the contract
        BrokenWire
        UnknownDelivery

An answer in the form of an exception, HTTPError, is in `web/http_errors.py`.
"""

from __future__ import annotations

__all__ = [
    "AlreadyDecided",
    "AttachmentError",
    "BodyUsed",
    "BrokenWire",
    "ChannelClosed",
    "EventSettled",
    "HoldfastError",
    "LifecycleError",
    "LocalError",
    "MessagesLost",
    "NotAnUpgradeRequest",
    "NotInsideHoldfast",
    "RemoteError",
    "SelfFetchTooDeep",
    "UnknownDelivery",
]


class HoldfastError(Exception):
    """Base of every exception raised by holdfast."""


class LocalError(HoldfastError):
    """The application asked for something the contract forbids."""


class AlreadyDecided(LocalError):
    """The event was answered before: responded, upgraded, accepted or rejected."""

    def __str__(self) -> str:
        return "this event was already answered: the first response, upgrade or rejection counts"


class AttachmentError(LocalError):
    """A connection's `data` cannot be kept: it is too large, or not plain data.

    Raised when the listeners have returned, so their event has failed.

    Attributes:
        path (str): the place in it, as `data['cart'][3]`.
        why (str): what is wrong there.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


class BodyUsed(LocalError):
    """A body was read a second time."""

    def __str__(self) -> str:
        return "the body was already read; keep what you read, a body can be read once"


class ChannelClosed(LocalError):
    """Something was posted on a BroadcastChannel after its `close`.

    Attributes:
        channel (str): its name.
    """

    def __init__(self, channel: str) -> None:
        self.channel = channel

    def __str__(self) -> str:
        return f"this BroadcastChannel({self.channel!r}) was closed; make another one"


class EventSettled(LocalError):
    """The event is over: its listeners and everything passed to `wait_until` have ended.

    Attributes:
        event_type (str): as "fetch".
    """

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type

    def __str__(self) -> str:
        return (
            f"this {self.event_type} event is over; "
            "call its methods while a listener runs or wait_until work is pending"
        )


class LifecycleError(LocalError):
    """A lifecycle step was asked for in a state that does not lead there.

    Attributes:
        state (str): as "installing".
        step (str): as "activate".
    """

    def __init__(self, state: str, step: str) -> None:
        self.state = state
        self.step = step

    def __str__(self) -> str:
        return f"cannot {self.step} while {self.state}"


class MessagesLost(LocalError):
    """An iteration over a BroadcastChannel was slower than the channel, for too long.

    Attributes:
        count (int): how many messages were lost.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __str__(self) -> str:
        return f"{self.count} messages were lost: they came faster than this loop took them"


class NotAnUpgradeRequest(LocalError):
    """A handler upgraded a request that did not ask for a WebSocket."""

    def __str__(self) -> str:
        return (
            "the request is not a WebSocket handshake "
            "(it has no 'Upgrade: websocket' with 'Connection: Upgrade')"
        )


class NotInsideHoldfast(LocalError):
    """Something that needs a running holdfast was called from a program that is none.

    Attributes:
        what (str): what was called.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} needs a running holdfast; nothing dispatches events in this context"


class SelfFetchTooDeep(LocalError):
    """`app.fetch` was called by a listener that `app.fetch` had called, too many times over.

    Attributes:
        limit (int): how many levels are allowed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __str__(self) -> str:
        return f"app.fetch was called {self.limit} levels deep: does a listener fetch itself?"


class RemoteError(HoldfastError):
    """A peer, or another process, broke the contract."""


class BrokenWire(RemoteError):
    """What came over a link between holdfast's processes is not one of their messages."""


class UnknownDelivery(RemoteError):
    """A worker acknowledged a delivery that is not in flight.

    Attributes:
        number (int): of the delivery.
        attempt (int): that was acknowledged.
    """

    def __init__(self, number: int, attempt: int) -> None:
        self.number = number
        self.attempt = attempt

    def __str__(self) -> str:
        return f"delivery {self.number}, attempt {self.attempt}, is not in flight"
