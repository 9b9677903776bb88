"""The record of an endpoint, and the scope that each worker makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.endpoints.record import Endpoint

REQUEST: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "server": ("127.0.0.1", 7777),
    "client": ("192.0.2.1", 4711),
    "root_path": "",
    "path": "/rooms/a b",
    "raw_path": b"/rooms/a%20b",
    "query_string": b"name=Ann",
    "headers": [(b"host", b"example.org"), (b"sec-websocket-protocol", b"chat, json")],
    "state": {"pool": object()},
    "extensions": {"holdfast.socket": object()},
}

# What uvicorn 0.54 puts into the scope of a WebSocket.
SCOPE: dict[str, Any] = {
    "type": "websocket",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "scheme": "ws",
    "server": ("127.0.0.1", 7777),
    "client": ("192.0.2.1", 4711),
    "root_path": "",
    "path": "/rooms/a b",
    "raw_path": b"/rooms/a%20b",
    "query_string": b"name=Ann",
    "headers": [(b"host", b"example.org"), (b"sec-websocket-protocol", b"chat, json")],
    "subprotocols": ["chat", "json"],
    "extensions": {
        "websocket.http.response": {},
        "holdfast": {"resumed": 0},
    },
}


def test_handshake_becomes_a_websocket_scope() -> None:
    assert Endpoint.of_request(REQUEST).scope({"resumed": 0}) == SCOPE


def test_scope_survives_its_encoding() -> None:
    endpoint = Endpoint.decode(Endpoint.of_request(REQUEST).encode())
    scope = endpoint.scope({"resumed": 0})
    assert scope == SCOPE
    assert {type(scope[name]) for name in ("server", "client")} == {tuple}
    assert {type(field) for field in scope["headers"]} == {tuple}


def test_place_is_part_of_the_scope() -> None:
    place = Endpoint.of_request(REQUEST).place
    assert place == {"path": "/rooms/a b", "root_path": ""}
    assert place.items() <= SCOPE.items()


def test_each_scope_is_new() -> None:
    endpoint = Endpoint.of_request(REQUEST)
    first, second = endpoint.scope({}), endpoint.scope({})
    for name in ("asgi", "headers", "subprotocols", "extensions"):
        assert first[name] is not second[name]


@pytest.mark.parametrize(
    ("scheme", "expected"), [("http", "ws"), ("https", "wss"), ("ws", "ws"), ("wss", "wss")]
)
def test_scheme_is_that_of_a_websocket(scheme: str, expected: str) -> None:
    endpoint = Endpoint.of_request({**REQUEST, "scheme": scheme})
    assert endpoint.scope({})["scheme"] == expected


def test_optional_keys_may_be_missing() -> None:
    scope = Endpoint.of_request({"type": "websocket", "path": "/", "headers": []}).scope({})
    assert "raw_path" not in scope
    assert (scope["scheme"], scope["client"], scope["server"]) == ("ws", None, None)
    assert (scope["query_string"], scope["root_path"], scope["http_version"]) == (b"", "", "1.1")
