"""What a worker tells the keeper of a connection that it gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.connection import Connection
from holdfast.core.ports import Metadata
from holdfast.core.request_events import Upgrade
from holdfast.web.headers import Headers
from holdfast.wire.messages import SendBinary, SendText
from holdfast.wire.outbox import WireOutbox
from holdfast.worker.handover import make_record
from tests.core.fakes import FakeHost

if TYPE_CHECKING:
    from typing import Any

    from holdfast.wire.messages import Action, Handover

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")


def record_of(*offers: bytes) -> tuple[Handover, Connection, list[Action]]:
    """The record of a connection that was greeted twice and given two cookies."""
    host: Any = FakeHost()
    outbox = WireOutbox(host)
    connection = Connection(outbox, 7, Metadata("http://a/", None, frozenset()), b"", closed=False)
    connection.send("welcome")
    connection.send(b"\1")
    cookies = Headers([("set-cookie", "a=1"), ("set-cookie", "b=2")])
    leaving: list[Action] = []
    record = make_record(
        Upgrade(connection, "chat", cookies),
        outbox,
        [KEY, *((b"sec-websocket-extensions", offer) for offer in offers)],
        b"early",
        leaving,
        address="192.0.2.1",
        lost=False,
    )
    return record, connection, leaving


def test_record_has_every_header_of_the_101() -> None:
    record, *_ = record_of()
    assert record.headers == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert (record.key, record.subprotocol) == (KEY[1], "chat")


def test_record_has_the_greetings_in_order() -> None:
    record, *_ = record_of()
    assert record.actions == [SendText(7, "welcome"), SendBinary(7, b"\1")]
    assert record.leftover == b"early"


def test_actions_after_the_record_leave_separately() -> None:
    _, connection, leaving = record_of()
    connection.send("later")
    assert leaving == [SendText(7, "later")]


def test_record_has_the_offers_of_all_lines() -> None:
    record, *_ = record_of(b"a; x=1", b"b")
    assert record.extensions == b"a; x=1,b"
