from __future__ import annotations

import asyncio
from inspect import CORO_CLOSED, getcoroutinestate
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.core.channel import BroadcastChannel
from holdfast.core.errors import (
    AlreadyDecided,
    AttachmentError,
    EventSettled,
    LocalError,
    NotAnUpgradeRequest,
)
from holdfast.core.events import (
    ActivateEvent,
    ErrorEvent,
    ExtendableEvent,
    FetchEvent,
    GapEvent,
    InstallEvent,
    MessageEvent,
    RequestEvent,
    ShutdownEvent,
    StartupEvent,
    Upgrade,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.core.headers import Headers
from holdfast.core.http import Request, Response
from holdfast.core.ports import About
from holdfast.wire.codec import encode_plain
from tests.core.fakes import (
    URL,
    FakeHost,
    Late,
    close_event,
    handshake,
    message_event,
    outbox_of,
    run,
    suspend,
)

if TYPE_CHECKING:
    from collections.abc import Callable


LOBBY = BroadcastChannel("lobby")


def install_event(host: FakeHost) -> InstallEvent:
    return InstallEvent(host.new_outbox())


def error_event(host: FakeHost) -> ErrorEvent:
    return ErrorEvent(host.new_outbox(), OSError(), install_event(host))


def fetch_event(request: Request | None = None, *, upgradable: bool = True) -> FetchEvent:
    return FetchEvent(FakeHost().new_outbox(), request or handshake(), upgradable=upgradable)


def upgrade_event(request: Request | None = None) -> WebSocketUpgradeEvent:
    return WebSocketUpgradeEvent(FakeHost().new_outbox(), request or handshake(), upgradable=True)


async def respond() -> Response:
    return Response("hi")


def nothing_happened(event: RequestEvent) -> bool:
    return event.decision is None and outbox_of(event).entries == []


EVENTS: list[tuple[type[ExtendableEvent], str, Callable[[FakeHost], ExtendableEvent]]] = [
    (InstallEvent, "install", install_event),
    (ActivateEvent, "activate", lambda host: ActivateEvent(host.new_outbox())),
    (StartupEvent, "startup", lambda host: StartupEvent(host.new_outbox())),
    (ShutdownEvent, "shutdown", lambda host: ShutdownEvent(host.new_outbox())),
    (ErrorEvent, "error", error_event),
    (FetchEvent, "fetch", lambda host: fetch_event()),
    (MessageEvent, "message", lambda host: MessageEvent(host.new_outbox(), LOBBY, "hello")),
    (GapEvent, "gap", lambda host: GapEvent(host.new_outbox(), LOBBY, 2)),
    (WebSocketUpgradeEvent, "websocketupgrade", lambda host: upgrade_event()),
    (WebSocketMessageEvent, "websocketmessage", message_event),
    (WebSocketCloseEvent, "websocketclose", close_event),
]  # fmt: skip


# -- every event


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_is_of_its_type_and_open(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    event = make(FakeHost())
    assert isinstance(event, kind)
    assert event.type == type
    assert repr(event) == f"<{kind.__name__} open>"


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_without_work_settles_when_its_listeners_have_returned(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    event = make(FakeHost())
    assert not event.is_settled
    outbox_of(event).seal()
    assert event.is_settled
    assert repr(event) == f"<{kind.__name__} settled>"


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_a_settled_event_cannot_be_extended(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    # A4.
    event = make(FakeHost())
    outbox_of(event).seal()
    with pytest.raises(EventSettled, match=f"^this {type} event is over"):
        event.wait_until(Late())


@pytest.mark.parametrize(("kind", "type", "make"), EVENTS)
def test_an_event_has_room_for_nothing_else(
    kind: type, type: str, make: Callable[[FakeHost], ExtendableEvent]
) -> None:
    assert not hasattr(make(FakeHost()), "__dict__")


def test_what_is_asked_for_after_the_listeners_leaves_at_once() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.send("during")
    host.commit(outbox_of(event))
    event.source.send("after")
    assert host.commits == [[("send", 5, "during")]]
    assert host.leaving == [("send", 5, "after")]


# -- wait_until


def test_work_runs_beside_the_event() -> None:
    host, steps = FakeHost(), []
    event = install_event(host)

    async def work() -> None:
        steps.append("worked")

    event.wait_until(work())
    assert steps == []
    assert len(host.spawned) == 1
    host.run_spawned()
    assert steps == ["worked"]


def test_an_event_stays_open_until_all_its_work_has_ended() -> None:
    # A5.
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    event.wait_until(Late())
    outbox_of(event).seal()
    run(host.spawned.pop())
    assert not event.is_settled
    run(host.spawned.pop())
    assert event.is_settled


def test_work_counts_from_the_call_and_not_from_its_first_step() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    assert not event.is_settled
    host.run_spawned()


def test_an_event_whose_work_ended_early_is_open_while_listeners_run() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    host.run_spawned()
    assert not event.is_settled
    event.wait_until(Late())
    host.run_spawned()


def test_pending_work_may_extend_the_event_further() -> None:
    # A4.
    host, steps = FakeHost(), []
    event = install_event(host)

    async def inner() -> None:
        steps.append("inner")

    async def outer() -> None:
        event.wait_until(inner())

    event.wait_until(outer())
    outbox_of(event).seal()
    assert host.run_spawned() == []
    assert steps == ["inner"]
    assert event.is_settled


def test_an_event_whose_work_has_ended_cannot_be_extended_again() -> None:
    # A5.
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    host.run_spawned()
    with pytest.raises(EventSettled):
        event.wait_until(Late())


def test_work_that_raises_ends_and_is_kept_for_the_host() -> None:
    # A6.
    host, error = FakeHost(), OSError("no database")
    event = install_event(host)
    assert event.failures == []

    async def work() -> None:
        await suspend()
        raise error

    event.wait_until(work())
    outbox_of(event).seal()
    assert host.run_spawned() == [error]
    assert event.failures == [error]
    assert event.is_settled


def test_work_that_is_cancelled_ends_the_event_too() -> None:
    host = FakeHost()
    event = install_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    work = host.spawned.pop()
    work.send(None)
    with pytest.raises(asyncio.CancelledError):
        work.throw(asyncio.CancelledError())
    assert event.is_settled
    assert event.failures == []


def test_a_task_is_work_too() -> None:
    async def main() -> bool:
        host = FakeHost()
        event = install_event(host)
        event.wait_until(asyncio.create_task(asyncio.sleep(0)))
        outbox_of(event).seal()
        await host.spawned.pop()
        return event.is_settled

    assert asyncio.run(main())


@pytest.mark.parametrize("work", [None, 5, "work", respond, [Late()]])
def test_what_cannot_be_awaited_is_no_work(work: Any) -> None:
    host = FakeHost()
    event = install_event(host)
    with pytest.raises(TypeError, match=f"takes an awaitable, not {type(work).__name__}$"):
        event.wait_until(work)
    assert host.spawned == []
    outbox_of(event).seal()
    assert event.is_settled


def test_work_that_came_too_late_is_closed() -> None:
    # Or Python would warn that it was never awaited, far from here. A12 is different: there, the
    # host hears of all work, also of that which is refused.
    host = FakeHost()
    event, work = install_event(host), respond()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.wait_until(work)
    assert getcoroutinestate(work) == CORO_CLOSED
    assert host.spawned == []


def test_what_work_sends_leaves_with_the_event_or_at_once_after_it() -> None:
    host = FakeHost()
    event = message_event(host)

    async def work() -> None:
        event.source.send("during")
        await suspend()
        event.source.send("after")

    event.wait_until(work())
    steps = host.spawned.pop()
    steps.send(None)
    assert outbox_of(event).seal() == [("send", 5, "during")]
    with pytest.raises(StopIteration):
        steps.send(None)
    assert host.leaving == [("send", 5, "after")]


def test_a_fetch_event_has_its_request_and_nothing_of_a_page() -> None:
    # A11 is different: the URL is that of the request, and a request of no page has no client.
    event = fetch_event()
    assert event.request.url.href == URL
    names = ("url", "client_id", "resulting_client_id", "handled", "preload_response")
    assert not any(hasattr(event, name) for name in names)


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
    # A8, A32.
    event, response = make(), Response("hi")
    assert event.decision is None
    respond_with(event, response)
    assert event.decision is response


def test_an_awaitable_of_a_response_decides() -> None:
    # A8.
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
    # A8.
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
    # A20, A26.
    event = make()
    connection = upgrade(event)
    assert isinstance(event.decision, Upgrade)
    assert event.decision == Upgrade(connection, None, Headers())


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_an_upgrade_after_the_listeners_is_too_late(
    make: Callable[[], RequestEvent], upgrade: Any
) -> None:
    # A23.
    event = make()
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        upgrade(event)
    assert event.decision is None


@pytest.mark.parametrize("second", ["respond", "respond later", "upgrade"])
@pytest.mark.parametrize("first", ["respond", "respond later", "upgrade"])
def test_the_first_answer_counts(first: str, second: str) -> None:
    # A8, A21, A26.
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


def test_an_awaitable_that_was_not_the_first_answer_is_closed() -> None:
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
    # A25: A21, A22, A23. All before anything else is looked at.
    event = fetch_event(upgradable=upgradable)
    if is_answered:
        event.respond_with(Response("hi"))
    if is_over:
        outbox_of(event).seal()
    with pytest.raises(error):
        event.upgrade_websocket(subprotocol="not offered", headers={"not a token": ""})


def test_a_request_that_asked_for_nothing_else_is_not_upgraded() -> None:
    # A22: what counts as asking is the host's to say, and it has checked the whole handshake.
    event = fetch_event(Request(URL), upgradable=False)
    with pytest.raises(NotAnUpgradeRequest):
        event.upgrade_websocket()
    assert nothing_happened(event)
    event.respond_with(Response("then not"))


@pytest.mark.parametrize(("make", "upgrade"), UPGRADERS)
def test_an_upgrade_does_not_keep_its_event_open(
    make: Callable[[], RequestEvent], upgrade: Any
) -> None:
    # A35.
    event = make()
    upgrade(event)
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        event.wait_until(Late())


def test_a_handshake_event_accepts_or_rejects_and_a_fetch_event_responds_or_upgrades() -> None:
    # A60 is different: there, no event of that name was ever made. A61: respond_with and
    # upgrade_websocket stay where the Service Worker API and the model have them.
    answers = {"accept", "reject", "respond_with", "upgrade_websocket"}
    assert answers & set(dir(upgrade_event())) == {"accept", "reject"}
    assert answers & set(dir(fetch_event())) == {"respond_with", "upgrade_websocket"}


# -- upgrading


def test_an_upgraded_connection_is_new_and_of_the_requests_url() -> None:
    # A26; its id is the host's token, not a UUID.
    event = fetch_event()
    connection = event.upgrade_websocket()
    assert (connection.id, connection.url) == ("id-1", URL)
    assert connection.about == About(URL, None, frozenset())
    assert not connection.closed
    assert connection.data is None


def test_each_upgrade_has_a_serial_of_its_own() -> None:
    host = FakeHost()
    events = [FetchEvent(host.new_outbox(), handshake(), upgradable=True) for _ in range(2)]
    assert [event.upgrade_websocket().serial for event in events] == [1, 2]


def test_an_upgraded_connection_can_be_used_at_once() -> None:
    # A29, A30.
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
    # A28.
    event = make()
    connection = upgrade(event, data=data)
    assert connection.data == data
    connection.commit()
    assert outbox_of(event).entries == [("attach", 1, encode_plain(data))]


def test_first_data_that_cannot_be_kept_fails_at_the_commit() -> None:
    # A28 is different: there, data is any object, and stays in its process.
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


def test_headers_that_change_after_an_upgrade_were_sent_as_they_were() -> None:
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
    # A13, A34.
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
    # A14 is different: there is no cookie store around an event, which another could get hold of.
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


# -- messages


def test_a_message_event_says_what_came_from_whom() -> None:
    # A44.
    event = message_event(FakeHost(), b"\x00\xff", attachment=encode_plain({"n": 1}), attempt=2)
    assert event.data == b"\x00\xff"
    assert (event.number, event.attempt) == (7, 2)
    assert (event.source.id, event.source.data) == ("id-5", {"n": 1})
    assert not event.source.closed


@pytest.mark.parametrize("attempt", [1, 2])
def test_the_id_of_a_message_is_the_same_on_each_attempt(attempt: int) -> None:
    assert message_event(FakeHost(), attempt=attempt).id == "id-5-7"


@pytest.mark.parametrize("data", ['{"a": [1, null]}', b'{"a": [1, null]}'])
def test_a_message_can_be_parsed_as_json(data: str | bytes) -> None:
    assert message_event(FakeHost(), data).json() == {"a": [1, None]}


@pytest.mark.parametrize("data", ["NaN", '{"a": [Infinity]}', b"-Infinity"])
def test_numbers_that_only_python_calls_json_are_refused(data: str | bytes) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        message_event(FakeHost(), data).json()


def test_an_event_of_a_channel_says_what_happened_where() -> None:
    host = FakeHost()
    message = MessageEvent(host.new_outbox(), LOBBY, {"n": 1})
    gap = GapEvent(host.new_outbox(), LOBBY, 2)
    assert (message.channel, message.data) == (LOBBY, {"n": 1})
    assert (gap.channel, gap.lost) == (LOBBY, 2)


@pytest.mark.parametrize("data", ["", "{", "'a'", b"\xff", b"\x00", "[" * 100_000, b"[" * 100_000])
def test_a_message_that_is_not_json_is_a_value_error(data: str | bytes) -> None:
    event = message_event(FakeHost(), data)
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the json module
        event.json()


def test_a_flush_sends_what_was_collected_so_far() -> None:
    host = FakeHost()
    event = message_event(host, attempt=2)
    event.source.send("a")
    run(event.flush())
    event.source.send("b")
    assert host.flushes == [[("send", 5, "a")]]
    assert outbox_of(event).entries == [("send", 5, "b")]


def test_a_flush_commits_changed_data() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.data = record = {"n": 1}
    run(event.flush())
    assert host.flushes == [[("attach", 5, encode_plain({"n": 1}))]]
    record["n"] = 2
    event.source.commit()
    assert outbox_of(event).entries == [("attach", 5, encode_plain({"n": 2}))]


def test_a_flush_of_data_that_cannot_be_kept_sends_nothing() -> None:
    host = FakeHost()
    event = message_event(host)
    event.source.send("a")
    event.source.data = {1, 2}
    with pytest.raises(AttachmentError):
        run(event.flush())
    assert host.flushes == []
    assert outbox_of(event).entries == [("send", 5, "a")]


def test_a_flush_after_the_listeners_is_an_error() -> None:
    host = FakeHost()
    event = message_event(host)
    event.wait_until(Late())
    outbox_of(event).seal()
    with pytest.raises(EventSettled):
        run(event.flush())
    assert host.flushes == []
    host.run_spawned()


# -- closes, errors


def test_a_close_event_says_what_closed_and_why() -> None:
    # A51.
    event = close_event(FakeHost(), 4000, "bye")
    assert (event.code, event.reason, event.number, event.attempt) == (4000, "bye", 8, 1)
    assert event.id == "id-5-8"


@pytest.mark.parametrize(
    ("code", "was_clean"), [(1000, True), (1001, True), (1005, True), (1006, False), (4999, True)]
)
def test_only_1006_is_not_clean(code: int, was_clean: bool) -> None:
    # A52.
    assert close_event(FakeHost(), code).was_clean is was_clean


def test_the_connection_of_a_close_event_is_closed() -> None:
    # A40, A53.
    event = close_event(FakeHost())
    assert event.source.closed
    event.source.send("too late")
    assert outbox_of(event).entries == []


def test_an_error_event_reports_what_raised_and_where() -> None:
    host, error = FakeHost(), OSError("no database")
    failed = message_event(host)
    event = ErrorEvent(host.new_outbox(), error, failed)
    assert (event.error, event.event) == (error, failed)
