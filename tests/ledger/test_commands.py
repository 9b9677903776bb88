from __future__ import annotations

from typing import get_args

import pytest

from holdfast.ledger import commands as do
from holdfast.ledger.connection import Connection


def connection() -> Connection:
    return Connection(1, b"", None)


def test_commands_are_compared_by_value() -> None:
    client = connection()
    assert do.WriteMessage(client, "a") == do.WriteMessage(client, "a")
    assert do.WriteMessage(client, "a") != do.WriteMessage(client, "b")
    assert do.CloseSocket(client, 1000, "") != do.CloseSocket(connection(), 1000, "")


def test_commands_do_not_change() -> None:
    with pytest.raises(AttributeError):
        do.DropWorker(1, "why").worker = 2  # type: ignore[misc]


def test_the_union_of_commands_lists_them_all() -> None:
    assert {kind.__name__ for kind in get_args(do.Command)} == set(do.__all__) - {"Command"}
