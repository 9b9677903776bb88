"""The inbox and the outbox of one endpoint, and its data."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.endpoints.boxes import EndpointData, EndpointInbox, EndpointOutbox
from holdfast.errors import AttachmentError
from holdfast.wire.codec import encode_plain
from holdfast.wire.messages import (
    Ack,
    Act,
    DeliverClose,
    DeliverResume,
    DeliverText,
    Release,
    SendText,
)

SERIAL = 7

SEND = SendText(SERIAL, "a")


def text(number: int, attempt: int = 1) -> DeliverText:
    return DeliverText(SERIAL, number, attempt, "x", b"", b"", 0)


def disconnect(code: int) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": ""}


def boxes(resume: DeliverResume | None = None) -> tuple[EndpointInbox, EndpointOutbox]:
    outbox = EndpointOutbox(SERIAL)
    return EndpointInbox(outbox, resume), outbox


# --- inbox --------------------------------------------------------------------------------------


def test_held_messages_wait_for_the_disconnect() -> None:
    inbox, _ = boxes()
    inbox.put(text(1))
    inbox.put_disconnect(1000, "")
    assert inbox.receive(takes_messages=False, repeats=False) is None
    assert not inbox.is_working
    assert not inbox.is_told


def test_disconnect_hides_later_messages() -> None:
    inbox, outbox = boxes()
    inbox.put_disconnect(4000, "")
    inbox.put(text(1))
    assert inbox.receive(takes_messages=True, repeats=False) == disconnect(4000)
    assert inbox.receive(takes_messages=True, repeats=False) is None
    inbox.acknowledge_all()
    assert outbox.take() == [Ack(SERIAL, 1, 1, [], 1)]


def test_disconnect_is_repeated_on_demand_only() -> None:
    inbox, _ = boxes()
    inbox.put_disconnect(4000, "")
    inbox.receive(takes_messages=True, repeats=True)
    assert inbox.receive(takes_messages=True, repeats=False) is None
    assert inbox.receive(takes_messages=True, repeats=True) == disconnect(1005)
    assert inbox.receive(takes_messages=True, repeats=True) is None


def test_resumption_is_no_work() -> None:
    inbox, outbox = boxes(DeliverResume(SERIAL, 3, 1, b"", 1, b"", b"", 0))
    assert inbox.is_resuming
    assert not inbox.is_working
    inbox.acknowledge()
    inbox.acknowledge()
    assert not inbox.is_resuming
    assert outbox.take() == [Ack(SERIAL, 3, 1, [], 1)]


def test_all_is_acknowledged_in_its_order() -> None:
    inbox, outbox = boxes()
    inbox.put(text(1, attempt=2))
    inbox.receive(takes_messages=True, repeats=False)
    inbox.put(text(2, attempt=2))
    inbox.put(DeliverClose(SERIAL, 3, 2, 1000, "", b"", b"", 0))
    inbox.acknowledge_all()
    inbox.acknowledge_all()
    assert outbox.take() == [Ack(SERIAL, number, 2, [], 1) for number in (1, 2, 3)]


# --- outbox -------------------------------------------------------------------------------------


def test_actions_leave_with_the_acknowledgement() -> None:
    outbox = EndpointOutbox(SERIAL)
    assert outbox.add(SEND)
    outbox.acknowledge(text(1))
    outbox.add(SEND)
    outbox.release()
    assert outbox.take() == [Ack(SERIAL, 1, 1, [SEND], 1), Act([SEND]), Release(SERIAL)]
    assert outbox.take() == []


def test_taken_actions_leave_elsewhere() -> None:
    outbox = EndpointOutbox(SERIAL)
    outbox.add(SEND)
    assert outbox.take_actions() == [SEND]
    assert outbox.take() == []


def test_nothing_leaves_a_cut_outbox() -> None:
    outbox = EndpointOutbox(SERIAL)
    outbox.add(SEND)
    outbox.acknowledge(text(1))
    outbox.cut()
    assert not outbox.add(SEND)
    outbox.acknowledge(text(2))
    outbox.release()
    assert outbox.take() == []


# --- data ---------------------------------------------------------------------------------------


def test_unchanged_data_is_not_committed() -> None:
    for data in ({}, {"n": 1}):
        attachment = encode_plain(data) if data else b""
        assert EndpointData({"data": data}, attachment, 100).changed() is None


def test_changed_data_is_committed_once() -> None:
    extension: dict[str, Any] = {"data": {"n": 1}}
    data = EndpointData(extension, encode_plain({"n": 1}), 100)
    extension["data"]["n"] = 2
    assert data.changed() == encode_plain({"n": 2})
    assert data.changed() is None
    extension["data"] = {}
    assert data.changed() == encode_plain({})


def test_data_is_a_dict() -> None:
    with pytest.raises(AttachmentError, match="is a list; of an endpoint it is a dict"):
        EndpointData({"data": []}, b"", 100).changed()
