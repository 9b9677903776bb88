from __future__ import annotations

from inspect import CORO_CLOSED, getcoroutinestate
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.core.ports import Metadata
from holdfast.core.request_events import FetchEvent, RequestEvent, Upgrade, WebSocketUpgradeEvent
from holdfast.errors import (
    AlreadyDecided,
    AttachmentError,
    EventSettled,
    LocalError,
    NotAnUpgradeRequest,
)
from holdfast.web.headers import Headers
from holdfast.web.request import Request
from holdfast.web.response import Response
from holdfast.wire.codec import encode_plain
from tests.core.fakes import (
    URL,
    FakeHost,
    Late,
    close_event,
    fetch_event,
    handshake,
    message_event,
    outbox_of,
    upgrade_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable


async def respond() -> Response:
    return Response("hi")


def nothing_happened(event: RequestEvent) -> bool:
    return event.decision is None and outbox_of(event).entries == []


# -- answering a request


RESPONDERS = [
    pytest.param(fetch_event, FetchEvent.respond_with, id="respond_with"),
    pytest.param(upgrade_event, WebSocketUpgradeEvent.reject, id="reject"),
    pytest.param(fetch_event, FetchEvent.answer, id="returned"),
]
UPGRADERS = [
    pytest.param(fetch_event, FetchEvent.upgrade_websocket, id="upgrade_websocket"),
    pytest.param(upgrade_event, WebSocketUpgradeEvent.accept, id="accept"),
]


@pytest.mark.parametrize(("make", "respond_with"), RESPONDERS)
def test_a_response_decides(make: Callable[[], RequestEvent], respond_with: Any) -> None:
    event, response = make(), Response("hi")
    assert event.decision is None
    respond_with(event, response)
    assert event.decision is response


def test_an_awaitable_of_a_response_decides() -> None:
    event, later = fetch_event(), Late(Response("hi"))
    event.respond_with(later)
    assert event.decision is later


@pytest.mark.parametrize(("make", "respond_with"), RESPONDERS)
@pytest.mark.parametrize("response", [None, "hi", b"hi", 200, {"status": 200}, Response])
def test_what_is_no_response_decides_nothing(
    make: Callable[[], RequestEvent], respond_with: Any, response: object
) -> None:
    event = make()
    with pytest.raises(TypeError, match=f"awaitable of one, not {type(response).__name__}$"):
        respond_with(event, response)
    assert nothing_happened(event)


@pytest.mark.parametrize(("make", "respond_with"), RESPONDERS)
def test_a_response_after_the_listeners_is_too_late(
    make: Callable[[], RequestEvent], respond_with: Any
) -> None:
    event, late = make(), respond()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        respond_with(event, Response("hi"))
    with pytest.raises(EventSettled):
        respond_with(event, late)
    assert getcoroutinestate(late) == CORO_CLOSED
    assert event.decision is None


def test_pending_work_does_not_leave_time_for_a_response() -> None:
    event = fetch_event()
    event.wait_until(Late())
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.respond_with(Response("hi"))
    outbox_of(event).host.run_spawned()


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_an_upgrade_decides(make: Callable[[], RequestEvent], upgrade: Any) -> None:
    event = make()
    connection = upgrade(event)
    assert isinstance(event.decision, Upgrade)
    assert event.decision == Upgrade(connection, None, Headers())


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_an_upgrade_after_the_listeners_is_too_late(
    make: Callable[[], RequestEvent], upgrade: Any
) -> None:
    event = make()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        upgrade(event)
    assert event.decision is None


@pytest.mark.parametrize("second", ["respond", "respond later", "upgrade"])
@pytest.mark.parametrize("first", ["respond", "respond later", "upgrade"])
def test_the_first_answer_counts(first: str, second: str) -> None:
    event = fetch_event()
    later = [Late(Response("hi")), Late(Response("hi"))]
    ways: dict[str, Callable[[int], object]] = {
        "respond": lambda turn: event.respond_with(Response("hi")),
        "respond later": lambda turn: event.respond_with(later[turn]),
        "upgrade": lambda turn: event.upgrade_websocket(),
    }
    ways[first](0)
    decision = event.decision
    with pytest.raises(AlreadyDecided):
        ways[second](1)
    assert event.decision is decision


def test_second_awaitable_answer_is_closed() -> None:
    event, late = fetch_event(), respond()
    event.respond_with(Response("hi"))
    with pytest.raises(AlreadyDecided):
        event.respond_with(late)
    assert getcoroutinestate(late) == CORO_CLOSED


@pytest.mark.parametrize(
    ("is_answered", "upgradable", "is_over", "error"),
    [
        (True, False, True, AlreadyDecided),
        (False, False, True, NotAnUpgradeRequest),
        (False, True, True, EventSettled),
    ],
)
def test_the_rules_are_checked_in_their_order(
    is_answered: bool, upgradable: bool, is_over: bool, error: type[LocalError]
) -> None:
    # All before anything else is looked at.
    event = fetch_event(upgradable=upgradable)
    if is_answered:
        event.respond_with(Response("hi"))
    if is_over:
        outbox_of(event).seal()
    with pytest.raises(error):
        event.upgrade_websocket(subprotocol="not offered", headers={"not a token": ""})


def test_plain_request_is_not_upgraded() -> None:
    # What counts as asking is the host's to say, and it has checked the whole handshake.
    # Nothing is left of it.
    event = fetch_event(Request(URL), upgradable=False)
    with pytest.raises(NotAnUpgradeRequest):
        event.upgrade_websocket()
    assert nothing_happened(event)
    event.respond_with(Response("then not"))


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_an_upgrade_does_not_keep_its_event_open(
    make: Callable[[], RequestEvent], upgrade: Any
) -> None:
    event = make()
    upgrade(event)
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.wait_until(Late())


def test_a_handshake_event_accepts_or_rejects_and_a_fetch_event_responds_or_upgrades() -> None:
    # The model differs: there, no event of that name was ever made. A61: respond_with and
    # upgrade_websocket stay where the Service Worker API and the model have them.
    answers = {"accept", "reject", "respond_with", "upgrade_websocket"}
    assert answers & set(dir(upgrade_event())) == {"accept", "reject"}
    assert answers & set(dir(fetch_event())) == {"respond_with", "upgrade_websocket"}


# -- upgrading


def test_an_upgraded_connection_is_new_and_of_the_requests_url() -> None:
    # Its id is the host's token, not a UUID.
    event = fetch_event()
    connection = event.upgrade_websocket()
    assert (connection.id, connection.url) == ("id-1", URL)
    assert connection.about == Metadata(URL, None, frozenset())
    assert not connection.closed
    assert connection.data is None


def test_each_upgrade_has_a_serial_of_its_own() -> None:
    host = FakeHost()
    events = [FetchEvent(host.new_outbox(), handshake(), upgradable=True) for _ in range(2)]
    assert [event.upgrade_websocket().serial for event in events] == [1, 2]


def test_an_upgraded_connection_can_be_used_at_once() -> None:
    event = upgrade_event()
    connection = event.accept()
    connection.subscribe("lobby")
    connection.send("welcome")
    connection.close(4000, "full")
    assert outbox_of(event).entries == [
        ("subscribe", 1, "lobby"),
        ("send", 1, "welcome"),
        ("close", 1, 4000, "full"),
    ]


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
@pytest.mark.parametrize("data", [0, False, "", [], {"name": "Ann"}])
def test_first_data_is_committed_with_the_upgrade(
    make: Callable[[], RequestEvent], upgrade: Any, data: object
) -> None:
    event = make()
    connection = upgrade(event, data=data)
    assert connection.data == data
    connection.commit()
    assert outbox_of(event).entries == [("attach", 1, encode_plain(data))]


def test_invalid_first_data_fails_at_commit() -> None:
    # The model differs: there, data is any object, and stays in its process.
    # The model differs: there, null is kept.
    event = fetch_event()
    connection = event.upgrade_websocket(data={"callback": print})
    with pytest.raises(AttachmentError, match=r"^data\['callback'\] is a builtin_function"):
        connection.commit()
    assert outbox_of(event).entries == []


@pytest.mark.parametrize("offered", ["chat", "soap, chat", " chat ,soap", "soap,,chat"])
@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_a_subprotocol_that_was_offered_can_be_chosen(
    make: Callable[[Request], RequestEvent], upgrade: Any, offered: str
) -> None:
    event = make(handshake(sec_websocket_protocol=offered))
    connection = upgrade(event, subprotocol="chat")
    assert connection.subprotocol == "chat"
    assert isinstance(event.decision, Upgrade)
    assert event.decision.subprotocol == "chat"


class Markup(str):
    __slots__ = ()


def test_the_chosen_subprotocol_is_the_clients_own_text() -> None:
    # A subclass of str would break the wire.
    event = fetch_event(handshake(sec_websocket_protocol="chat"))
    assert type(event.upgrade_websocket(subprotocol=Markup("chat")).subprotocol) is str


@pytest.mark.parametrize(
    ("chosen", "offered"),
    [
        ("chat", ""),
        ("chat", "soap"),
        ("Chat", "chat"),
        ("chat, soap", "chat, soap"),
        ("", ""),
        ("", "chat,,soap"),
        ("no token", "no token"),
        ("\ud800", "chat"),
        ("chat\0", "chat"),
        (5, "5"),
        (b"chat", "chat"),
    ],
)
def test_a_subprotocol_that_the_handshake_could_not_carry_is_refused(
    chosen: Any, offered: str
) -> None:
    event = fetch_event(handshake(sec_websocket_protocol=offered))
    with pytest.raises(ValueError, match=r"^the client did not offer the subprotocol "):
        event.upgrade_websocket(subprotocol=chosen)
    assert nothing_happened(event)


@pytest.mark.parametrize(
    "headers", [{"X-One": "1"}, [("x-one", "1")], Headers({"x-one": "1"}), iter([("X-ONE", "1")])]
)
def test_more_header_fields_can_go_with_an_upgrade(headers: Any) -> None:
    event = fetch_event()
    event.upgrade_websocket(headers=headers)
    assert isinstance(event.decision, Upgrade)
    assert event.decision.headers == Headers({"x-one": "1"})


def test_upgrade_headers_are_a_copy() -> None:
    event, headers = fetch_event(), Headers({"x-one": "1"})
    event.upgrade_websocket(headers=headers)
    headers.set("x-one", "2")
    assert isinstance(event.decision, Upgrade)
    assert event.decision.headers["x-one"] == "1"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("", "1", ValueError),
        ("no token", "1", ValueError),
        ("x-one", "1\r\nx-two: 2", ValueError),
        ("x-one", "1\0", ValueError),
        ("x-one", "\ud800", ValueError),
        ("x-one", "🎈", ValueError),
        ("x-one", 1, TypeError),
        (b"x-one", "1", TypeError),
        ("Upgrade", "websocket", ValueError),
        ("Connection", "close", ValueError),
        ("Sec-WebSocket-Accept", "x", ValueError),
        ("Sec-WebSocket-Protocol", "chat", ValueError),
        ("SEC-WEBSOCKET-EXTENSIONS", "permessage-deflate", ValueError),
        ("Content-Length", "0", ValueError),
        ("Transfer-Encoding", "chunked", ValueError),
    ],
)
@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_a_header_that_cannot_go_with_an_upgrade_is_refused(
    make: Callable[[], RequestEvent], upgrade: Any, name: Any, value: Any, error: type[Exception]
) -> None:
    # In the caller: the keeper would refuse the connection, when nobody can mend it any more.
    event = make()
    with pytest.raises(error):
        upgrade(event, headers={"x-fine": "1", name: value})
    assert nothing_happened(event)


def test_a_refused_upgrade_can_be_tried_again() -> None:
    event = fetch_event()
    with pytest.raises(ValueError, match="did not offer"):
        event.upgrade_websocket(subprotocol="chat")
    event.upgrade_websocket()
    assert isinstance(event.decision, Upgrade)


# -- cookies


def test_cookies_go_with_any_answer() -> None:
    event = fetch_event()
    assert event.set_cookies == []
    event.set_cookie("a", "1")
    event.upgrade_websocket()
    event.set_cookie("b", "2", http_only=True)
    first, second = event.set_cookies
    assert first.startswith("a=1; ")
    assert second.startswith("b=2; ")
    assert "HttpOnly" in second


def test_cookies_go_with_the_answer_of_their_own_event() -> None:
    # The model differs: there is no cookie store around an event, which another could get hold of.
    host = FakeHost()
    one, other = (FetchEvent(host.new_outbox(), handshake(), upgradable=True) for _ in range(2))
    one.set_cookie("a", "1")
    assert other.set_cookies == []
    for event in (message_event(host), close_event(host)):
        assert not hasattr(event, "set_cookie")


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("", "1", {}),
        ("no token", "1", {}),
        ("a\0", "1", {}),
        ("a", "\ud800", {}),
        ("a", "x" * 4096, {}),
        ("a", "1", {"path": "/; HttpOnly"}),
        ("a", "1", {"same_site": "no"}),
    ],
)
def test_a_cookie_that_cannot_be_sent_is_refused(
    name: str, value: str, options: dict[str, Any]
) -> None:
    event = fetch_event()
    event.set_cookie("fine", "1")
    with pytest.raises(ValueError, match="cookie"):
        event.set_cookie(name, value, **options)
    assert len(event.set_cookies) == 1


def test_a_cookie_after_the_listeners_is_too_late() -> None:
    event = fetch_event()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.set_cookie("a", "1")
