"""Every public call, given what it cannot take: an error that says so, and nothing else happens.

A table: the call, the arguments, the type of the error and how its words begin. Whatever is wrong
must be said in the caller, in words of holdfast's own: what goes further shows up in another
process, as a lost event or a closed connection, when nobody can mend it any more.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from datetime import UTC, date, datetime
from inspect import isawaitable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import holdfast
from holdfast import (
    AttachmentError,
    BroadcastChannel,
    FetchEvent,
    Headers,
    Response,
    ServiceWorker,
    WebSocketUpgradeEvent,
)
from holdfast.core.ports import Found, Metadata, current_outbox
from holdfast.wire.codec import encode_metadata, encode_plain
from tests.core.fakes import FakeHost, Late, handshake, message_event, outbox_of, run

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 64  # bytes of an attachment, here


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def fine(event: object) -> None: ...


def yielding(event: object) -> Any:
    yield


async def yielding_later(event: object) -> Any:
    yield


async def coroutine_function() -> None: ...


# -- what is called, and what shows that nothing has happened


class Scene:
    """One of each thing with public calls, in an event that runs."""

    def __init__(self) -> None:
        self.holdfast = holdfast
        self.host = FakeHost(attachment_limit=LIMIT)
        about = encode_metadata(Metadata("http://example.org/", None, frozenset()))
        self.host.connections[3] = Found(3, about, encode_plain("found"), False)
        self.message = message_event(self.host, attachment=encode_plain("old"))
        self.connection = self.message.source
        self.channel = BroadcastChannel("kitchen")
        self.app = ServiceWorker()
        self.clients = self.app.clients
        request = handshake(sec_websocket_protocol="chat, soap")
        self.fetch = FetchEvent(self.host.new_outbox(), request, upgradable=True)
        self.upgrade = WebSocketUpgradeEvent(self.host.new_outbox(), request, upgradable=True)
        self.response = Response("hi")
        self.headers = Headers({"a": "1"})

    def set_data(self, value: object) -> None:
        """`event.source.data = value`, up to the end of the event."""
        self.connection.data = value
        self.connection.commit()

    async def set_found_data(self, value: object) -> None:
        found = await self.clients.get("id-3")
        assert found is not None
        found.data = value

    def everything(self) -> list[object]:
        """Return all that a call could have changed."""
        events = (self.message, self.fetch, self.upgrade)
        return [
            *[list(outbox_of(event).entries) for event in events],
            *[event.decision for event in (self.fetch, self.upgrade)],
            *[list(event.set_cookies) for event in (self.fetch, self.upgrade)],
            (self.connection.closed, self.connection.channels, self.connection.attachment),
            (self.channel.name, self.channel.closed, self.channel.number),
            dict(self.app.registered),
            (self.response.status, self.response.raw_headers(), self.headers.items()),
            (len(self.host.spawned), list(self.host.leaving), list(self.host.flushes)),
            (list(self.host.listening), list(self.host.looked_up), list(self.host.limits)),
        ]


def use_connection(scene: Scene) -> None:
    scene.set_data("new")
    scene.connection.subscribe("good")
    scene.connection.send("good")
    scene.connection.close(4000, "good")
    kinds = [entry[0] for entry in outbox_of(scene.message).entries]
    assert kinds == ["attach", "subscribe", "send", "close"]


def use_channel(scene: Scene) -> None:
    scene.channel.post_message("good")
    assert outbox_of(scene.message).entries == [("publish", "kitchen", "good", 0, 0)]
    scene.channel.add_event_listener("message", fine)
    assert scene.channel.number > 0
    scene.channel.close()


def use_app(scene: Scene) -> None:
    scene.app.add_event_listener("fetch", fine)
    assert [listener.call for listener in scene.app.registered["fetch"]] == [fine]


def use_clients(scene: Scene) -> None:
    assert [found.data for found in run(scene.clients.match_all())] == ["found"]


def use_event(scene: Scene) -> None:
    scene.message.wait_until(Late())
    assert scene.host.run_spawned() == []
    for event in (scene.fetch, scene.upgrade):
        event.set_cookie("good", "1")
        assert len(event.set_cookies) == 1
    scene.fetch.upgrade_websocket(data=1, subprotocol="chat", headers={"x-good": "1"})
    scene.upgrade.reject(Response("good"))
    assert None not in (scene.fetch.decision, scene.upgrade.decision)


def use_response(scene: Scene) -> None:
    scene.response.set_cookie("good", "1")
    scene.response.delete_cookie("bad")
    assert len(scene.response.headers.get_set_cookie()) == 2


def use_headers(scene: Scene) -> None:
    scene.headers.set("b", "2")
    assert scene.headers.items() == [("a", "1"), ("b", "2")]


# What shows that the thing still works, by the first word of the call.
USES: dict[str, Callable[[Scene], None]] = {
    "connection": use_connection,
    "set_data": use_connection,
    "set_found_data": use_clients,
    "channel": use_channel,
    "app": use_app,
    "clients": use_clients,
    "message": use_event,
    "fetch": use_event,
    "upgrade": use_event,
    "response": use_response,
    "headers": use_headers,
    "holdfast": use_channel,  # constructors: what exists is not touched
}


# -- the table


class Bad(NamedTuple):
    """Arguments, and how they are refused."""

    error: type[Exception]
    words: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def bad(error: type[Exception], words: str, *arguments: Any, **keywords: Any) -> Bad:
    return Bad(error, words, arguments, keywords)


async def mounted(scope: object, receive: object, send: object) -> None: ...


NO_MESSAGE = [
    bad(TypeError, "a message is str or bytes, not NoneType", None),
    bad(TypeError, "a message is str or bytes, not int", 5),
    bad(TypeError, "a message is str or bytes, not list", ["a"]),
    bad(TypeError, "a message is str or bytes, not dict", {"a": 1}),
    bad(TypeError, "a message is str or bytes, not function", fine),
    bad(ValueError, "a message has a lone surrogate at index 2, which UTF-8", "ab\udfff"),
]
# What nothing that takes plain data can carry as JSON.
NO_JSON = [
    bad(TypeError, "Object of type object is not JSON serializable", object()),
    bad(TypeError, "Object of type set is not JSON serializable", {"a": {1}}),
    bad(TypeError, "Object of type bytes is not JSON serializable", [b"bytes"]),
    bad(TypeError, "Object of type datetime is not JSON serializable", datetime.now(UTC)),
    bad(TypeError, "Object of type function is not JSON serializable", fine),
    bad(ValueError, "Out of range float values are not JSON compliant", math.nan),
    bad(ValueError, "Out of range float values are not JSON compliant", {"a": [math.inf]}),
    bad(ValueError, "a message has a lone surrogate at index 6, which UTF-8", {"a": "\ud800"}),
    bad(ValueError, "Exceeds the limit", 10**5000),
]
NO_CHANNEL = [
    bad(TypeError, "a channel name is a str, not NoneType", None),
    bad(TypeError, "a channel name is a str, not bytes", b"lobby"),
    bad(TypeError, "a channel name is a str, not int", 7),
    bad(TypeError, "a channel name is a str, not list", ["lobby"]),
    bad(ValueError, "a channel name has at least one character", ""),
    bad(ValueError, "a channel name has a lone surrogate at index 0", "\ud800"),
]
NO_EVENT_TYPE = [
    bad(TypeError, "the type of an event is a str, not NoneType", None, fine),
    bad(TypeError, "the type of an event is a str, not bytes", b"fetch", fine),
    bad(TypeError, "the type of an event is a str, not list", ["fetch"], fine),
    bad(TypeError, "the type of an event is a str, not function", fine, fine),
    bad(ValueError, "there is no event ''", "", fine),
    bad(ValueError, r"there is no event 'message\\x00'", "message\0", fine),
    bad(ValueError, r"there is no event '\\ud800'", "\ud800", fine),
    bad(ValueError, "there is no event 'push'", "push", fine),
]
NO_LISTENER = [
    (TypeError, "a listener is callable or has a handle_event method; NoneType is", None),
    (TypeError, "a listener is callable or has a handle_event method; str is", "fine"),
    (TypeError, "a listener is callable or has a handle_event method; int is", 5),
    (TypeError, "a listener does not yield", yielding),
    (TypeError, "a listener does not yield", yielding_later),
]
NO_DATA = [
    bad(AttachmentError, "data is a object; only plain data", object()),
    bad(AttachmentError, "data is a set; only plain data", {1}),
    bad(AttachmentError, r"data\['a'\]\[1\] is a function; only plain data", {"a": [1, fine]}),
    bad(AttachmentError, "a key of data is a tuple; only plain data", {(1, 2): 3}),
    bad(AttachmentError, "data is an int of more than 64 bits", 2**64),
    bad(AttachmentError, "a key of data is an int of more than 64 bits", {10**5000: 1}),
    bad(AttachmentError, "data has a lone surrogate", "\ud800"),
    bad(AttachmentError, "a key of data has a lone surrogate", {"\ud800": 1}),
    bad(AttachmentError, "data is a datetime without a time zone", datetime(2030, 1, 1)),
    bad(AttachmentError, r"data(\[0\])+ is nested deeper than 64 levels", cyclic()),
    bad(AttachmentError, r"data(\['self'\])+ is nested deeper than 64", cyclic_dict()),
    bad(AttachmentError, r"data(\[0\])+ is nested deeper than 64 levels", nested(65)),
    bad(AttachmentError, r"data(\[0\])+ is nested deeper than 64 levels", nested(50_000)),
    # A byte string has a header of two bytes.
    bad(AttachmentError, f"data has {LIMIT + 1} bytes, over the limit of {LIMIT}", b"x" * 63),
    bad(AttachmentError, r"data has \d+ bytes, over the limit of", "x" * 10_000_000),
]
NO_COOKIE = [
    bad(TypeError, "the name of a cookie is of type str, not int", 5, "1"),
    bad(TypeError, "the name of a cookie is of type str, not bytes", b"a", "1"),
    bad(ValueError, "'' is not a cookie name", "", "1"),
    bad(ValueError, "'a b' is not a cookie name", "a b", "1"),
    bad(ValueError, r"'a\\x00' is not a cookie name", "a\0", "1"),
    bad(ValueError, r"'\\ud800' is not a cookie name", "\ud800", "1"),
    bad(TypeError, "the value of cookie 'a' is of type str, not int", "a", 5),
    bad(TypeError, "the value of cookie 'a' is of type str, not NoneType", "a", None),
    bad(TypeError, "the value of cookie 'a' is of type str, not bytes", "a", b"1"),
    bad(ValueError, "the value of cookie 'a' is not valid Unicode text", "a", "\ud800"),
    bad(ValueError, "cookie 'a' has 4097 bytes; browsers take at most 4096", "a", "x" * 4096),
    bad(TypeError, "the max_age of cookie 'a' is of type int, not str", "a", "1", max_age="60"),
    bad(TypeError, "the max_age of cookie 'a' is of type int, not bool", "a", "1", max_age=True),
    bad(TypeError, "the expiry of cookie 'a' is of type datetime", "a", "1", expires="tomorrow"),
    bad(TypeError, "the expiry of cookie 'a' is of", "a", "1", expires=date(2030, 1, 1)),
    bad(ValueError, "the expiry of cookie 'a' has no", "a", "1", expires=datetime(2030, 1, 1)),
    bad(TypeError, "the path of cookie 'a' is of type str, not int", "a", "1", path=5),
    bad(ValueError, "cookie 'a' cannot have the path", "a", "1", path="/\0"),
    bad(ValueError, "cookie 'a' cannot have the path", "a", "1", path="/\ud800"),
    bad(ValueError, "cookie 'a' cannot have the path", "a", "1", path="/" * 1025),
    bad(TypeError, "the domain of cookie 'a' is of type str, not int", "a", "1", domain=5),
    bad(ValueError, "cookie 'a' cannot have the domain", "a", "1", domain="a;b"),
    bad(ValueError, "cookie 'a' cannot have the domain", "a", "1", domain="a" * 1025),
    bad(ValueError, "cookie 'a' cannot have same_site='no'", "a", "1", same_site="no"),
    bad(ValueError, r"cookie 'a' cannot have same_site=\['lax'\]", "a", "1", same_site=["lax"]),
    bad(ValueError, "cookie 'a' with same_site='none'", "a", "1", same_site="none", secure=False),
    bad(ValueError, "cookie '__Host-a' has to have", "__Host-a", "1", domain="a.b"),
    bad(TypeError, ".* unexpected keyword argument 'maxage'", "a", "1", maxage=60),
]
# Headers, wherever they are given.
NO_HEADERS: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "headers are a mapping, or pairs of name and value, not int", 5),
    (TypeError, "headers are a mapping, or pairs of name and value, not str", "ab"),
    (TypeError, "headers are a mapping, or pairs of name and value, not bytes", b"ab"),
    (TypeError, "a header is a pair of name and value", ["ab"]),
    (TypeError, "a header is a pair of name and value", [("a", "b", "c")]),
    (TypeError, "a header is a pair of name and value", [5]),
    (TypeError, "a header name is a str, not int", {5: "1"}),
    (TypeError, "the value of header 'x' is a str, not int", {"x": 5}),
    (TypeError, "the value of header 'x' is a str, not list", {"x": ["1"]}),
    (ValueError, "'' is not a header name", {"": "1"}),
    (ValueError, r"'x\\x00' is not a header name", {"x\0": "1"}),
    (ValueError, r"'\\ud800' is not a header name", {"\ud800": "1"}),
    (ValueError, "the value of header 'x' contains a control character", {"x": "1\0"}),
    (ValueError, "the value of header 'x' contains a control character", {"x": "1\r\ny: 2"}),
    (ValueError, "the value of header 'x' has a character outside latin-1", {"x": "\ud800"}),
]
NO_RESPONSE = [
    bad(TypeError, "a response is a Response or an awaitable of one, not NoneType", None),
    bad(TypeError, "a response is a Response or an awaitable of one, not str", "hi"),
    bad(TypeError, "a response is a Response or an awaitable of one, not type", Response),
    bad(TypeError, "a response is a Response or an awaitable of one, not function", fine),
]
NO_UPGRADE = [
    bad(ValueError, "the client did not offer the subprotocol 'mqtt'", subprotocol="mqtt"),
    bad(ValueError, "the client did not offer the subprotocol 5", subprotocol=5),
    bad(ValueError, "the client did not offer the subprotocol b'chat'", subprotocol=b"chat"),
    bad(ValueError, r"the client did not offer the subprotocol \['chat'\]", subprotocol=["chat"]),
    bad(ValueError, r"the client did not offer the subprotocol '\\ud", subprotocol="\ud800"),
    bad(ValueError, "the client did not offer the subprotocol", subprotocol="chat\0"),
    bad(ValueError, "the header 'connection' of a 101", headers={"Connection": "close"}),
    *[bad(error, words, headers=value) for error, words, value in NO_HEADERS],
]
NO_WORK = [
    bad(TypeError, "wait_until takes an awaitable, not NoneType", None),
    bad(TypeError, "wait_until takes an awaitable, not function", coroutine_function),
    bad(TypeError, "wait_until takes an awaitable, not list", [Late()]),
    bad(TypeError, "wait_until takes an awaitable, not str", "work"),
]
NO_URL = [
    bad(TypeError, "a URL is a str or a URL, not NoneType", None),
    bad(TypeError, "a URL is a str or a URL, not bytes", b"http://a/"),
    bad(TypeError, "a URL is a str or a URL, not int", 5),
    bad(ValueError, "'' is not a URL: it has no scheme, and there is no base", ""),
    bad(ValueError, "'/x' is not a URL: it has no scheme, and there is no base", "/x"),
    bad(ValueError, "'http://' is not a URL: it has no host", "http://"),
    bad(ValueError, r"'http://a\\x00b/' is not a URL: its host has a forb", "http://a\0b/"),
    bad(ValueError, r"'http://\\ud800/' is not a URL: ", "http://\ud800/"),
    bad(ValueError, "'http://a:65536/' is not a URL: its port is over 65535", "http://a:65536/"),
    bad(ValueError, "'http://a:999.*' is not a URL: ", "http://a:" + "9" * 5000),
]

TABLE: dict[str, list[Bad]] = {
    # --- connections
    "connection.send": NO_MESSAGE,
    "connection.send_json": [
        *NO_JSON,
        bad(TypeError, "keys must be str, int, float, bool or None, not tuple", {(1, 2): 3}),
        bad(ValueError, "Circular reference detected", cyclic()),
        bad(ValueError, "the value is nested too deeply for JSON", nested(50_000)),
        bad(ValueError, "a message has a lone surrogate at index 1", "\ud800"),
    ],
    "connection.close": [
        bad(TypeError, "a close code is an int, not NoneType", None),
        bad(TypeError, "a close code is an int, not str", "1000"),
        bad(TypeError, "a close code is an int, not float", 1000.0),
        bad(TypeError, "a close code is an int, not bool", True),
        bad(ValueError, "close code 1005 may not be sent", 1005),
        bad(ValueError, "close code 2999 may not be sent", 2999),
        bad(ValueError, "close code 5000 may not be sent", 5000),
        bad(ValueError, f"close code {2**70} may not be sent", 2**70),
        bad(TypeError, "a close reason is a str, not NoneType", 1000, None),
        bad(TypeError, "a close reason is a str, not bytes", 1000, b"bye"),
        bad(ValueError, "a close reason has at most 123 bytes in UTF-8, not 124", 1000, "x" * 124),
        bad(ValueError, "a close reason has at most 123 bytes in UTF-8, not 124", 1000, "é" * 62),
        bad(ValueError, "a close reason has a lone surrogate at index 0", 1000, "\ud800"),
    ],
    "connection.subscribe": NO_CHANNEL,
    "connection.unsubscribe": NO_CHANNEL,
    "set_data": NO_DATA,
    "set_found_data": [
        bad(AttachmentError, "data of a connection found by app.clients is a copy", "fine else"),
    ],
    # --- channels
    "holdfast.BroadcastChannel": [
        *NO_CHANNEL,
        bad(TypeError, "max_queue is an int, not NoneType", "kitchen", max_queue=None),
        bad(TypeError, "max_queue is an int, not float", "kitchen", max_queue=math.inf),
        bad(TypeError, "max_queue is an int, not bool", "kitchen", max_queue=True),
        bad(TypeError, "max_queue is an int, not str", "kitchen", max_queue="5"),
        bad(ValueError, "max_queue is at least 1, not 0", "kitchen", max_queue=0),
    ],
    "channel.post_message": [
        *NO_JSON,
        bad(ValueError, "a message has a lone surrogate at index 0", "\ud800"),
        bad(TypeError, "a key of the message is a tuple; in JSON, keys are str", {(1, 2): 3}),
        bad(TypeError, "a key of the message is a int; in JSON, keys are str", {1: 2}),
        bad(TypeError, r"a key of the message\['a'\]\[0\] is a NoneType", {"a": [{None: 1}]}),
        bad(ValueError, r"the message(\[0\])+ is nested deeper than 64 levels", cyclic()),
        bad(ValueError, r"the message(\['self'\])+ is nested deeper than", cyclic_dict()),
        bad(ValueError, r"the message(\[0\])+ is nested deeper than 64 levels", nested(65)),
        bad(ValueError, r"the message(\[0\])+ is nested deeper than 64 levels", nested(50_000)),
        bad(TypeError, "exclude is a Connection, not str", "hi", exclude="id-5"),
        bad(TypeError, "exclude is a Connection, not int", "hi", exclude=5),
        bad(TypeError, "exclude is a Connection, not bool", "hi", exclude=True),
        bad(TypeError, "exclude is a Connection, not list", "hi", exclude=[]),
    ],
    "channel.add_event_listener": [
        *NO_EVENT_TYPE,
        *[bad(error, words, "message", value) for error, words, value in NO_LISTENER],
    ],
    "channel.remove_event_listener": NO_EVENT_TYPE,
    "channel.on": [row._replace(arguments=row.arguments[:1]) for row in NO_EVENT_TYPE],
    # --- the scope
    "app.add_event_listener": [
        *NO_EVENT_TYPE,
        *[bad(error, words, "fetch", value) for error, words, value in NO_LISTENER],
        bad(
            ValueError,
            "on_error is 'continue' or 'close', not 'stop'",
            "fetch",
            fine,
            on_error="stop",
        ),
        bad(
            ValueError, "on_error is 'continue' or 'close', not None", "fetch", fine, on_error=None
        ),
        bad(ValueError, r"on_error is 'continue' or 'close', not \[", "fetch", fine, on_error=[]),
    ],
    "app.remove_event_listener": NO_EVENT_TYPE,
    "app.on": [
        *[row._replace(arguments=row.arguments[:1]) for row in NO_EVENT_TYPE],
        bad(ValueError, "on_error is 'continue' or 'close', not 'stop'", "fetch", on_error="stop"),
    ],
    "app.mount": [
        bad(TypeError, "an ASGI application is callable; int is not", 5),
        bad(TypeError, "an ASGI application is callable; NoneType is not", None),
        bad(TypeError, r"<lambda> does not take \(scope, receive, send\)", lambda: None),
        bad(TypeError, "a ServiceWorker is not mounted; register its listeners", ServiceWorker()),
        bad(TypeError, "a path is a str, not int", mounted, 5),
        bad(ValueError, "a path begins with a slash and has no query: 'api'", mounted, "api"),
        bad(ValueError, "a path begins with a slash and has no query: '/a", mounted, "/a?b"),
        bad(
            ValueError,
            "on_worker_exit is 'resume' or 'close', not 'keep'",
            mounted,
            "/",
            on_worker_exit="keep",
        ),
        bad(
            ValueError,
            "on_worker_exit is 'resume' or 'close', not None",
            mounted,
            "/",
            on_worker_exit=None,
        ),
        bad(TypeError, "a path is a str, not int", mounted, "/", on_worker_exit={5: "resume"}),
    ],
    "app.asgi": [
        bad(TypeError, "allow_origins is a list of origins", allow_origins="https://a.example"),
        bad(ValueError, "'a.example' is not an origin", allow_origins=["a.example"]),
        *[
            row
            for name in ("max_message", "max_outbound", "max_body")
            for row in (
                bad(TypeError, f"{name} is an int, not str", **{name: "1"}),
                bad(TypeError, f"{name} is an int, not float", **{name: 1.5}),
                bad(TypeError, f"{name} is an int, not bool", **{name: True}),
                bad(ValueError, f"{name} is at least 1, not 0", **{name: 0}),
            )
        ],
        *[
            row
            for name in ("request_timeout", "event_timeout", "drain_timeout")
            for row in (
                bad(TypeError, f"{name} is a number of seconds, not NoneType", **{name: None}),
                bad(ValueError, f"{name} is at least 0, not -1", **{name: -1}),
                bad(ValueError, f"{name} is at least 0, not nan", **{name: float("nan")}),
                bad(ValueError, f"{name} is at most 86400, not inf", **{name: float("inf")}),
            )
        ],
    ],
    "app.fetch": [
        bad(TypeError, "a URL is a str or a URL, not NoneType", None),
        bad(TypeError, "a URL is a str or a URL, not bytes", b"/"),
        bad(ValueError, "app.fetch only fetches from the application itself", "http://other/"),
        bad(ValueError, "5 is not a method", "/", method=5),
        bad(ValueError, "a GET request cannot have a body", "/", body="x"),
        bad(TypeError, "a body is str, bytes or an async iterable", "/", method="POST", body=5),
        *[bad(error, words, "/", headers=value) for error, words, value in NO_HEADERS],
    ],
    # --- clients
    "clients.get": [
        bad(TypeError, "a connection id is a str, not NoneType", None),
        bad(TypeError, "a connection id is a str, not bytes", b"id-3"),
        bad(TypeError, "a connection id is a str, not int", 3),
        bad(TypeError, "a connection id is a str, not list", ["id-3"]),
    ],
    "clients.match_all": [
        bad(ValueError, "there is no type 'socket'", type="socket"),
        bad(ValueError, "there is no type None", type=None),
        bad(ValueError, r"there is no type \['all'\]", type=["all"]),
        *[
            row._replace(arguments=(), keywords={"channel": row.arguments[0]})
            for row in NO_CHANNEL[1:]  # None is every channel
        ],
        bad(TypeError, "limit is an int, not str", limit="5"),
        bad(TypeError, "limit is an int, not float", limit=1.5),
        bad(TypeError, "limit is an int, not bool", limit=True),
        bad(ValueError, "limit is at least 1, not 0", limit=0),
        bad(ValueError, f"limit is at least 1, not {-(2**70)}", limit=-(2**70)),
    ],
    # --- events
    "message.wait_until": NO_WORK,
    "fetch.wait_until": NO_WORK,
    "upgrade.wait_until": NO_WORK,
    "fetch.respond_with": NO_RESPONSE,
    "upgrade.reject": NO_RESPONSE,
    "fetch.upgrade_websocket": NO_UPGRADE,
    "upgrade.accept": NO_UPGRADE,
    "fetch.set_cookie": NO_COOKIE,
    "upgrade.set_cookie": NO_COOKIE,
    # --- requests, responses and their parts
    "holdfast.Headers": [bad(error, words, value) for error, words, value in NO_HEADERS],
    **{
        f"headers.{method}": [
            bad(TypeError, "a header name is a str, not int", 5),
            bad(TypeError, "a header name is a str, not NoneType", None),
            bad(TypeError, "a header name is a str, not bytes", b"a"),
            bad(TypeError, "a header name is a str, not list", ["a"]),
        ]
        for method in ("get", "get_all", "has", "delete", "__getitem__")
    },
    **{
        f"headers.{method}": [
            bad(error, words, *next(iter(value.items())))
            for error, words, value in NO_HEADERS
            if isinstance(value, dict)
        ]
        for method in ("set", "append")
    },
    "holdfast.URL": [
        *NO_URL,
        bad(TypeError, "a URL is a str or a URL, not NoneType", None, "http://a/"),
        bad(TypeError, "a base is a str or a URL, not int", "x", 5),
        bad(TypeError, "a base is a str or a URL, not bytes", "x", b"http://a/"),
        bad(ValueError, "'/y' is not a URL: it has no scheme", "x", "/y"),
    ],
    "holdfast.Request": [
        *NO_URL,
        *[bad(error, words, "http://a/", headers=value) for error, words, value in NO_HEADERS],
        bad(ValueError, "5 is not a method", "http://a/", method=5),
        bad(ValueError, "'' is not a method", "http://a/", method=""),
        bad(ValueError, r"'GET\\x00' is not a method", "http://a/", method="GET\0"),
        bad(ValueError, r"'\\ud800' is not a method", "http://a/", method="\ud800"),
        bad(ValueError, "a GET request cannot have a body", "http://a/", body="x"),
        bad(TypeError, "a body is str, bytes or", "http://a/", method="POST", body=5),
        bad(TypeError, "a body is str, bytes or", "http://a/", method="POST", body={"a": 1}),
        bad(ValueError, ".*surrogate", "http://a/", method="POST", body="\ud800"),
    ],
    "holdfast.Response": [
        *[bad(error, words, "hi", headers=value) for error, words, value in NO_HEADERS],
        bad(TypeError, "a body is str, bytes or an async iterable of them, not int", 5),
        bad(TypeError, "a body is str, bytes or an async iterable of them, not list", ["hi"]),
        bad(TypeError, "a body is str, bytes or an async iterable of them, not dict", {"a": 1}),
        bad(ValueError, ".*surrogate", "\ud800"),
        bad(ValueError, "a response has a status from 200 to 599, not 101", status=101),
        bad(ValueError, "a response has a status from 200 to 599, not 199", status=199),
        bad(ValueError, "a response has a status from 200 to 599, not 600", status=600),
        bad(ValueError, "a response with status 204 cannot have a body", "hi", status=204),
        bad(TypeError, "a status is an int, not float", status=200.5),
        bad(TypeError, "a status is an int, not str", status="200"),
        bad(TypeError, "a status is an int, not bool", status=True),
    ],
    "holdfast.Response.html": [
        bad(TypeError, "a page is a str, not int", 5),
        bad(TypeError, "a page is a str, not bytes", b"<p>"),
        bad(ValueError, ".*surrogate", "\ud800"),
        bad(ValueError, "a response has a status from 200 to 599, not 600", "hi", status=600),
    ],
    "holdfast.Response.json": [
        *[row for row in NO_JSON if "surrogate" not in row.words],
        bad(ValueError, ".*surrogate", {"a": "\ud800"}),
        bad(TypeError, "keys must be str, int, float, bool or None, not tuple", {(1, 2): 3}),
        bad(ValueError, "Circular reference detected", cyclic()),
        bad(ValueError, "the value is nested too deeply for JSON", nested(50_000)),
    ],
    "holdfast.Response.redirect": [
        bad(ValueError, r"cannot redirect to '/\\x00'", "/\0"),
        bad(ValueError, r"cannot redirect to '/\\r\\n", "/\r\nx: y"),
        bad(ValueError, ".*surrogate", "/\ud800"),
        bad(ValueError, "a redirect has one of the statuses", "/", 200),
        bad(TypeError, "a status is an int, not str", "/", "302"),
        bad(TypeError, "a status is an int, not list", "/", [302]),
        bad(TypeError, "a redirect goes to a str or a URL, not NoneType", None),
        bad(TypeError, "a redirect goes to a str or a URL, not bytes", b"/"),
    ],
    "response.set_cookie": NO_COOKIE,
    "response.delete_cookie": [
        bad(TypeError, "the name of a cookie is of type str, not int", 5),
        bad(ValueError, r"'a\\x00' is not a cookie name", "a\0"),
        bad(TypeError, "the path of cookie 'a' is of type str, not int", "a", path=5),
        bad(ValueError, "cookie 'a' cannot have the domain", "a", domain="\ud800"),
    ],
}
ROWS = [
    pytest.param(call, row, id=f"{call} {number}")
    for call, rows in TABLE.items()
    for number, row in enumerate(rows)
]


# -- the tests


def call(scene: Scene, name: str, row: Bad) -> None:
    outcome = attrgetter(name)(scene)(*row.arguments, **row.keywords)
    if isawaitable(outcome):
        run(outcome)


def run_row(name: str, row: Bad) -> None:
    scene = Scene()
    current_outbox.set(outbox_of(scene.message))
    before = scene.everything()
    with pytest.raises(row.error, match=f"^{row.words}") as caught:
        call(scene, name, row)
    # Not any subclass: that would be somebody else's error in somebody else's words. What cannot
    # be encoded is the one that speaks for itself.
    assert caught.type in {row.error, UnicodeEncodeError}
    if name == "set_found_data":
        before[-1] = scene.everything()[-1]  # It had to be looked up.
    assert scene.everything() == before
    USES[name.partition(".")[0]](scene)


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_bad_value_raises_in_caller_without_effect(name: str, row: Bad) -> None:
    # Wherever cookies and headers are given.
    copy_context().run(run_row, name, row)


@pytest.mark.parametrize(
    ("name", "arguments", "keywords"),
    [
        ("connection.close", [4999, "x" * 123], {}),
        ("connection.close", [1000, "é" * 61], {}),
        ("channel.post_message", [nested(64)], {}),
        ("set_data", [b"x" * 62], {}),
        ("fetch.set_cookie", ["a", "x" * 4095], {"path": "/" * 1024, "domain": "a" * 1024}),
        ("response.set_cookie", ["a", "x" * 4095], {}),
        ("clients.match_all", [], {"limit": 10**1000}),
        ("holdfast.BroadcastChannel", ["\0" * 10_000], {"max_queue": 1}),
        ("holdfast.Response", [None], {"status": 599}),
        ("holdfast.URL", ["http://a:65535/"], {}),
    ],
)
def test_extreme_allowed_values_are_taken(
    name: str, arguments: list[Any], keywords: dict[str, Any]
) -> None:
    def take() -> None:
        scene = Scene()
        current_outbox.set(outbox_of(scene.message))
        call(scene, name, Bad(Exception, "", tuple(arguments), keywords))

    copy_context().run(take)


# -- nothing is left out


# Of what a type has beside: that it takes no values, that it is for hosts, or where it is tested.
NOT_IN_THE_TABLE = {
    "connection": {"commit"},
    "channel": {"close", "receive", "lose", "wake_iterations"},
    "app": set(),
    "clients": set(),
    "message": {"flush", "json"},
    "fetch": {"answer"},
    "upgrade": {"answer"},
    "headers": {"copy", "from_raw", "get_set_cookie", "items", "keys"},
}


@pytest.mark.parametrize("name", NOT_IN_THE_TABLE)
def test_no_public_call_is_left_out(name: str) -> None:
    kind = type(getattr(Scene(), name))
    calls = {method for method in dir(kind) if method[0] != "_" and callable(getattr(kind, method))}
    tested = {call.partition(".")[2] for call in TABLE if call.startswith(f"{name}.")}
    assert calls - NOT_IN_THE_TABLE[name] == tested - {"__getitem__"}
