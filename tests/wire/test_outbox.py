from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wire.messages import (
    Action,
    Attach,
    Close,
    PublishBinary,
    PublishText,
    SendBinary,
    SendText,
    Subscribe,
    Unsubscribe,
)
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    from holdfast.core.ports import Outbox


def test_a_str_is_sent_as_text_and_bytes_as_binary() -> None:
    outbox = WireOutbox()
    outbox.send(7, "a")
    outbox.send(7, b"a")
    assert outbox.actions == [SendText(7, "a"), SendBinary(7, b"a")]


def test_a_str_is_published_as_text_and_bytes_as_binary() -> None:
    outbox = WireOutbox()
    outbox.publish("room", "a")
    outbox.publish("room", b"a")
    assert outbox.actions == [PublishText("room", "a"), PublishBinary("room", b"a")]


def test_actions_keep_their_order() -> None:
    outbox = WireOutbox()
    port: Outbox = outbox
    port.subscribe(7, "room")
    port.attach(7, b"data")
    port.unsubscribe(7, "room")
    port.close(7, 1000, "bye")
    expected = [Subscribe(7, "room"), Attach(7, b"data"), Unsubscribe(7, "room")]
    assert outbox.actions == [*expected, Close(7, 1000, "bye")]


def test_take_returns_what_was_collected_and_starts_again_empty() -> None:
    outbox = WireOutbox()
    outbox.send(7, "a")
    assert outbox.take() == [SendText(7, "a")]
    assert outbox.take() == []


def test_what_was_taken_is_not_added_to() -> None:
    outbox = WireOutbox()
    taken = outbox.take()
    outbox.send(7, "a")
    assert taken == []


def test_actions_can_be_collected_in_a_list_of_another_kind() -> None:
    class Leaving(list[Action]):
        pass

    leaving = Leaving()
    WireOutbox(leaving).send(7, "a")
    assert leaving == [SendText(7, "a")]


def test_two_outboxes_share_nothing() -> None:
    first, second = WireOutbox(), WireOutbox()
    first.send(7, "a")
    assert second.actions == []
