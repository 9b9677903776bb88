from __future__ import annotations

import asyncio
import gc
import re
import weakref
from asyncio import CancelledError
from inspect import CORO_CLOSED, getcoroutinestate
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.dispatch import (
    Failure,
    Listener,
    Suspended,
    Waiting,
    begin,
    dispatch,
    dispatch_request,
    first_step,
)
from holdfast.core.request_events import FetchEvent, Upgrade, WebSocketUpgradeEvent
from holdfast.errors import AlreadyDecided, NotAnUpgradeRequest
from holdfast.web.request import Request
from holdfast.web.response import Response
from tests import jumping
from tests.core.fakes import (
    URL,
    FakeHost,
    Late,
    close_event,
    handshake,
    listener,
    message_event,
    outbox_of,
    run,
    suspend,
    upgrade_event,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from holdfast.core.events import ExtendableEvent

from functools import partial
from typing import TYPE_CHECKING

from holdfast.core.dispatch import (
    Row,
    check_event_type,
    with_listener,
    without_listener,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EVENT = message_event(FakeHost())


def notes(steps: list[str], name: str) -> Listener:
    """A listener that never waits."""
    return listener(lambda event: steps.append(name))


def raises(error: BaseException, on_error: Any = "continue") -> Listener:
    def call(event: ExtendableEvent) -> None:
        raise error

    return listener(call, on_error)


def raises_later(error: BaseException, on_error: Any = "continue", *, waits: int = 1) -> Listener:
    async def call(event: ExtendableEvent) -> None:
        for _ in range(waits):
            await suspend()
        raise error

    return listener(call, on_error)


def outcome(listeners: list[Listener]) -> Failure | None:
    return run(dispatch(EVENT, listeners))


def error_of(outcome: object) -> BaseException:
    assert isinstance(outcome, Failure)
    return outcome.error


# -- listeners that never wait


def test_an_event_nobody_listens_to_succeeds() -> None:
    assert begin(EVENT, []) is None


@pytest.mark.parametrize("event", [EVENT, close_event(FakeHost())])
def test_a_listener_gets_the_event(event: ExtendableEvent) -> None:
    received: list[object] = []
    assert begin(event, [listener(received.append)]) is None
    assert received == [event]


def test_listeners_run_in_order() -> None:
    steps: list[str] = []
    begin(EVENT, [notes(steps, "a"), notes(steps, "b"), notes(steps, "c")])
    assert steps == ["a", "b", "c"]


@pytest.mark.parametrize("result", [0, "text", Response("hi"), object(), [1]])
def test_what_a_listener_returns_does_not_matter(result: object) -> None:
    steps: list[str] = []
    assert begin(EVENT, [listener(lambda event: result), notes(steps, "b")]) is None
    assert steps == ["b"]


def test_an_async_listener_that_never_waits_ends_at_once() -> None:
    steps: list[str] = []

    async def call(event: ExtendableEvent) -> str:
        steps.append("a")
        return "ignored"

    assert begin(EVENT, [listener(call), notes(steps, "b")]) is None
    assert steps == ["a", "b"]


# -- listeners that wait


def test_an_event_whose_listener_waits_is_suspended_until_finished() -> None:
    steps: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        steps.append("before")
        await suspend()
        steps.append("after")

    begun = begin(EVENT, [listener(call)])
    assert isinstance(begun, Suspended)
    assert steps == ["before"]
    assert run(begun.finish()) is None
    assert steps == ["before", "after"]


def test_the_next_listener_waits_for_the_one_before() -> None:
    steps: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        await suspend()
        steps.append("a")

    begun = begin(EVENT, [listener(call), notes(steps, "b")])
    assert isinstance(begun, Suspended)
    assert steps == []
    run(begun.finish())
    assert steps == ["a", "b"]


def test_a_later_listener_may_wait_too() -> None:
    steps: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        await suspend()
        await suspend()
        steps.append("waited")

    assert outcome([listener(call), notes(steps, "between"), listener(call)]) is None
    assert steps == ["waited", "between", "waited"]


def test_awaited_value_passes_driver_and_listener() -> None:
    answers: list[object] = []

    async def call(event: ExtendableEvent) -> None:
        answers.append(await suspend("first"))
        answers.append(await suspend("second"))

    steps = dispatch(EVENT, [listener(call)])
    assert steps.send(None) == "first"
    assert steps.send(1) == "second"
    with pytest.raises(StopIteration):
        steps.send(2)
    assert answers == [1, 2]


def test_an_error_of_what_is_awaited_reaches_the_listener() -> None:
    caught: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        try:
            await suspend("first")
        except OSError as error:
            caught.append(str(error))
            await suspend("second")

    steps = dispatch(EVENT, [listener(call)])
    assert steps.send(None) == "first"
    assert steps.throw(OSError("gone")) == "second"
    with pytest.raises(StopIteration):
        steps.send(None)
    assert caught == ["gone"]


@pytest.mark.parametrize("waiting", [Late, lambda: Late("a result that nobody wants")])
def test_listener_may_return_any_awaitable(
    waiting: Callable[[], Late],
) -> None:
    steps: list[str] = []
    begun = begin(EVENT, [listener(lambda event: waiting()), notes(steps, "b")])
    assert isinstance(begun, Suspended)
    assert run(begun.finish()) is None
    assert steps == ["b"]


def test_listeners_run_under_an_event_loop_as_anywhere() -> None:
    steps: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        async with asyncio.timeout(10):
            steps.append(await asyncio.to_thread(str.upper, "from a thread"))

    async def main() -> Failure | None:
        return await dispatch(EVENT, [listener(call), notes(steps, "b")])

    assert jumping.run(main()) is None
    assert steps == ["FROM A THREAD", "b"]


# -- listeners that raise


@pytest.mark.parametrize("fails", [raises, raises_later])
def test_a_listener_that_raises_makes_the_event_fail(fails: Callable[..., Listener]) -> None:
    error = RuntimeError()
    assert error_of(outcome([fails(error)])) is error


@pytest.mark.parametrize("fails", [raises, raises_later])
def test_a_listener_that_raises_keeps_no_other_from_running(
    fails: Callable[..., Listener],
) -> None:
    steps: list[str] = []
    outcome([notes(steps, "a"), fails(RuntimeError()), notes(steps, "b")])
    assert steps == ["a", "b"]


@pytest.mark.parametrize("one", [raises, raises_later])
@pytest.mark.parametrize("other", [raises, raises_later])
def test_the_first_failure_counts(
    one: Callable[..., Listener], other: Callable[..., Listener]
) -> None:
    first = RuntimeError("first")
    assert error_of(outcome([one(first), other(RuntimeError("second"))])) is first


@pytest.mark.parametrize("fails", [raises, raises_later])
@pytest.mark.parametrize("on_error", ["continue", "close"])
def test_first_failed_listener_decides_over_connection(
    fails: Callable[..., Listener], on_error: str
) -> None:
    other = "close" if on_error == "continue" else "continue"
    failure = outcome([fails(RuntimeError(), on_error), fails(RuntimeError(), other)])
    assert isinstance(failure, Failure)
    assert failure.closes is (on_error == "close")


def test_an_async_listener_that_raises_before_it_waits_fails_at_once() -> None:
    error = RuntimeError()
    assert error_of(begin(EVENT, [raises_later(error, waits=0)])) is error


@pytest.mark.parametrize(
    "error", [StopIteration("a"), StopAsyncIteration(), ExceptionGroup("g", [OSError()])]
)
def test_no_exception_is_too_special_to_be_a_failure(error: Exception) -> None:
    steps: list[str] = []
    assert error_of(outcome([raises(error), notes(steps, "b")])) is error
    assert steps == ["b"]


class BadAwaitable:
    def __await__(self) -> int:
        return 5


def test_a_listener_that_returns_a_broken_awaitable_has_failed() -> None:
    assert isinstance(error_of(outcome([listener(lambda event: BadAwaitable())])), TypeError)


# -- being cancelled, and ending the process


@pytest.mark.parametrize("fails", [raises, lambda error: raises_later(error, waits=0)])
def test_awaiting_cancelled_work_is_a_failure(
    fails: Callable[..., Listener],
) -> None:
    # It must not look as if whoever runs the events had been cancelled: that would stop them all.
    steps: list[str] = []
    error = CancelledError()
    assert error_of(begin(EVENT, [fails(error), notes(steps, "b")])) is error
    assert steps == ["b"]


def test_a_future_that_was_cancelled_before_makes_the_event_fail() -> None:
    async def main() -> object:
        future = asyncio.get_running_loop().create_future()
        future.cancel()

        async def call(event: ExtendableEvent) -> None:
            await future

        return begin(EVENT, [listener(call)])

    assert isinstance(error_of(jumping.run(main())), CancelledError)


def test_an_event_that_takes_too_long_can_be_cancelled() -> None:
    ended: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    async def main() -> None:
        async with asyncio.timeout(0):
            await dispatch(EVENT, [listener(call), notes(ended, "b")])

    with pytest.raises(TimeoutError):
        jumping.run(main())
    assert ended == ["cleaned up"]


def test_a_suspended_event_that_is_dropped_closes_its_listener() -> None:
    ended: list[str] = []

    async def call(event: ExtendableEvent) -> None:
        try:
            await suspend()
        finally:
            ended.append("cleaned up")

    work = dispatch(EVENT, [listener(call)])
    work.send(None)
    work.close()
    assert ended == ["cleaned up"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "fails", [raises, lambda error: raises_later(error, waits=0), raises_later]
)
def test_process_exit_is_no_event_failure(
    fails: Callable[..., Listener], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        outcome([fails(error)])


# -- any listeners whatsoever


class Plan(NamedTuple):
    """What one listener does."""

    kind: str
    waits: int
    fails: bool
    closes: bool


PLANS = st.lists(
    st.builds(
        Plan,
        st.sampled_from(["def", "async def", "awaitable"]),
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
)


def planned(plan: Plan, number: int, steps: list[int]) -> Listener:
    async def work(event: ExtendableEvent) -> None:
        for _ in range(plan.waits):
            await suspend()
        act(event)

    def act(event: ExtendableEvent) -> None:
        steps.append(number)
        if plan.fails:
            raise RuntimeError(number)

    async def as_task(event: ExtendableEvent) -> None:
        await Late()
        await work(event)

    calls = {"def": act, "async def": work, "awaitable": as_task}
    return listener(calls[plan.kind], "close" if plan.closes else "continue")


@given(PLANS)
def test_all_listeners_run_in_order_and_the_first_failure_counts(plans: list[Plan]) -> None:
    steps: list[int] = []
    failure = outcome([planned(plan, number, steps) for number, plan in enumerate(plans)])
    assert steps == list(range(len(plans)))
    failed = [number for number, plan in enumerate(plans) if plan.fails]
    if not failed:
        assert failure is None
        return
    assert error_of(failure).args == (failed[0],)
    assert failure is not None
    assert failure.closes is plans[failed[0]].closes


@given(PLANS)
def test_an_event_is_suspended_only_if_a_listener_waits(plans: list[Plan]) -> None:
    steps: list[int] = []
    begun = begin(EVENT, [planned(plan, number, steps) for number, plan in enumerate(plans)])
    waits = any(plan.kind == "awaitable" or (plan.kind != "def" and plan.waits) for plan in plans)
    assert isinstance(begun, Suspended) is waits
    if isinstance(begun, Suspended):
        run(begun.finish())


# -- requests


def fetch_event(*, upgradable: bool = False) -> FetchEvent:
    request = handshake() if upgradable else Request(URL)
    return FetchEvent(FakeHost().new_outbox(), request, upgradable=upgradable)


async def respond_later(body: str = "later") -> Response:
    await suspend()
    return Response(body)


def answer(event: FetchEvent, *calls: Callable[[FetchEvent], object]) -> object:
    return run(dispatch_request(event, [listener(call) for call in calls]))


def fail(event: FetchEvent) -> None:
    raise RuntimeError("first")


def test_a_request_nobody_answers_has_no_answer() -> None:
    # What the client gets then is the host's to say.
    assert answer(fetch_event()) is None
    assert answer(fetch_event(), lambda event: None) is None


@pytest.mark.parametrize("result", ["text", "", b"bytes", 200, False, {"a": 1}, suspend])
@pytest.mark.parametrize("waits", [None, 0, 1])
def test_returning_what_is_no_response_is_a_failure(result: object, waits: int | None) -> None:
    def show(event: FetchEvent) -> object:
        return result

    async def show_later(event: FetchEvent) -> object:
        for _ in range(waits or 0):
            await suspend()
        return result

    call = show if waits is None else show_later
    error = error_of(answer(fetch_event(), call))
    assert isinstance(error, TypeError)
    assert str(error) == (
        f"the fetch listener {call.__qualname__} returned {type(result).__name__}; "
        "return a Response, or None to leave the request to the next listener"
    )


def test_listener_that_is_an_object_is_named_by_its_class() -> None:
    class Page:
        def handle_event(self, event: FetchEvent) -> str:
            return "text"

    page = Page()
    failure = run(dispatch_request(fetch_event(), [Listener(page.handle_event, page, "continue")]))
    assert re.match("the fetch listener .*Page returned str; ", str(error_of(failure)))


def test_returned_unawaited_coroutine_fails_and_closes() -> None:
    response = respond_later()

    async def forgot(event: FetchEvent) -> object:
        return response

    error = error_of(answer(fetch_event(), forgot))
    assert " returned coroutine; " in str(error)
    assert getcoroutinestate(response) == CORO_CLOSED


def test_returning_something_else_beside_an_answer_is_a_failure() -> None:
    def both(event: FetchEvent) -> str:
        event.respond_with(Response("hi"))
        return "text"

    assert isinstance(error_of(answer(fetch_event(), both)), TypeError)


def test_returning_the_connection_that_was_made_is_harmless() -> None:
    connections: list[object] = []

    def upgrade(event: FetchEvent) -> object:
        connections.append(event.upgrade_websocket())
        return connections[0]

    upgraded = answer(fetch_event(upgradable=True), upgrade)
    assert isinstance(upgraded, Upgrade)
    assert upgraded.connection is connections[0]


def test_returning_another_connection_is_a_failure() -> None:
    other = close_event(FakeHost()).source
    for event in (fetch_event(), fetch_event(upgradable=True)):
        error = error_of(answer(event, lambda event: other))
        assert " returned Connection; " in str(error)


def test_responding_answers() -> None:
    response = Response("hi")
    assert answer(fetch_event(), lambda event: event.respond_with(response)) is response


def test_returning_a_response_answers() -> None:
    response = Response("hi")
    assert answer(fetch_event(), lambda event: response) is response


def test_an_async_listener_may_wait_before_it_answers() -> None:
    # A17 does not hold here: an async listener keeps its event open (T.2-1).
    response = Response("hi")

    async def respond(event: FetchEvent) -> None:
        await suspend()
        event.respond_with(response)

    async def give(event: FetchEvent) -> Response:
        await suspend()
        return response

    assert answer(fetch_event(), respond) is response
    assert answer(fetch_event(), give) is response


def test_a_response_may_come_later() -> None:
    response = answer(fetch_event(), lambda event: event.respond_with(respond_later()))
    assert isinstance(response, Response)
    assert response.body == b"later"


def test_all_listeners_run_before_a_later_response_is_waited_for() -> None:
    steps: list[str] = []

    async def respond() -> Response:
        steps.append("response")
        return Response("hi")

    answer(
        fetch_event(),
        lambda event: event.respond_with(respond()),
        lambda event: steps.append("second listener"),
    )
    assert steps == ["second listener", "response"]


def test_an_async_listener_may_wait_before_it_upgrades_and_go_on_after() -> None:
    # The model differs: there, whoever has waited is too late. A35: what keeps the event open is
    # the listener that still runs.
    event = fetch_event(upgradable=True)
    host = outbox_of(event).host

    async def upgrade(event: FetchEvent) -> None:
        await suspend("who is it?")
        connection = event.upgrade_websocket()
        await suspend("what may they see?")
        connection.subscribe("lobby")
        event.wait_until(Late())

    assert isinstance(answer(event, upgrade), Upgrade)
    assert outbox_of(event).entries == [("subscribe", 1, "lobby")]
    assert host.run_spawned() == []


def test_a_host_can_see_an_upgrade_before_its_listener_goes_on() -> None:
    # What comes of it is decided when the listeners have returned: a listener that fails
    # later leaves nothing to clean up (A31).
    event = fetch_event(upgradable=True)
    seen: list[object] = []

    async def upgrade(event: FetchEvent) -> None:
        connection = event.upgrade_websocket()
        seen.append(event.decision)
        await suspend(connection)
        raise RuntimeError

    steps = dispatch_request(event, [listener(upgrade)])
    connection = steps.send(None)
    assert seen == [event.decision]
    assert isinstance(event.decision, Upgrade)
    assert event.decision.connection is connection
    with pytest.raises(StopIteration) as end:
        steps.send(None)
    assert isinstance(end.value.value, Failure)


def test_an_event_is_open_until_its_later_response_has_come() -> None:
    event = fetch_event()

    async def respond() -> Response:
        await suspend()
        event.wait_until(Late())
        return Response("hi")

    assert isinstance(answer(event, lambda event: event.respond_with(respond())), Response)
    assert outbox_of(event).host.run_spawned() == []


def test_work_that_raises_changes_nothing_of_the_response() -> None:
    event = fetch_event()
    error = OSError("no database")

    async def work() -> None:
        await suspend()
        raise error

    def respond(event: FetchEvent) -> Response:
        event.wait_until(work())
        return Response("hi")

    assert isinstance(answer(event, respond), Response)
    assert outbox_of(event).host.run_spawned() == [error]


def test_responding_and_returning_the_same_response_is_one_answer() -> None:
    response = Response("hi")

    def both(event: FetchEvent) -> Response:
        event.respond_with(response)
        return response

    assert answer(fetch_event(), both) is response


@pytest.mark.parametrize(
    "first",
    [
        lambda event: Response("first"),
        lambda event: event.respond_with(Response("first")),
        lambda event: event.respond_with(respond_later("first")),
        lambda event: event.upgrade_websocket(),
    ],
)
@pytest.mark.parametrize(
    "second",
    [
        lambda event: Response("second"),
        lambda event: event.respond_with(Response("second")),
        lambda event: event.respond_with(respond_later("second")),
        lambda event: event.upgrade_websocket(),
    ],
)
def test_a_second_answer_is_a_failure(
    first: Callable[[FetchEvent], object], second: Callable[[FetchEvent], object]
) -> None:
    error = error_of(answer(fetch_event(upgradable=True), first, second))
    assert isinstance(error, AlreadyDecided)


def test_an_upgrade_is_an_answer() -> None:
    event = fetch_event(upgradable=True)
    upgrade = answer(event, lambda event: event.upgrade_websocket(data="x"))
    assert isinstance(upgrade, Upgrade)
    assert upgrade.connection.data == "x"


def test_upgrading_an_ordinary_request_is_a_failure() -> None:
    error = error_of(answer(fetch_event(), lambda event: event.upgrade_websocket()))
    assert isinstance(error, NotAnUpgradeRequest)


def test_a_handshake_event_is_answered_by_acceptance_or_rejection() -> None:
    accept = listener(lambda event: event.accept())
    reject = listener(lambda event: event.reject(Response("no", status=401)))
    assert isinstance(run(dispatch_request(upgrade_event(), [accept])), Upgrade)
    refusal = run(dispatch_request(upgrade_event(), [reject]))
    assert isinstance(refusal, Response)
    assert refusal.status == 401


def test_handshake_listener_may_return_its_decision() -> None:
    accept = listener(lambda event: event.accept())
    reject = listener(lambda event: Response("no", status=401))
    assert isinstance(run(dispatch_request(upgrade_event(), [accept])), Upgrade)
    refusal = run(dispatch_request(upgrade_event(), [reject]))
    assert isinstance(refusal, Response)
    assert refusal.status == 401


@pytest.mark.parametrize("result", ["text", True, {"name": "Ann"}])
def test_handshake_listener_returning_other_values_fails(result: object) -> None:
    def join(event: WebSocketUpgradeEvent) -> object:
        return result

    error = error_of(run(dispatch_request(upgrade_event(), [listener(join)])))
    assert isinstance(error, TypeError)
    assert str(error) == (
        f"the websocketupgrade listener {join.__qualname__} returned {type(result).__name__}; "
        "call event.accept() or event.reject(response), or return None to leave it to the next "
        "listener"
    )


@pytest.mark.parametrize("waits", [0, 1])
def test_a_request_whose_listener_raises_has_failed(waits: int) -> None:
    error = RuntimeError()
    for failing in (raises(error), raises_later(error, "close", waits=waits)):
        failure = run(dispatch_request(fetch_event(), [failing]))
        assert error_of(failure) is error
        assert isinstance(failure, Failure)
        assert not failure.closes  # There is no connection yet.


@pytest.mark.parametrize(
    "call",
    [
        lambda event: event.respond_with(Response("hi")),
        lambda event: event.upgrade_websocket(),
        lambda event: Response("hi"),
    ],
)
def test_an_answer_does_not_outlive_a_failure(call: Callable[[FetchEvent], object]) -> None:
    assert error_of(answer(fetch_event(upgradable=True), call, fail)).args == ("first",)
    assert error_of(answer(fetch_event(upgradable=True), fail, call)).args == ("first",)


def test_the_listeners_after_one_that_raised_still_run() -> None:
    steps: list[str] = []
    answer(fetch_event(), fail, lambda event: steps.append("b"), fail)
    assert steps == ["b"]


def test_the_first_failure_of_a_request_counts() -> None:
    def fail_again(event: FetchEvent) -> None:
        raise RuntimeError("second")

    assert error_of(answer(fetch_event(), fail, fail_again)).args == ("first",)


@pytest.mark.parametrize("result", [None, "text", 200])
def test_an_awaited_answer_that_is_no_response_is_a_failure(result: object) -> None:
    error = error_of(answer(fetch_event(), lambda event: event.respond_with(Late(result))))
    kind = type(result).__name__
    assert isinstance(error, TypeError)
    assert str(error) == f"the awaitable given to respond_with made a {kind}, not a Response"


async def refuse() -> Response:
    await suspend()
    raise OSError("no database")


def test_an_awaited_answer_that_raises_is_a_failure() -> None:
    error = error_of(answer(fetch_event(), lambda event: event.respond_with(refuse())))
    assert isinstance(error, OSError)


def test_an_awaited_answer_is_waited_for_even_after_a_failure() -> None:
    # Or Python would warn of it, far from here.
    response = respond_later()
    failure = answer(fetch_event(), lambda event: event.respond_with(response), fail)
    assert error_of(failure).args == ("first",)
    assert getcoroutinestate(response) == CORO_CLOSED


def test_listener_failure_outranks_awaited_answers_failure() -> None:
    failure = answer(fetch_event(), lambda event: event.respond_with(refuse()), fail)
    assert error_of(failure).args == ("first",)


@given(PLANS)
def test_all_listeners_of_a_request_run_in_order_and_the_first_failure_counts(
    plans: list[Plan],
) -> None:
    steps: list[int] = []
    listeners = [planned(plan, number, steps) for number, plan in enumerate(plans)]
    failure = run(dispatch_request(fetch_event(), listeners))
    assert steps == list(range(len(plans)))
    failed = [number for number, plan in enumerate(plans) if plan.fails]
    assert [error_of(failure).args[0]] == failed[:1] if failed else failure is None


# -- one step


async def waits(times: int, result: str = "done") -> str:
    for number in range(times):
        result += str(await suspend(number))
    return result


def test_failed_request_leaves_no_garbage_cycle() -> None:
    # `raise NotFound` is an everyday thing, and keeps the event and the request.
    class Missing(Exception):
        pass

    async def fetch(_: FetchEvent) -> None:
        raise Missing

    gc.collect()
    gc.disable()
    try:
        failure = answer(fetch_event(), fetch)
        assert isinstance(failure, Failure)
        error = weakref.ref(failure.error)
        del failure
        assert error() is None
    finally:
        gc.enable()


def test_taken_failure_leaves_no_garbage_cycle() -> None:
    class Missing(Exception):
        pass

    async def fails(_: object) -> None:
        raise Missing

    def fail() -> weakref.ref[BaseException]:
        # A variable of a frame that the error's traceback leads to, as hosts have one.
        failure = begin(EVENT, [listener(fails)])
        assert isinstance(failure, Failure)
        return weakref.ref(failure.take())

    gc.collect()
    gc.disable()
    try:
        error = fail()
        assert error() is None
    finally:
        gc.enable()


def test_work_that_never_waits_ends_with_its_first_step() -> None:
    assert first_step(waits(0)) == "done"


def test_work_that_waits_can_be_awaited_for_the_rest() -> None:
    begun = first_step(waits(2))
    assert isinstance(begun, Waiting)
    assert run(begun.finish()) == "doneNoneNone"


def test_waiting_works_value_passes_driver_and_work() -> None:
    begun = first_step(waits(2))
    assert isinstance(begun, Waiting)
    steps = rest(begun)
    assert steps.send(None) == 0
    assert steps.send("a") == 1
    with pytest.raises(StopIteration, match="doneab"):
        steps.send("b")


async def rest(waiting: Waiting[str]) -> str:
    return await waiting.finish()


def test_error_of_awaited_future_reaches_work() -> None:
    async def work() -> str:
        try:
            await suspend()
        except OSError as error:
            return f"caught {error}"
        return "not reached"

    begun = first_step(work())
    assert isinstance(begun, Waiting)
    steps = rest(begun)
    steps.send(None)
    with pytest.raises(StopIteration, match="caught gone"):
        steps.throw(OSError("gone"))


@pytest.mark.parametrize("times", [0, 1])
def test_what_stepped_work_raises_is_raised(times: int) -> None:
    async def work() -> None:
        await waits(times)
        raise KeyError("x")

    async def whole() -> None:
        begun = first_step(work())
        assert isinstance(begun, Waiting)
        await begun.finish()

    with pytest.raises(KeyError, match="x"):
        run(whole())


def test_the_next_item_of_an_async_generator_can_be_stepped() -> None:
    async def generate() -> AsyncGenerator[str, None]:
        yield "at once"
        await suspend()
        yield "later"

    items = generate()
    assert first_step(anext(items)) == "at once"
    begun = first_step(anext(items))
    assert isinstance(begun, Waiting)
    assert run(begun.finish()) == "later"
    with pytest.raises(StopAsyncIteration):
        first_step(anext(items))


def first(event: object) -> None: ...


def second(event: object) -> None: ...


class Handler:
    def handle_event(self, event: object) -> None: ...


def test_a_listener_goes_to_the_end_of_the_row() -> None:
    row = with_listener(with_listener((), first), second, "close")
    assert row == (Listener(first, first, "continue"), Listener(second, second, "close"))


def test_a_listener_is_in_a_row_once() -> None:
    row = with_listener(with_listener((), first), second)
    assert with_listener(row, first, "close") is row


def test_a_row_that_somebody_runs_through_does_not_change() -> None:
    row: Row = with_listener((), first)
    with_listener(row, second)
    without_listener(row, first)
    assert row == (Listener(first, first, "continue"),)


def test_an_object_may_listen() -> None:
    handler = Handler()
    (listener,) = with_listener((), handler)
    assert listener.registered is handler
    assert listener.call == handler.handle_event


def test_what_cannot_be_called_cannot_listen() -> None:
    with pytest.raises(TypeError, match=r"handle_event method; int is neither"):
        with_listener((), 5)


class Yielding:
    def handle_event(self, event: object) -> Iterator[None]:
        yield

    async def later(self, event: object) -> AsyncIterator[None]:
        yield


@pytest.mark.parametrize("listener", [Yielding(), Yielding().later, partial(Yielding().later, 5)])
def test_what_yields_cannot_listen(listener: object) -> None:
    # Not a line of it would ever run, and nobody would say so.
    with pytest.raises(TypeError, match=r"^a listener does not yield: "):
        with_listener((), listener)


@pytest.mark.parametrize("type_", [5, None, b"fetch", ["fetch"], first])
def test_the_type_of_an_event_is_text(type_: object) -> None:
    kind = type(type_).__name__
    with pytest.raises(TypeError, match=f"^the type of an event is a str, not {kind}$"):
        check_event_type(type_)
    check_event_type("any text")


def test_a_listener_is_taken_out_again() -> None:
    row = with_listener(with_listener((), first), second)
    assert without_listener(row, first) == (Listener(second, second, "continue"),)


def test_taking_out_what_is_not_there_is_no_error() -> None:
    assert without_listener((), first) == ()
