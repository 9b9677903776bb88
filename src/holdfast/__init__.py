"""holdfast: a server for web applications whose WebSocket connections outlive their code.

Rooms, and who may visit whom, are listed in `tests/test_architecture.py`; the way of a message
through them is in `docs/flow.md`.
"""

from __future__ import annotations

from holdfast.core.channel import BroadcastChannel
from holdfast.core.clients import Clients
from holdfast.core.connection import Connection
from holdfast.core.errors import (
    AlreadyDecided,
    AttachmentError,
    BodyUsed,
    ChannelClosed,
    EventSettled,
    HoldfastError,
    LocalError,
    MessagesLost,
    NotAnUpgradeRequest,
    NotInsideHoldfast,
    SelfFetchTooDeep,
)
from holdfast.core.events import (
    ActivateEvent,
    ErrorEvent,
    ExtendableEvent,
    FetchEvent,
    GapEvent,
    InstallEvent,
    MessageEvent,
    ShutdownEvent,
    StartupEvent,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.core.headers import Headers
from holdfast.core.http import Request, Response
from holdfast.core.scope import ServiceWorker
from holdfast.core.url import URL

__all__ = [
    "URL",
    "ActivateEvent",
    "AlreadyDecided",
    "AttachmentError",
    "BodyUsed",
    "BroadcastChannel",
    "ChannelClosed",
    "Clients",
    "Connection",
    "ErrorEvent",
    "EventSettled",
    "ExtendableEvent",
    "FetchEvent",
    "GapEvent",
    "Headers",
    "HoldfastError",
    "InstallEvent",
    "LocalError",
    "MessageEvent",
    "MessagesLost",
    "NotAnUpgradeRequest",
    "NotInsideHoldfast",
    "Request",
    "Response",
    "SelfFetchTooDeep",
    "ServiceWorker",
    "ShutdownEvent",
    "StartupEvent",
    "WebSocketCloseEvent",
    "WebSocketMessageEvent",
    "WebSocketUpgradeEvent",
]
