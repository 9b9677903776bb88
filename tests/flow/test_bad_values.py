"""Calls that cannot be made, in a running server: the listener hears of it, and nobody else does.

The same for every public call without a server: tests/core/test_bad_values.py.
"""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.flow.apps.bad_values import BAD, BAD_DATA, BAD_UPGRADES
from tests.flow.server import ROOT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all."""
    with Server.start(ROOT / "tests/flow/apps/bad_values.py") as server:
        yield server


@pytest.fixture(scope="module")
def ws(server: Server) -> Iterator[ClientConnection]:
    """One connection for all; it has to get through all of them."""
    with connect(f"{server.ws_url}/caller") as ws:
        yield ws


@pytest.fixture(scope="module")
def witness(server: Server) -> Iterator[ClientConnection]:
    """Somebody else, who must hear nothing of it."""
    with connect(f"{server.ws_url}/witness") as ws:
        yield ws


def ask(ws: ClientConnection, message: str) -> str:
    ws.send(message)
    return str(ws.recv(10))


def goes_on(ws: ClientConnection, name: str) -> bool:
    """Tell whether the next thing to come is the answer to another message."""
    return ask(ws, "hello") == f"hello from {name}"


@pytest.mark.parametrize("name", BAD)
def test_bad_call_is_the_callers_error_and_the_connection_goes_on(
    ws: ClientConnection, witness: ClientConnection, name: str
) -> None:
    _, kind, words = BAD[name]
    raised, said = json.loads(ask(ws, f"call: {name}"))
    assert (raised, said[: len(words)]) == (kind, words)
    assert goes_on(ws, "caller")
    assert goes_on(witness, "witness")


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_cannot_be_kept_fails_its_event_and_the_old_data_stays(
    ws: ClientConnection, witness: ClientConnection, name: str
) -> None:
    _, words = BAD_DATA[name]
    raised, said = json.loads(ask(ws, f"data: {name}"))
    assert (raised, said[: len(words)]) == ("AttachmentError", words)
    assert goes_on(ws, "caller")  # which says its name, from its data


@pytest.mark.parametrize("name", BAD_UPGRADES)
def test_bad_upgrade_is_the_callers_error_and_a_good_one_can_follow(
    server: Server, name: str
) -> None:
    _, kind, words = BAD_UPGRADES[name]
    with connect(f"{server.ws_url}/{name}") as ws:
        raised, said = json.loads(ws.recv(10))
        assert (raised, said[: len(words)]) == (kind, words)
        assert ws.response is not None
        assert {"set-cookie", "x", "y"}.isdisjoint(ws.response.headers)
        assert goes_on(ws, name)


def test_ordinary_request_that_is_upgraded_can_still_be_answered(server: Server) -> None:
    # The model differs: there, the connection that never was gets a close event, and the client
    # a 426 or 500.
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert json.load(response)[0] == "NotAnUpgradeRequest"


def test_limit_beyond_all_measure_finds_everyone_and_ends_nobody(
    server: Server, ws: ClientConnection, witness: ClientConnection
) -> None:
    # It ended the keeper once, and with it every connection.
    assert ask(ws, "all") == "2"
    assert goes_on(witness, "witness")


def test_none_of_it_is_a_failure_of_holdfast(
    server: Server, ws: ClientConnection, witness: ClientConnection
) -> None:
    # The last one: what the others left behind would be in the log.
    assert goes_on(ws, "caller")
    log = server.log()
    assert log.count("raised AttachmentError") == log.count("Traceback") == len(BAD_DATA)
    assert "was put aside" not in log
    assert server.status()["redeliveries"] == 0
