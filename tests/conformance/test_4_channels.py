"""Publishing to many."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT
from tests.conformance.member import join
from tests.conformance.promises import promise
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.conformance.hosts import Running

CROWD = 50


@promise("a publication reaches all subscribed connections of the server")
def test_publication_reaches_all_who_subscribed_and_nobody_else(server: Running) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(join(server, f"crowd {n}")) for n in range(CROWD)]
        for member in crowd:
            assert member.ask("subscribe", channel="crowd") == "subscribed"
        assert crowd[0].ask("unsubscribe", channel="crowd") == "unsubscribed"
        crowd[0].tell("publish", channel="crowd", what="to all")
        assert [member.receive() for member in crowd[1:]] == ["to all"] * (CROWD - 1)
        assert crowd[0].ask("say", what="nothing for me") == "nothing for me"


@promise("a publication can leave out the connection it came from")
def test_publication_can_leave_out_one_connection(server: Running) -> None:
    with join(server, "author") as author, join(server, "reader") as reader:
        for member in (author, reader):
            member.ask("subscribe", channel="papers")
        author.tell("publish", channel="papers", what="a paper", exclude=True)
        assert reader.receive() == "a paper"
        assert author.ask("say", what="not to me") == "not to me"


@promise("publications of one connection arrive in order")
def test_publications_of_one_connection_arrive_in_order(server: Running) -> None:
    with join(server, "ticker") as ticker, join(server, "listener") as listener:
        listener.ask("subscribe", channel="ticks")
        for number in range(100):
            ticker.tell("publish", channel="ticks", what=str(number))
        assert [listener.receive() for _ in range(100)] == [str(n) for n in range(100)]


@promise("requests and close events publish too")
def test_fetch_listener_publishes(server: Running) -> None:
    with join(server, "subscriber") as member:
        member.ask("subscribe", channel="news")
        assert server.fetch("/publish").read() == b"published"
        assert member.receive() == "from a fetch"


@promise("requests and close events publish too")
def test_close_listener_publishes(server: Running) -> None:
    with join(server, "witness") as witness:
        witness.ask("subscribe", channel="news")
        with join(server, "leaver"):
            pass
        assert witness.receive() == "leaver has left"


@promise("`BroadcastChannel` objects hear what others post")
def test_channel_object_hears_what_others_post(server: Running) -> None:
    with join(server, "poster") as member:
        member.tell("be heard")
        wait_for(lambda: server.journal("poster was heard"), "the channel object heard", TIMEOUT)
