from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wire.messages import (
    Action,
    Attach,
    Close,
    PublishBinary,
    PublishJson,
    PublishText,
    SendBinary,
    SendText,
    Subscribe,
    Unsubscribe,
)
from holdfast.wire.outbox import WireOutbox
from tests.core.fakes import FakeHost

if TYPE_CHECKING:
    from holdfast.core.ports import Outbox


def new_outbox() -> WireOutbox:
    return WireOutbox(FakeHost())


def test_a_str_is_sent_as_text_and_bytes_as_binary() -> None:
    outbox = new_outbox()
    outbox.send(7, "a")
    outbox.send(7, b"a")
    assert outbox.actions == [SendText(7, "a"), SendBinary(7, b"a")]


def test_a_str_is_published_as_text_and_bytes_as_binary() -> None:
    outbox = new_outbox()
    outbox.publish("room", "a", 0, 0)
    outbox.publish("room", b"a", 0, 0)
    assert outbox.actions == [PublishText("room", "a", 0, 0), PublishBinary("room", b"a", 0, 0)]


def test_the_poster_is_named_among_all_workers() -> None:
    host = FakeHost()
    outbox = WireOutbox(host)
    outbox.publish("room", "a", 3, 7)
    outbox.publish("room", b"a", 3, 7)
    outbox.publish_json("room", "{}", 3, 7)
    poster = host.poster(3)
    assert outbox.actions == [
        PublishText("room", "a", poster, 7),
        PublishBinary("room", b"a", poster, 7),
        PublishJson("room", "{}", poster, 7),
    ]


def test_actions_keep_their_order() -> None:
    outbox = new_outbox()
    port: Outbox = outbox
    port.subscribe(7, "room")
    port.attach(7, b"data")
    port.unsubscribe(7, "room")
    port.close(7, 1000, "bye")
    expected = [Subscribe(7, "room"), Attach(7, b"data"), Unsubscribe(7, "room")]
    assert outbox.actions == [*expected, Close(7, 1000, "bye")]


def test_take_returns_what_was_collected_and_starts_again_empty() -> None:
    outbox = new_outbox()
    outbox.send(7, "a")
    assert outbox.take() == [SendText(7, "a")]
    assert outbox.take() == []


def test_what_was_taken_is_not_added_to() -> None:
    outbox = new_outbox()
    taken = outbox.take()
    outbox.send(7, "a")
    assert taken == []


def test_actions_after_seal_leave_separately() -> None:
    outbox, leaving = new_outbox(), list[Action]()
    outbox.send(7, "during")
    assert outbox.seal(leaving) == [SendText(7, "during")]
    outbox.send(7, "after")
    assert leaving == [SendText(7, "after")]


def test_an_outbox_knows_whether_its_event_has_ended() -> None:
    outbox = new_outbox()
    assert not outbox.is_sealed
    outbox.seal([])
    assert outbox.is_sealed


def test_an_outbox_knows_its_host() -> None:
    host = FakeHost()
    assert WireOutbox(host).host is host


def test_two_outboxes_share_nothing() -> None:
    first, second = new_outbox(), new_outbox()
    first.send(7, "a")
    assert second.actions == []
