from __future__ import annotations

import re
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.core.clients import MOST, PAGE, Clients, FoundConnection
from holdfast.core.ports import Found, Metadata, current_outbox
from holdfast.errors import AttachmentError, NotInsideHoldfast
from holdfast.wire.codec import encode_metadata, encode_plain
from tests.core.fakes import FakeHost, FakeOutbox, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.core.connection import Connection

CLIENTS = Clients()


@pytest.fixture
def outbox() -> Iterator[FakeOutbox]:
    """The outbox of an event, on a machine with connections 1, 2 and 3; two are in the lobby."""
    host = FakeHost()
    for serial, channels in ((1, ["lobby"]), (2, []), (3, ["lobby", "kitchen"])):
        add(host, serial, *channels)
    outbox = host.new_outbox()
    token = current_outbox.set(outbox)
    yield outbox
    current_outbox.reset(token)


def add(host: FakeHost, serial: int, *channels: str, data: object = None) -> None:
    about = encode_metadata(Metadata("http://example.org/", "chat", frozenset(channels)))
    attachment = b"" if data is None else encode_plain(data)
    host.connections[serial] = Found(serial, about, attachment, False)


def match_all(**arguments: Any) -> list[int]:
    return [connection.serial for connection in run(CLIENTS.match_all(**arguments))]


def get(outbox: FakeOutbox, serial: int) -> Connection:
    found = run(CLIENTS.get(f"id-{serial}"))
    assert found is not None
    return found


# -- get


def test_a_connection_is_found_by_its_id(outbox: FakeOutbox) -> None:
    connection = get(outbox, 3)
    assert connection.id == "id-3"
    assert connection.url == "http://example.org/"
    assert connection.subprotocol == "chat"
    assert connection.channels == {"lobby", "kitchen"}
    assert connection.data is None
    assert not connection.closed


def test_a_connection_that_is_gone_is_not_found(outbox: FakeOutbox) -> None:
    assert run(CLIENTS.get("id-4")) is None


def test_a_made_up_id_is_not_even_looked_up(outbox: FakeOutbox) -> None:
    assert run(CLIENTS.get("nonsense")) is None
    assert outbox.host.looked_up == []


def test_an_id_is_a_str(outbox: FakeOutbox) -> None:
    with pytest.raises(TypeError, match="a connection id is a str, not int"):
        run(CLIENTS.get(3))  # type: ignore[arg-type]


def test_finding_clients_has_no_other_effect() -> None:
    # The model differs: there, nothing is ever found. A58 is different: what a server cannot do,
    # such as to open a window, has no stub that warns, but no name.
    assert {name for name in dir(Clients) if not name.startswith("_")} == {"get", "match_all"}
    names = ("post_message", "focus", "navigate", "frame_type", "type")
    assert not any(hasattr(FoundConnection, name) for name in names)


# -- match_all


@pytest.mark.parametrize("type", ["websocket", "all"])
def test_all_connections_match(outbox: FakeOutbox, type: str) -> None:
    assert match_all(type=type) == [1, 2, 3]


def test_connections_match_without_a_type(outbox: FakeOutbox) -> None:
    # The model differs: a browser's clients are windows, and WebSockets had to be asked for. Here
    # there are only WebSockets.
    assert match_all() == [1, 2, 3]


@pytest.mark.parametrize("type", ["window", "worker", "sharedworker"])
def test_nothing_is_of_the_types_of_a_browser(outbox: FakeOutbox, type: str) -> None:
    assert match_all(type=type) == []


def test_connections_match_by_channel(outbox: FakeOutbox) -> None:
    assert match_all(channel="lobby") == [1, 3]
    assert match_all(channel="cellar") == []


def test_at_most_as_many_as_wanted(outbox: FakeOutbox) -> None:
    assert match_all(limit=2) == [1, 2]
    assert match_all(channel="lobby", limit=1) == [1]


@pytest.mark.parametrize("limit", [MOST, MOST + 1, 2**64 - 1, 2**64, 10**1000])
def test_huge_limit_is_capped(outbox: FakeOutbox, limit: int) -> None:
    # Beyond 64 bits it would not go over the wire, and from 63 on it ended the keeper.
    assert match_all(limit=limit) == [1, 2, 3]
    assert outbox.host.limits == [MOST]


def test_many_are_asked_for_in_pages(outbox: FakeOutbox) -> None:
    for serial in range(4, PAGE + 10):
        add(outbox.host, serial)
    assert match_all() == list(range(1, PAGE + 10))
    assert [len(page) for page in outbox.host.looked_up] == [PAGE, 9]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"type": "socket"}, ValueError, "no type 'socket'"),
        ({"type": 5}, ValueError, "no type 5"),
        ({"type": ["websocket"]}, ValueError, "no type ['websocket']"),
        ({"channel": 5}, TypeError, "a channel name is a str"),
        ({"channel": ""}, ValueError, "at least one character"),
        ({"channel": "\ud800"}, ValueError, "lone surrogate"),
        ({"limit": 0}, ValueError, "limit is at least 1"),
        ({"limit": True}, TypeError, "limit is an int, not bool"),
        ({"limit": "5"}, TypeError, "limit is an int, not str"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(
    outbox: FakeOutbox, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        run(CLIENTS.match_all(**arguments))
    assert outbox.host.looked_up == []


# -- what was found


def test_found_connection_actions_leave_with_their_event(
    outbox: FakeOutbox,
) -> None:
    connection = get(outbox, 2)
    connection.send("hello")
    connection.subscribe("lobby")
    connection.close(4000, "bye")
    assert outbox.entries == [
        ("send", 2, "hello"),
        ("subscribe", 2, "lobby"),
        ("close", 2, 4000, "bye"),
    ]


def test_the_data_of_a_found_connection_is_a_copy(outbox: FakeOutbox) -> None:
    add(outbox.host, 4, data={"n": 1})
    connection = get(outbox, 4)
    connection.data["n"] = 2
    assert get(outbox, 4).data == {"n": 1}


def test_the_data_of_a_found_connection_cannot_be_replaced(outbox: FakeOutbox) -> None:
    connection = get(outbox, 3)
    with pytest.raises(AttachmentError, match="is a copy; only its own events change it"):
        connection.data = {}
    assert outbox.entries == []


def test_closed_connection_is_found_until_close_event(
    outbox: FakeOutbox,
) -> None:
    outbox.host.connections[3] = outbox.host.connections[3]._replace(closed=True)
    connection = get(outbox, 3)
    assert connection.closed
    connection.send("nobody hears this")
    assert outbox.entries == []


def test_a_program_that_is_no_holdfast_has_no_clients() -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^app\.clients needs a running"):
        copy_context().run(run, CLIENTS.get("id-3"))
    with pytest.raises(NotInsideHoldfast):
        copy_context().run(match_all)
