"""The protocol between an endpoint and its connection, without either of them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.endpoints.boxes import EndpointData
from holdfast.endpoints.protocol import (
    Accept,
    Answer,
    ClientDisconnected,
    EndpointProtocol,
    Reopened,
)
from holdfast.endpoints.stages import (
    ACCEPTING,
    ANSWERING,
    CLOSED,
    CONNECTING,
    DISCONNECTED,
    GONE,
    LEAVING,
    OPEN,
    OVER,
    REFUSED,
    RELEASED,
)
from holdfast.errors import AttachmentError
from holdfast.wire.codec import encode_plain
from holdfast.wire.messages import (
    Ack,
    Act,
    Attach,
    Close,
    DeliverBinary,
    DeliverClose,
    DeliverResume,
    DeliverText,
    PublishText,
    Release,
    SendBinary,
    SendText,
    Subscribe,
)

if TYPE_CHECKING:
    from holdfast.endpoints.stages import EndpointStage
    from holdfast.wire.messages import Action

SERIAL = 7
LIMIT = 100  # bytes

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
GOODBYE = {"type": "websocket.disconnect", "code": 1005, "reason": ""}


def text(number: int, data: str = "x", attempt: int = 1) -> DeliverText:
    return DeliverText(SERIAL, number, attempt, data, b"", b"", 0)


def close(number: int, code: int = 1000, reason: str = "") -> DeliverClose:
    return DeliverClose(SERIAL, number, 1, code, reason, b"", b"", 0)


def resume(number: int = 0, attempt: int = 1) -> DeliverResume:
    return DeliverResume(SERIAL, number, attempt, b"", 1, b"", b"", 0)


def received(data: str = "x") -> dict[str, str]:
    return {"type": "websocket.receive", "text": data}


def disconnect(code: int, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def say(data: str) -> dict[str, str]:
    return {"type": "websocket.send", "text": data}


def ack(number: int, *actions: Action, attempt: int = 1, count: int = 1) -> Ack:
    return Ack(SERIAL, number, attempt, list(actions), count)


def sent(*data: str) -> Act:
    return Act([SendText(SERIAL, each) for each in data])


class Case:
    """A protocol, and the scope's extension that belongs to it."""

    def __init__(
        self, begin: DeliverResume | None = None, data: dict[str, Any] | None = None
    ) -> None:
        self.extension: dict[str, Any] = {"data": {} if data is None else data}
        attachment = encode_plain(data) if data else b""
        kept = EndpointData(self.extension, attachment, LIMIT)
        self.protocol = EndpointProtocol(SERIAL, kept, begin)

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.extension["data"]
        return data

    def open(self) -> EndpointProtocol:
        """Have the endpoint accept."""
        protocol = self.protocol
        assert protocol.receive() == CONNECT
        if isinstance(protocol.send(ACCEPT), Accept):
            protocol.adopted()
        assert stage_of(protocol) is OPEN
        return protocol


def new(begin: DeliverResume | None = None) -> EndpointProtocol:
    protocol = Case(begin).protocol
    assert protocol.receive() == CONNECT
    return protocol


def stage_of(protocol: EndpointProtocol) -> EndpointStage:
    # mypy takes an attribute for what it was compared with before.
    return protocol.stage


def opened() -> EndpointProtocol:
    """One that has accepted its handshake."""
    return Case().open()


def reopened(begin: DeliverResume | None = None) -> EndpointProtocol:
    """One that was resumed, and has accepted."""
    return Case(begin or resume()).open()


# --- the handshake ------------------------------------------------------------------------------


def test_connect_is_told_once() -> None:
    protocol = new()
    assert protocol.receive() is None


def test_accept_gives_the_socket_away() -> None:
    protocol = new()
    message = {**ACCEPT, "subprotocol": "chat", "headers": [(b"X-Room", b"lobby")]}
    assert protocol.send(message) == Accept("chat", [(b"x-room", b"lobby")], [])
    assert stage_of(protocol) is ACCEPTING
    protocol.adopted()
    assert stage_of(protocol) is OPEN
    assert protocol.take() == []


def test_send_during_the_handover_is_an_error() -> None:
    protocol = new()
    protocol.send(ACCEPT)
    for message in (ACCEPT, say("x")):
        with pytest.raises(RuntimeError, match=r"nothing before 'websocket.accept' is done"):
            protocol.send(message)


def test_client_may_leave_during_the_handover() -> None:
    protocol = new()
    protocol.send(ACCEPT)
    protocol.deliver(text(1))
    protocol.deliver(close(2, 1001))
    protocol.adopted()
    assert [protocol.receive(), protocol.receive()] == [received(), disconnect(1001)]
    protocol.end(1000)
    assert protocol.take() == [ack(2, count=2)]


@pytest.mark.parametrize("subprotocol", [None, ""])
def test_accept_may_name_no_subprotocol(subprotocol: str | None) -> None:
    assert new().send({**ACCEPT, "subprotocol": subprotocol}) == Accept(None, [], [])


@pytest.mark.parametrize(
    "message",
    [
        {**ACCEPT, "subprotocol": "not a token"},
        {**ACCEPT, "headers": [(b"sec-websocket-accept", b"mine")]},
        {**ACCEPT, "headers": [(b"x-two", b"lines\r\nx-three: 3")]},
    ],
)
def test_impossible_101_is_raised_in_the_endpoint(message: dict[str, Any]) -> None:
    protocol = new()
    with pytest.raises(ValueError, match=r"token|handshake|control"):
        protocol.send(message)
    assert protocol.stage is CONNECTING


def test_close_instead_of_accept_is_403() -> None:
    protocol = new()
    answer = protocol.send(CLOSE)
    assert isinstance(answer, Answer)
    start, body = answer.messages
    assert (start["type"], start["status"]) == ("http.response.start", 403)
    assert (b"connection", b"close") in start["headers"]
    assert body == {"type": "http.response.body", "body": b""}
    assert protocol.stage is REFUSED
    assert protocol.receive() == disconnect(1006)
    protocol.end(1000)
    assert protocol.take() == []
    assert protocol.is_over


def test_denial_response_goes_out_as_it_comes() -> None:
    protocol = new()
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]}
    assert protocol.send(start) == Answer(({**start, "type": "http.response.start"},))
    part = {"type": "websocket.http.response.body", "body": b"who", "more_body": True}
    assert protocol.send(part) == Answer(({**part, "type": "http.response.body"},))
    assert stage_of(protocol) is ANSWERING
    assert protocol.receive() is None
    assert protocol.send({"type": "websocket.http.response.body"}) == Answer(
        ({"type": "http.response.body"},)
    )
    assert protocol.stage is REFUSED
    assert protocol.receive() == disconnect(1006)


@pytest.mark.parametrize("status", [99, 600])
def test_denial_response_has_a_possible_status(status: int) -> None:
    with pytest.raises(RuntimeError, match="status"):
        new().send({"type": "websocket.http.response.start", "status": status})


def test_client_may_leave_during_its_handshake() -> None:
    protocol = new()
    protocol.lose()
    with pytest.raises(ClientDisconnected):
        protocol.send(ACCEPT)
    assert protocol.receive() == disconnect(1006)
    protocol.end(1011)
    assert protocol.is_over
    assert protocol.take() == []


def test_client_may_leave_amid_its_denial_response() -> None:
    protocol = new()
    protocol.send({"type": "websocket.http.response.start", "status": 401})
    protocol.lose()
    with pytest.raises(ClientDisconnected):
        protocol.send({"type": "websocket.http.response.body", "body": b"no"})
    assert protocol.receive() == disconnect(1006)


@pytest.mark.parametrize("answering", [False, True])
def test_end_in_the_handshake_tells_keeper_nothing(answering: bool) -> None:
    protocol = new()
    if answering:
        protocol.send({"type": "websocket.http.response.start", "status": 401})
    protocol.end(1011)
    assert protocol.is_over
    assert protocol.is_ended
    assert protocol.take() == []


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([], "websocket.send"),
        ([], "websocket.nonsense"),
        ([{"type": "websocket.http.response.start", "status": 401}], "websocket.accept"),
        ([CLOSE], "websocket.accept"),
    ],
)
def test_handshake_refuses_messages_out_of_turn(before: list[dict[str, Any]], message: str) -> None:
    protocol = new()
    for each in before:
        protocol.send(each)
    with pytest.raises(RuntimeError, match=f"expected ASGI message .*, but got '{message}'"):
        protocol.send({"type": message})


# --- messages -----------------------------------------------------------------------------------


def test_message_is_received_once() -> None:
    protocol = opened()
    protocol.deliver(text(1, "a"))
    assert protocol.receive() == received("a")
    assert protocol.receive() is None


def test_bytes_are_received_as_bytes() -> None:
    protocol = opened()
    protocol.deliver(DeliverBinary(SERIAL, 1, 1, b"a", b"", b"", 0))
    assert protocol.receive() == {"type": "websocket.receive", "bytes": b"a"}


def test_next_receive_acknowledges_the_message() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.receive()
    assert protocol.take() == []
    assert protocol.receive() is None
    assert protocol.take() == [ack(1)]


def test_echo_leaves_with_its_acknowledgement() -> None:
    protocol = opened()
    protocol.deliver(text(1, "a"))
    protocol.receive()
    protocol.send(say("a"))
    protocol.receive()
    assert protocol.take() == [ack(1, SendText(SERIAL, "a"))]


def test_send_without_receive_leaves_by_itself() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.receive()
    protocol.send(say("a"))
    assert protocol.take() == [sent("a")]
    protocol.send(say("b"))
    protocol.receive()
    assert protocol.take() == [ack(1, SendText(SERIAL, "b"))]


def test_send_behind_an_acknowledgement_follows_it() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.receive()
    protocol.receive()
    protocol.send(say("later"))
    assert protocol.take() == [ack(1), sent("later")]


def test_messages_of_one_turn_are_acknowledged_together() -> None:
    protocol = opened()
    for number in (1, 2, 3):
        protocol.deliver(text(number))
    for number in (1, 2, 3):
        protocol.receive()
        protocol.send(say(str(number)))
    protocol.receive()
    actions = [SendText(SERIAL, each) for each in "123"]
    assert protocol.take() == [ack(3, *actions, count=3)]


def test_redelivery_is_acknowledged_alone() -> None:
    protocol = opened()
    protocol.deliver(text(1, attempt=2))
    protocol.receive()
    protocol.deliver(text(2))
    protocol.receive()
    protocol.deliver(text(3, attempt=2))
    protocol.receive()
    protocol.receive()
    assert protocol.take() == [ack(1, attempt=2), ack(2), ack(3, attempt=2)]


def test_bytes_are_sent_as_bytes() -> None:
    protocol = opened()
    protocol.send({"type": "websocket.send", "bytes": bytearray(b"a"), "text": None})
    protocol.send({"type": "websocket.send", "bytes": b"b", "text": "not this"})
    assert protocol.take() == [Act([SendBinary(SERIAL, b"a"), SendBinary(SERIAL, b"b")])]


def test_empty_send_sends_nothing() -> None:
    protocol = opened()
    protocol.send({"type": "websocket.send"})
    assert protocol.take() == []


@pytest.mark.parametrize("data", [1, "\ud800"])
def test_impossible_message_is_raised_in_the_endpoint(data: object) -> None:
    protocol = opened()
    with pytest.raises((TypeError, ValueError)):
        protocol.send({"type": "websocket.send", "text": data})
    assert protocol.take() == []


def test_second_accept_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"'websocket.send' or 'websocket.close', but got"):
        opened().send(ACCEPT)


def test_actions_keep_their_order_among_messages() -> None:
    protocol = opened()
    protocol.send(say("a"))
    assert protocol.ask(Subscribe(SERIAL, "lobby"))
    protocol.send(say("b"))
    a, b = (SendText(SERIAL, each) for each in "ab")
    assert protocol.take() == [Act([a, Subscribe(SERIAL, "lobby"), b])]


def test_actions_before_accept_go_with_the_socket() -> None:
    protocol = new()
    subscribe = Subscribe(SERIAL, "lobby")
    assert protocol.ask(subscribe)
    assert protocol.take() == []
    assert protocol.send(ACCEPT) == Accept(None, [], [subscribe])


def test_actions_of_a_failed_handshake_leave() -> None:
    protocol = new()
    publish = PublishText("lobby", "refused somebody", 0, 0)
    protocol.ask(publish)
    protocol.send(CLOSE)
    protocol.end(1000)
    assert protocol.take() == [Act([publish])]


@pytest.mark.parametrize("end", ["leave", "end", "lose"])
def test_no_action_is_taken_at_the_end(end: str) -> None:
    protocol = opened()
    if end == "end":
        protocol.end(1000)
    else:
        getattr(protocol, end)()
    protocol.take()
    assert not protocol.ask(Subscribe(SERIAL, "lobby"))
    assert protocol.take() == []


# --- the end ------------------------------------------------------------------------------------


def test_disconnect_is_told_behind_messages() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.deliver(close(2, 4000, "bye"))
    assert protocol.is_gone
    assert protocol.receive() == received()
    assert stage_of(protocol) is GONE
    assert protocol.receive() == disconnect(4000, "bye")
    assert stage_of(protocol) is DISCONNECTED


def test_endpoint_end_acknowledges_the_close() -> None:
    protocol = opened()
    protocol.deliver(close(1))
    protocol.receive()
    assert protocol.take() == []
    protocol.end(1000)
    assert protocol.take() == [ack(1)]
    assert protocol.is_over


def test_disconnect_is_repeated_once() -> None:
    protocol = opened()
    protocol.deliver(close(1, 1001))
    assert protocol.receive() == disconnect(1001)
    assert protocol.receive() == GOODBYE
    assert protocol.receive() is None


def test_send_to_a_gone_client_raises() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.deliver(close(2))
    with pytest.raises(OSError, match="gone"):
        protocol.send(say("x"))
    # Its messages are still there.
    assert protocol.receive() == received()


def test_endpoint_end_acknowledges_unread_messages() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.deliver(text(2))
    protocol.deliver(close(3))
    protocol.receive()
    protocol.end(1000)
    assert protocol.take() == [ack(3, count=3)]
    assert protocol.is_over


def test_endpoint_end_closes_the_connection() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.receive()
    protocol.send(say("last"))
    protocol.end(1011)
    assert protocol.take() == [ack(1, SendText(SERIAL, "last"), Close(SERIAL, 1011, ""))]
    assert not protocol.is_over
    # What the client had sent by then, and its answer.
    protocol.deliver(text(2))
    assert protocol.take() == [ack(2)]
    protocol.deliver(close(3))
    assert protocol.take() == [ack(3)]
    assert protocol.is_over
    protocol.deliver(text(4))
    protocol.lose()
    assert protocol.take() == []


def test_endpoint_ends_once() -> None:
    protocol = opened()
    protocol.end(1000)
    protocol.end(1011)
    assert protocol.take() == [Act([Close(SERIAL, 1000, "")])]


def test_own_close_is_told_behind_messages() -> None:
    protocol = opened()
    protocol.deliver(text(1, "before"))
    protocol.send({**CLOSE, "code": 4001, "reason": "enough"})
    protocol.deliver(text(2, "after"))
    assert protocol.take() == [Act([Close(SERIAL, 4001, "enough")])]
    assert protocol.receive() == received("before")
    assert protocol.receive() == disconnect(4001, "enough")
    assert protocol.receive() is None
    protocol.deliver(close(3, 4001))
    assert protocol.receive() == GOODBYE
    protocol.end(1000)
    assert protocol.take() == [ack(3, count=3)]
    assert protocol.is_over


def test_send_behind_close_is_an_error() -> None:
    protocol = opened()
    protocol.send({**CLOSE, "reason": None})
    with pytest.raises(RuntimeError, match=r"behind 'websocket.close'"):
        protocol.send(say("x"))
    protocol.end(1000)
    assert protocol.take() == [Act([Close(SERIAL, 1000, "")])]


@pytest.mark.parametrize("code", [1005, 2000, "1000"])
def test_impossible_close_code_is_raised(code: object) -> None:
    protocol = opened()
    with pytest.raises((TypeError, ValueError)):
        protocol.send({**CLOSE, "code": code})
    assert protocol.stage is OPEN


# --- data ---------------------------------------------------------------------------------------


def test_data_is_committed_with_the_acknowledgement() -> None:
    case = Case()
    protocol = case.protocol
    protocol.receive()
    protocol.send(ACCEPT)
    protocol.adopted()
    protocol.deliver(text(1))
    protocol.receive()
    case.data["n"] = 1
    protocol.receive()
    attach = Attach(SERIAL, encode_plain({"n": 1}))
    assert protocol.take() == [ack(1, attach)]
    protocol.receive()
    assert protocol.take() == []
    # What changes while it waits goes with the next.
    case.extension["data"] = {}
    protocol.receive()
    assert protocol.take() == [Act([Attach(SERIAL, encode_plain({}))])]


def test_data_before_accept_goes_with_the_socket() -> None:
    case = Case()
    case.protocol.receive()
    case.data["name"] = "Ann"
    attach = Attach(SERIAL, encode_plain({"name": "Ann"}))
    assert case.protocol.send(ACCEPT) == Accept(None, [], [attach])
    case.protocol.adopted()
    case.protocol.receive()
    assert case.protocol.take() == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"key": object()}, r"data\['key'\] is a object"),
        ({"key": "x" * LIMIT}, "over the limit of 100"),
        (["no", "dict"], "is a list; of an endpoint it is a dict"),
    ],
)
def test_impossible_data_is_raised_by_receive(data: object, problem: str) -> None:
    case = Case()
    protocol = case.open()
    case.extension["data"] = data
    protocol.deliver(text(1))
    with pytest.raises(AttachmentError, match=problem):
        protocol.receive()
    case.extension["data"] = {}
    assert protocol.receive() == received()


def test_resumed_data_is_not_sent_back() -> None:
    case = Case(resume(), {"n": 1})
    protocol = case.protocol
    protocol.receive()
    protocol.send(ACCEPT)
    protocol.receive()
    assert protocol.take() == [ack(0)]


# --- resumed ------------------------------------------------------------------------------------


def test_resumed_accept_is_answered_here() -> None:
    protocol = new(resume())
    headers = [(b"sec-websocket-accept", b"whatever")]
    assert protocol.send({**ACCEPT, "subprotocol": "chat", "headers": headers}) == Reopened("chat")
    assert protocol.stage is OPEN
    assert protocol.take() == []


def test_messages_wait_for_the_resumed_accept() -> None:
    protocol = new(resume())
    protocol.deliver(text(1))
    assert protocol.receive() is None
    protocol.send(ACCEPT)
    assert protocol.receive() == received()


def test_resumed_accept_works_without_a_client() -> None:
    # What it had sent before, and that it has left, would not be received otherwise.
    protocol = new(resume())
    protocol.deliver(text(1))
    protocol.deliver(close(2, 1001))
    assert protocol.send(ACCEPT) == Reopened(None)
    assert [protocol.receive(), protocol.receive()] == [received(), disconnect(1001)]
    with pytest.raises(OSError, match="gone"):
        protocol.send(say("x"))


def test_resumed_close_fails_without_a_client() -> None:
    protocol = new(resume())
    protocol.deliver(close(1))
    with pytest.raises(OSError, match="gone"):
        protocol.send({"type": "websocket.close"})


def test_receive_acknowledges_the_resumption() -> None:
    protocol = reopened(resume(5, attempt=2))
    protocol.send(say("hello again"))
    assert protocol.take() == [sent("hello again")]
    assert protocol.receive() is None
    assert protocol.take() == [ack(5, attempt=2)]


def test_resumption_and_message_are_acknowledged_together() -> None:
    protocol = reopened(resume(5))
    protocol.deliver(text(6))
    protocol.receive()
    protocol.receive()
    assert protocol.take() == [ack(6, count=2)]


def test_settling_acknowledges_the_resumption() -> None:
    protocol = new(resume())
    protocol.settle()
    assert protocol.take() == []  # It has not accepted.
    protocol.send(ACCEPT)
    protocol.settle()
    assert protocol.take() == [ack(0)]
    protocol.settle()
    assert protocol.take() == []


def test_resumed_close_closes_the_connection() -> None:
    protocol = new(resume())
    protocol.deliver(text(1))
    assert protocol.send({**CLOSE, "code": 4401, "reason": "expired"}) is None
    assert protocol.take() == [Act([Close(SERIAL, 4401, "expired")])]
    assert protocol.stage is CLOSED
    protocol.end(1000)
    assert protocol.take() == [ack(1, count=2)]


def test_resumed_denial_response_closes_with_1008() -> None:
    protocol = new(resume())
    assert protocol.send({"type": "websocket.http.response.start", "status": 401}) is None
    assert protocol.receive() is None
    assert protocol.send({"type": "websocket.http.response.body", "body": b"no"}) is None
    assert protocol.take() == [Act([Close(SERIAL, 1008, "HTTP 401")])]
    assert protocol.receive() == disconnect(1008, "HTTP 401")
    protocol.end(1000)
    protocol.deliver(close(1))
    assert protocol.take() == [ack(1, count=2)]
    assert protocol.is_over


def test_client_may_leave_during_resumed_denial() -> None:
    protocol = new(resume())
    protocol.send({"type": "websocket.http.response.start", "status": 401})
    protocol.deliver(close(1))
    with pytest.raises(OSError, match="gone"):
        protocol.send({"type": "websocket.http.response.body", "body": b"no"})
    assert [protocol.receive(), protocol.receive()] == [disconnect(1008, "HTTP 401"), GOODBYE]


def test_resumed_end_closes_the_connection() -> None:
    protocol = new(resume())
    protocol.end(1011)
    protocol.settle()
    assert protocol.take() == [ack(0, Close(SERIAL, 1011, ""))]


def test_resumed_end_without_client_acknowledges_all() -> None:
    protocol = new(resume())
    protocol.deliver(close(1, 1001))
    protocol.end(1011)
    assert protocol.take() == [ack(1, count=2)]
    assert protocol.is_over


# --- the worker leaves --------------------------------------------------------------------------


def test_waiting_endpoint_may_leave() -> None:
    protocol = opened()
    assert not protocol.may_leave
    protocol.drain()
    assert protocol.may_leave
    protocol.leave()
    assert stage_of(protocol) is LEAVING
    assert not protocol.may_leave
    protocol.end(1011)
    assert protocol.take() == [Release(SERIAL)]
    assert stage_of(protocol) is RELEASED
    assert protocol.is_over


def test_working_endpoint_finishes_its_message_first() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.deliver(text(2))
    protocol.receive()
    protocol.drain()
    assert not protocol.may_leave
    protocol.send(say("done"))
    assert protocol.receive() is None  # The second one is for the next worker.
    assert protocol.may_leave
    protocol.leave()
    protocol.end(1011)
    assert protocol.take() == [ack(1, SendText(SERIAL, "done")), Release(SERIAL)]


def test_leaving_endpoint_is_not_heard() -> None:
    protocol = opened()
    protocol.send(say("before"))
    protocol.drain()
    protocol.leave()
    assert protocol.send(say("cleaning up")) is None
    assert protocol.send(CLOSE) is None
    assert protocol.receive() is None
    protocol.deliver(text(1))
    protocol.settle()
    protocol.end(1011)
    assert protocol.take() == [sent("before"), Release(SERIAL)]


def test_leaving_endpoint_commits_its_data() -> None:
    case = Case(resume(), {"n": 1})
    protocol = case.protocol
    protocol.receive()
    protocol.send(ACCEPT)
    case.data["n"] = 2
    protocol.drain()
    protocol.leave()
    protocol.end(1011)
    attach = Attach(SERIAL, encode_plain({"n": 2}))
    assert protocol.take() == [Act([attach]), Release(SERIAL)]


def test_leaving_endpoint_loses_impossible_data() -> None:
    case = Case()
    protocol = case.open()
    case.extension["data"] = {"key": object()}
    protocol.drain()
    protocol.leave()
    protocol.end(1011)
    assert protocol.take() == [Release(SERIAL)]


def test_leaving_amid_a_message_commits_nothing() -> None:
    case = Case(resume())
    protocol = case.protocol
    protocol.receive()
    protocol.send(ACCEPT)
    protocol.deliver(text(1))
    protocol.receive()
    case.data["n"] = "half"
    protocol.drain()
    protocol.leave()
    protocol.end(1011)
    assert protocol.take() == [ack(0), Release(SERIAL)]


def test_resumed_endpoint_may_leave_before_accept() -> None:
    protocol = new(resume())
    protocol.drain()
    assert protocol.may_leave
    protocol.leave()
    protocol.end(1011)
    assert protocol.take() == [Release(SERIAL)]


def test_new_endpoint_may_not_leave_before_accept() -> None:
    protocol = new()
    protocol.drain()
    assert not protocol.may_leave
    protocol.leave()
    assert protocol.stage is CONNECTING


def test_drain_hides_no_disconnect_after_close() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.send({**CLOSE, "code": 4001})
    protocol.drain()
    assert not protocol.may_leave
    assert [protocol.receive(), protocol.receive()] == [received(), disconnect(4001)]


def test_client_may_close_while_the_endpoint_leaves() -> None:
    protocol = opened()
    protocol.leave()
    protocol.deliver(close(1))
    assert protocol.send(say("x")) is None
    protocol.end(1000)
    assert protocol.take() == [Release(SERIAL)]


def test_disconnected_endpoint_may_not_leave() -> None:
    protocol = opened()
    protocol.deliver(close(1))
    protocol.drain()
    assert protocol.receive() == disconnect(1000)
    assert not protocol.may_leave


# --- the keeper dies ----------------------------------------------------------------------------


def test_lost_keeper_disconnects_the_endpoint() -> None:
    case = Case(resume())
    protocol = case.open()
    protocol.deliver(text(1))
    protocol.receive()
    protocol.deliver(text(2, "b"))
    protocol.lose()
    protocol.lose()
    protocol.deliver(text(3))
    case.extension["data"] = {"n": 1}
    assert protocol.receive() == received("b")
    assert protocol.receive() == disconnect(1006)
    assert not protocol.may_leave
    protocol.end(1000)
    assert protocol.is_over
    assert protocol.take() == []


def test_resumed_accept_works_without_a_keeper() -> None:
    protocol = new(resume())
    protocol.deliver(text(1))
    protocol.lose()
    assert protocol.receive() is None
    assert protocol.send(ACCEPT) == Reopened(None)
    assert [protocol.receive(), protocol.receive()] == [received(), disconnect(1006)]


def test_lost_keeper_ends_a_leaving_endpoint() -> None:
    protocol = opened()
    protocol.leave()
    protocol.lose()
    assert protocol.receive() is None
    protocol.end(1000)
    assert stage_of(protocol) is OVER
    assert protocol.take() == []


def test_drain_hides_nothing_without_a_keeper() -> None:
    protocol = opened()
    protocol.deliver(text(1))
    protocol.lose()
    protocol.drain()
    assert [protocol.receive(), protocol.receive()] == [received(), disconnect(1006)]


def test_lost_keeper_ends_the_wait_for_close() -> None:
    protocol = opened()
    protocol.end(1000)
    assert not protocol.is_over
    protocol.lose()
    assert protocol.is_over
    assert protocol.take() == []


def test_repr_names_serial_and_stage() -> None:
    assert repr(opened()) == "<EndpointProtocol 0x7 open>"


# --- any order ----------------------------------------------------------------------------------


class Story(RuleBasedStateMachine):
    """A keeper, an endpoint and its worker, each of which does whatever it may."""

    case: Case
    protocol: EndpointProtocol

    @initialize(is_resumed=st.booleans())
    def begin(self, is_resumed: bool) -> None:
        self.case = Case(resume() if is_resumed else None)
        self.protocol = self.case.protocol
        # What the keeper has delivered, and not seen acknowledged.
        self.in_flight: deque[int] = deque([0] if is_resumed else [])
        self.next_number = 1
        self.to_receive: deque[str] = deque()
        self.received: list[str] = []
        self.has_closed = self.is_released = self.is_lost = self.is_closing = False
        self.is_open, self.is_leaving = is_resumed, False
        self.disconnects: list[int] = []
        self.said: list[str] = []
        self.heard: list[str] = []

    def endpoint_may_speak(self) -> bool:
        return not self.protocol.is_ended

    # the keeper

    @precondition(lambda self: self.is_open and not self.has_closed)
    @precondition(lambda self: not self.is_released and not self.is_lost)
    @precondition(lambda self: len(self.in_flight) < 16)
    @rule()
    def deliver(self) -> None:
        data = str(self.next_number)
        self.in_flight.append(self.next_number)
        if not self.is_closing and not self.is_leaving:
            self.to_receive.append(data)
        self.protocol.deliver(text(self.next_number, data))
        self.next_number += 1
        self.listen()

    @precondition(lambda self: self.is_open and not self.has_closed)
    @precondition(lambda self: not self.is_released and not self.is_lost)
    @rule()
    def client_leaves(self) -> None:
        self.has_closed = True
        self.in_flight.append(self.next_number)
        self.protocol.deliver(close(self.next_number))
        self.listen()

    @rule()
    def keeper_dies(self) -> None:
        self.is_lost = True
        self.in_flight.clear()
        self.protocol.lose()
        self.listen()

    @rule()
    def turn_ends(self) -> None:
        self.listen()

    def listen(self) -> None:
        for message in self.protocol.take():
            assert not self.is_released
            assert not self.is_lost
            if isinstance(message, Release):
                self.is_released = True
            elif isinstance(message, Ack):
                assert message.count == 1 or message.attempt == 1
                acknowledged = [self.in_flight.popleft() for _ in range(message.count)]
                assert acknowledged[-1] == message.number
                self.hear(message.actions)
            else:
                assert message.actions
                self.hear(message.actions)

    def hear(self, actions: list[Action]) -> None:
        for action in actions:
            assert not self.is_closing or isinstance(action, Attach)
            if isinstance(action, SendText):
                self.heard.append(action.data)
            elif isinstance(action, Close):
                self.is_closing = True

    # the endpoint

    @precondition(endpoint_may_speak)
    @rule()
    def receive(self) -> None:
        message = self.protocol.receive()
        if message is not None and message["type"] == "websocket.receive":
            assert not self.disconnects
            assert message["text"] == self.to_receive.popleft()
            self.received.append(message["text"])
        elif message is not None and message["type"] == "websocket.disconnect":
            self.disconnects.append(message["code"])
            # One is told, and repeated once without a code.
            assert self.disconnects[1:] in ([], [1005])

    @precondition(endpoint_may_speak)
    @rule(kind=st.sampled_from(["accept", "send", "close"]))
    def speak(self, kind: str) -> None:
        protocol, data = self.protocol, str(len(self.said))
        message = {"type": f"websocket.{kind}", **({"text": data} if kind == "send" else {})}
        try:
            sent = protocol.send(message)
        except ClientDisconnected:
            assert self.has_closed or self.is_lost
        except RuntimeError:
            assert not self.is_leaving
        else:
            assert not self.is_closing or self.is_leaving
            if isinstance(sent, Accept):
                protocol.adopted()
                self.is_open = True
            if kind == "send" and not self.is_leaving:
                self.said.append(data)

    @rule(n=st.integers(0, 3))
    def change_data(self, n: int) -> None:
        self.case.data["n"] = n

    @precondition(endpoint_may_speak)
    @rule()
    def end(self) -> None:
        self.protocol.end(1000)
        self.listen()

    # the worker

    @rule()
    def settle(self) -> None:
        self.protocol.settle()

    @rule()
    def drain(self) -> None:
        self.protocol.drain()

    @rule()
    def leave(self) -> None:
        self.protocol.leave()
        self.is_leaving = self.is_leaving or self.protocol.stage is LEAVING

    # what holds at all times

    @invariant()
    def nothing_is_left_when_it_is_over(self) -> None:
        if self.protocol.is_over and not self.is_released:
            self.listen()
            assert not self.in_flight or self.is_released
            assert self.protocol.is_ended

    @invariant()
    def everything_said_is_heard_in_order(self) -> None:
        if not self.is_lost:
            self.listen()
            assert self.heard == self.said[: len(self.heard)]
            assert self.is_leaving or self.heard == self.said


TestStory = Story.TestCase
TestStory.settings = settings(deadline=None)
