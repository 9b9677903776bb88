from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from holdfast.core.answer import (
    MAX_DEPTH,
    failure_response,
    fetch_from_itself,
    is_clients_fault,
    own_request,
    settle,
)
from holdfast.core.dispatch import Failure
from holdfast.core.ports import current_outbox
from holdfast.errors import (
    AlreadyDecided,
    NotAnUpgradeRequest,
    NotInsideHoldfast,
    SelfFetchTooDeep,
)
from holdfast.web.http_errors import (
    BadBody,
    Forbidden,
    HTTPError,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
)
from holdfast.web.request import Request
from holdfast.web.response import Response
from holdfast.web.url import URL
from tests.core.fakes import FakeHost, FakeOutbox, listener, run, suspend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.core.dispatch import Listener
    from holdfast.core.request_events import FetchEvent

T = TypeVar("T")


def body_of(response: Response) -> str:
    return run(response.text())


# -- a failure becomes a response


@pytest.mark.parametrize("develop", [False, True])
def test_an_exposed_error_shows_its_message(develop: bool) -> None:
    response = failure_response(Forbidden("not yours", headers={"x-a": "1"}), develop=develop)
    assert response.status == 403
    assert body_of(response) == "not yours"
    assert response.headers.items() == [("x-a", "1"), ("content-type", "text/plain; charset=utf-8")]


def test_hidden_error_shows_only_its_status() -> None:
    assert body_of(failure_response(NotFound("row 17", expose=False), develop=True)) == "Not Found"
    response = failure_response(ServiceUnavailable("db-3 is down"), develop=False)
    assert (response.status, body_of(response)) == (503, "Service Unavailable")


def test_an_error_of_the_server_may_show_its_message() -> None:
    error = ServiceUnavailable("back at noon", expose=True, headers={"retry-after": "60"})
    response = failure_response(error, develop=False)
    assert body_of(response) == "back at noon"
    assert response.headers["retry-after"] == "60"


@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("secret"), BaseException()])
def test_any_other_error_is_500_without_details(error: BaseException) -> None:
    response = failure_response(error, develop=False)
    assert (response.status, body_of(response)) == (500, "Internal Server Error")


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("secret"), 500), (HTTPError(502, "secret"), 502)]
)
def test_while_developing_an_error_of_the_server_shows_its_traceback(
    error: Exception, status: int
) -> None:
    try:
        raise error
    except Exception as raised:
        response = failure_response(raised, develop=True)
    assert response.status == status
    text = body_of(response)
    assert text.startswith("Traceback (most recent call last):")
    assert "secret" in text
    assert response.headers["content-type"].startswith("text/plain")


def test_error_message_with_surrogate_is_answered() -> None:
    assert body_of(failure_response(NotFound("a\ud800"), develop=False)) == "a?"


@pytest.mark.parametrize(
    ("error", "is_the_clients"),
    [(NotFound(), True), (BadBody(), True), (InternalServerError(), False), (ValueError(), False)],
)
def test_the_client_is_at_fault_below_500(error: Exception, is_the_clients: bool) -> None:
    assert is_clients_fault(error) is is_the_clients


# -- a request is settled


def test_an_answer_commits() -> None:
    host, response = FakeHost(), Response("hi")
    outbox = host.new_outbox()
    outbox.send(1, "a")
    assert settle(outbox, response) is response
    assert host.commits == [[("send", 1, "a")]]


def test_no_answer_is_404_and_commits() -> None:
    # Not 500 (A10).
    host = FakeHost()
    answer = settle(host.new_outbox(), None)
    assert isinstance(answer, Response)
    assert (answer.status, body_of(answer)) == (404, "Not Found")
    assert host.commits == [[]]


def test_a_failure_is_discarded() -> None:
    host, failure = FakeHost(), Failure(RuntimeError(), closes=False)
    outbox = host.new_outbox()
    outbox.send(1, "a")
    assert settle(outbox, failure) is failure
    assert outbox.is_sealed
    assert host.commits == []


@pytest.mark.parametrize("length", ["5", "abc", "\N{SUPERSCRIPT TWO}", "", "2, 2"])
def test_a_response_with_another_length_than_its_body_has_is_a_failure(length: str) -> None:
    host = FakeHost()
    answer = settle(host.new_outbox(), Response("hi", headers={"Content-Length": length}))
    assert isinstance(answer, Failure)
    assert "Content-Length" in str(answer.error)
    assert host.commits == []


@pytest.mark.parametrize("body", ["hello", None, ""])
def test_head_response_may_state_length_of_get(body: str | None) -> None:
    response = Response(body, headers={"Content-Length": "5"})
    assert settle(FakeHost().new_outbox(), response) is response


# -- what an application may ask itself


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("/page", "http://localhost/page"),
        ("./x?y=1", "http://localhost/x?y=1"),
        ("../x", "http://localhost/x"),
        ("http://localhost/x", "http://localhost/x"),
        (URL("http://localhost:80/x"), "http://localhost/x"),
    ],
)
def test_a_path_is_relative_to_localhost(url: str | URL, href: str) -> None:
    assert own_request(url, "GET", None, None).url.href == href


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "//example.org/x",
        "http://localhost:8000/",
        URL("https://localhost/"),
        Request("http://example.org/"),
        "mailto:x",
    ],
)
def test_what_is_somebody_elses_is_refused(url: str | URL | Request) -> None:
    # Upstream's goes to the network.
    with pytest.raises(ValueError, match=r"only fetches from the application itself .*HTTP client"):
        own_request(url, "GET", None, None)


def test_a_request_is_made_of_its_parts() -> None:
    request = own_request("/x", "post", {"x-a": "1"}, "hi")
    assert (request.method, request.headers["x-a"]) == ("POST", "1")
    assert run(request.text()) == "hi"


def test_a_request_is_taken_as_it_is() -> None:
    request = Request("http://localhost/x", method="PUT")
    assert own_request(request, "GET", None, None) is request


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [("POST", None, None), ("GET", {"a": "b"}, None), ("GET", None, "x")],
)
def test_a_request_is_not_changed_on_the_way(
    method: str, headers: dict[str, str] | None, body: str | None
) -> None:
    with pytest.raises(TypeError, match="not both"):
        own_request(Request("http://localhost/"), method, headers, body)


# -- and what it gets


def inside(work: Callable[[], Awaitable[T]], host: FakeHost | None = None) -> T:
    """Run `work` as a listener does, in the context of an event."""

    async def event() -> T:
        current_outbox.set((host or FakeHost()).new_outbox())
        return await work()

    return asyncio.run(event())


def fetch(*calls: Callable[[FetchEvent], object], host: FakeHost | None = None) -> Response:
    listeners = tuple(listener(call) for call in calls)
    return inside(lambda: fetch_from_itself(listeners, Request("http://localhost/x")), host)


def entries() -> list[object]:
    outbox = current_outbox.get()
    assert isinstance(outbox, FakeOutbox)
    return list(outbox.entries)


def say(text: str) -> None:
    current_outbox.get().publish("lobby", text, 0, 0)


def test_the_listeners_answer_as_they_would_over_http() -> None:
    response = fetch(lambda event: Response(f"{event.request.path} by {event.request.client}"))
    assert body_of(response) == "/x by None"
    assert fetch().status == 404


def test_listeners_may_wait() -> None:
    async def answer(event: FetchEvent) -> Response:
        await asyncio.sleep(0)
        return Response("later")

    assert body_of(fetch(answer)) == "later"


def test_effects_are_those_of_an_event_of_its_own() -> None:
    host = FakeHost()

    def answer(event: FetchEvent) -> Response:
        say("inner")
        return Response()

    async def work() -> None:
        say("before")
        await fetch_from_itself((listener(answer),), Request("http://localhost/"))
        assert host.commits == [[("publish", "lobby", "inner", 0, 0)]]
        say("after")
        assert entries() == [("publish", "lobby", word, 0, 0) for word in ("before", "after")]

    inside(work, host)


def test_cookies_are_on_the_response_but_not_on_the_applications_own_copy() -> None:
    kept = Response("hi")

    def answer(event: FetchEvent) -> Response:
        event.set_cookie("a", "1")
        event.set_cookie("b", "2")
        return kept

    for _ in range(2):
        names = [cookie[0] for cookie in fetch(answer).headers.get_set_cookie()]
        assert names == ["a", "b"]
    assert kept.headers.get_set_cookie() == []


def test_kept_response_can_be_read_again() -> None:
    kept = Response("hi")
    assert [body_of(fetch(lambda event: kept)) for _ in range(2)] == ["hi", "hi"]


def test_an_http_error_is_its_response_without_the_effects() -> None:
    host = FakeHost()

    def refuse(event: FetchEvent) -> None:
        event.set_cookie("a", "1")
        say("never")
        raise Forbidden("no", headers={"x-a": "1"})

    response = fetch(refuse, host=host)
    assert (response.status, body_of(response), response.headers["x-a"]) == (403, "no", "1")
    assert response.headers.get_set_cookie() == []
    assert host.commits == []
    assert host.reports == []


def test_an_http_error_of_the_servers_own_is_reported() -> None:
    host, error = FakeHost(), ServiceUnavailable("db-3 is down")

    def fail(event: FetchEvent) -> None:
        raise error

    response = fetch(fail, host=host)
    assert (response.status, body_of(response)) == (503, "Service Unavailable")
    assert host.reports == [("a fetch listener, for app.fetch of GET '/x',", error)]


@pytest.mark.parametrize("waits", [0, 1])
def test_any_other_error_is_the_callers(waits: int) -> None:
    # Propagated, never swallowed.
    host, error = FakeHost(), RuntimeError("broken")

    async def fail(event: FetchEvent) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        say("never")
        raise error

    async def work() -> None:
        with pytest.raises(RuntimeError) as caught:
            await fetch_from_itself((listener(fail),), Request("http://localhost/"))
        assert caught.value is error
        assert entries() == []

    inside(work, host)
    assert host.commits == []


def test_an_upgrade_is_an_error() -> None:
    with pytest.raises(NotAnUpgradeRequest):
        fetch(lambda event: event.upgrade_websocket())


def test_two_answers_are_an_error() -> None:
    with pytest.raises(AlreadyDecided):
        fetch(lambda event: Response("a"), lambda event: Response("b"))


def test_nothing_is_fetched_where_nothing_runs() -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^app\.fetch needs a running holdfast"):
        run(fetch_from_itself((), Request("http://localhost/")))


def fetching_itself(depths: list[int], stop_at: int = 100) -> Listener:
    async def call(event: FetchEvent) -> Response:
        depths.append(len(depths) + 1)
        if len(depths) < stop_at:
            await fetch_from_itself((itself,), Request("http://localhost/"))
        return Response("done")

    itself = listener(call)
    return itself


def test_a_listener_that_fetches_itself_is_found_out() -> None:
    depths: list[int] = []
    with pytest.raises(SelfFetchTooDeep, match="10 levels deep"):
        inside(lambda: fetch_from_itself((fetching_itself(depths),), Request("http://localhost/")))
    assert len(depths) == MAX_DEPTH == 10


def test_ten_levels_are_allowed_and_counted_where_they_are_called() -> None:
    # Per async context. Many at once are no depth, nor are many in a row.
    async def work() -> list[Response]:
        one, other = fetching_itself([], 10), fetching_itself([], 10)
        both = [fetch_from_itself((each,), Request("http://localhost/")) for each in (one, other)]
        fetched = await asyncio.gather(*both)
        for _ in range(20):
            last = await fetch_from_itself((), Request("http://localhost/"))
        return [*fetched, last]

    assert [response.status for response in inside(work)] == [200, 200, 404]


def test_fetching_that_is_cancelled_has_no_effects() -> None:
    host, outboxes = FakeHost(), []

    async def wait(event: FetchEvent) -> None:
        say("never")
        outboxes.append(current_outbox.get())
        await asyncio.Event().wait()

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await fetch_from_itself((listener(wait),), Request("http://localhost/"))
        say("still here")
        assert entries() == [("publish", "lobby", "still here", 0, 0)]

    inside(work, host)
    assert [outbox.is_sealed for outbox in outboxes] == [True]
    assert host.commits == []


def test_dropped_fetch_closes_without_error() -> None:
    async def wait(event: FetchEvent) -> None:
        await suspend()

    async def work() -> None:
        steps = fetch_from_itself((listener(wait),), Request("http://localhost/"))
        steps.send(None)
        await asyncio.to_thread(steps.close)  # another context

    inside(work)
