"""A server for web applications whose WebSocket connections outlive their code.

An application is a ServiceWorker with listeners, functions that are called with an event:

    from holdfast import Response, ServiceWorker

    app = ServiceWorker()

    @app.on("fetch")
    def show_page(event):
        return Response.html("<h1>Hello</h1>")

    @app.on("websocketupgrade")
    def join(event):
        event.accept(data={"said": 0})

    @app.on("websocketmessage")
    def say(event):
        event.source.data["said"] += 1
        event.source.send(f"{event.data} ({event.source.data['said']})")

`holdfast develop chat.py` serves it and reloads it when it changes, `holdfast serve chat.py` is for
production. Look up the events (FetchEvent, WebSocketUpgradeEvent, WebSocketMessageEvent,
WebSocketCloseEvent), what they bring (Request, Connection), what they answer with (Response,
HTTPError and its kinds), and how to reach others (BroadcastChannel, Clients). Tests have tools in
`holdfast.testing`.
"""

# Rooms, and who may visit whom, are listed in tests/test_architecture.py; the way of a message
# through them is in docs/flow.md.

from __future__ import annotations

from holdfast.app import ServiceWorker
from holdfast.core.channel import BroadcastChannel, GapEvent, MessageEvent
from holdfast.core.clients import Clients
from holdfast.core.connection import Connection
from holdfast.core.events import (
    ActivateEvent,
    ErrorEvent,
    ExtendableEvent,
    InstallEvent,
    ShutdownEvent,
    StartupEvent,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
)
from holdfast.core.request_events import FetchEvent, WebSocketUpgradeEvent
from holdfast.errors import (
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
from holdfast.web.forms import File, FormData
from holdfast.web.headers import Headers
from holdfast.web.http_errors import (
    BadBody,
    BadGateway,
    BadRequest,
    ClientLeft,
    Conflict,
    ContentTooLarge,
    Forbidden,
    GatewayTimeout,
    HTTPError,
    HTTPNotImplemented,
    InternalServerError,
    MethodNotAllowed,
    NotAForm,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnprocessableContent,
)
from holdfast.web.request import Client, Request
from holdfast.web.response import Response
from holdfast.web.url import URL

__all__ = [
    "URL",
    "ActivateEvent",
    "AlreadyDecided",
    "AttachmentError",
    "BadBody",
    "BadGateway",
    "BadRequest",
    "BodyUsed",
    "BroadcastChannel",
    "ChannelClosed",
    "Client",
    "ClientLeft",
    "Clients",
    "Conflict",
    "Connection",
    "ContentTooLarge",
    "ErrorEvent",
    "EventSettled",
    "ExtendableEvent",
    "FetchEvent",
    "File",
    "Forbidden",
    "FormData",
    "GapEvent",
    "GatewayTimeout",
    "HTTPError",
    "HTTPNotImplemented",
    "Headers",
    "HoldfastError",
    "InstallEvent",
    "InternalServerError",
    "LocalError",
    "MessageEvent",
    "MessagesLost",
    "MethodNotAllowed",
    "NotAForm",
    "NotAnUpgradeRequest",
    "NotFound",
    "NotInsideHoldfast",
    "Request",
    "Response",
    "SelfFetchTooDeep",
    "ServiceUnavailable",
    "ServiceWorker",
    "ShutdownEvent",
    "StartupEvent",
    "TooManyRequests",
    "Unauthorized",
    "UnprocessableContent",
    "WebSocketCloseEvent",
    "WebSocketMessageEvent",
    "WebSocketUpgradeEvent",
]
