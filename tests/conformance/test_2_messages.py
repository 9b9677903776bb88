"""Messages and what becomes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT
from tests.conformance.member import join
from tests.conformance.promises import promise
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.conformance.hosts import Running

MANY = 200


@promise("messages of a connection are handled in order, one at a time")
def test_messages_are_handled_in_order_one_at_a_time(server: Running) -> None:
    # One chain per connection. A listener that waits would show who came in between.
    # The model differs: there, only what comes before the first await is in order.
    with server.connect("/orders?name=strict") as ws:
        for number in range(MANY):
            ws.send(str(number))
        answers = [ws.recv(TIMEOUT) for _ in range(MANY)]
    assert answers == [f"{number}: {number}" for number in range(MANY)]


@promise("connections do not wait for each other")
def test_connection_does_not_wait_for_another_ones_listener(server: Running) -> None:
    with join(server, "slow one") as slow, join(server, "quick one") as quick:
        slow.tell("wait", gate="quick is done")
        wait_for(lambda: server.journal("slow one waits"), "its listener waits")
        assert quick.ask("say", what="done") == "done"
        server.open_gate("quick is done")
        assert slow.receive() == "waited"


@promise("`connection.data` keeps what listeners put in, from message to message")
def test_data_of_a_connection_lasts_from_message_to_message(server: Running) -> None:
    with join(server, "first counter") as first, join(server, "second counter") as second:
        assert [first.ask("count") for _ in range(3)] == ["1", "2", "3"]
        assert second.ask("count") == "1"


@promise("a listener that raises loses its effects, and not its connection")
def test_listener_that_raises_loses_its_effects_and_not_its_connection(server: Running) -> None:
    # Errors are logged and the chain goes on.
    with join(server, "unlucky") as member:
        member.tell("raise")
        assert member.ask("count") == "1"
    assert "secret detail" in server.log()


@promise(
    '`on_error="close"` closes with 1011',
    daphne="Daphne has 1000 in the place of codes from 1001 to 2999",
)
def test_listener_can_have_its_failure_close_the_connection(server: Running) -> None:
    with join(server, "strict one") as member:
        member.ws.send("raise and close")
        assert member.receive_close() == (1011, "")


@promise("`event.flush()` sends before the listener has returned")
def test_what_is_flushed_is_sent_before_the_listener_returns(server: Running) -> None:
    with join(server, "streamer") as member:
        assert member.ask("flush", gate="flushed") == "before"
        server.open_gate("flushed")
        assert member.receive() == "after"


@promise("`wait_until` work sends when it likes, and delays nothing")
def test_wait_until_work_sends_later_and_delays_nothing(server: Running) -> None:
    with join(server, "worker") as member:
        assert member.ask("say later", gate="much later") == "now"
        assert member.ask("say", what="meanwhile") == "meanwhile"
        server.open_gate("much later")
        assert member.receive() == "later"


@promise("`app.clients` finds all connections of the server")
def test_clients_finds_every_connection_by_what_it_keeps(server: Running) -> None:
    with join(server, "here A"), join(server, "here B") as member:
        names, own = json.loads(member.ask("who is there"))
        assert {"here A", "here B"} <= set(names)
        assert own == "here B"


@promise("`app.clients` finds all connections of the server")
def test_connection_that_was_found_can_be_sent_to(server: Running) -> None:
    with join(server, "callee") as callee, join(server, "caller") as caller:
        caller.tell("call", name="callee", what="hello")
        assert callee.receive() == "hello"
