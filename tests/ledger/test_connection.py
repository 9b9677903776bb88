from __future__ import annotations

import pytest

from holdfast.ledger.connection import Connection, State


def test_a_new_connection_is_open_and_read_from_and_has_no_attachment() -> None:
    connection = Connection(1, b"about", None)
    assert (connection.state, connection.is_paused) == (State.OPEN, False)
    assert (connection.about, connection.attachment) == (b"about", b"")
    assert (connection.mailbox.count, connection.socket, connection.worker) == (0, None, None)


def test_states_only_go_forward() -> None:
    assert State.OPEN < State.CLOSING < State.CLOSED


def test_repr_shows_serial_state_and_mailbox() -> None:
    connection = Connection(255, b"", None)
    connection.state = State.CLOSING
    connection.mailbox.put("abc")
    shown = "<Connection 0xff closing <Mailbox 1 waiting, 0 in flight, 3 bytes>>"
    assert repr(connection) == shown


def test_an_idle_connection_takes_no_dictionary() -> None:
    connection = Connection(1, b"", None)
    with pytest.raises(AttributeError):
        connection.extra = 1  # type: ignore[attr-defined]
