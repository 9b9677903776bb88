from __future__ import annotations

from contextvars import copy_context
from inspect import signature
from typing import Any, get_args

import pytest

from holdfast.app import ServiceWorker
from holdfast.config import KeeperLimits, ServerSettings
from holdfast.core import events, request_events
from holdfast.core.channel import GapEvent, MessageEvent
from holdfast.core.dispatch import Listener, OnError
from holdfast.core.events import ExtendableEvent
from holdfast.core.ports import current_outbox
from holdfast.core.registration import Registration
from holdfast.core.request_events import RequestEvent
from holdfast.core.scope import ALIASES, EVENT_TYPES
from holdfast.errors import NotInsideHoldfast
from holdfast.web.request import Request
from holdfast.web.response import Response
from tests.core.fakes import FakeHost, run


def first(event: object) -> None: ...


def second(event: object) -> None: ...


async def later(event: object) -> None: ...


class Counter:
    """A listener that is an object, and one whose methods listen."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def handle_event(self, event: object) -> None:
        self.events.append(event)


def called(app: ServiceWorker, type: str = "fetch") -> list[object]:
    """Return what was registered for `type`, in order."""
    return [listener.registered for listener in app.registered[type]]


# -- adding


@pytest.mark.parametrize("type", EVENT_TYPES)
def test_every_event_can_be_listened_to(type: str) -> None:
    app = ServiceWorker()
    assert app.registered[type] == ()
    app.add_event_listener(type, first)
    assert app.registered[type] == (Listener(first, first, "continue"),)


def test_every_kind_of_event_has_a_type_to_listen_to() -> None:
    # The model differs: there are no classes of events that never come, as push and sync.
    kinds = [
        kind
        for module in (events, request_events)
        for name, kind in vars(module).items()
        if name.endswith("Event") and kind.__module__ == module.__name__
    ]
    others = {ExtendableEvent, RequestEvent}
    assert {kind.type for kind in kinds if kind not in others} == set(EVENT_TYPES)


def test_the_events_of_channels_are_listened_to_on_channels() -> None:
    # Other types go elsewhere; here an error says so.
    for type in (MessageEvent.type, GapEvent.type):
        with pytest.raises(ValueError, match=f"no event '{type}'"):
            ServiceWorker().add_event_listener(type, first)


def test_listeners_are_kept_in_the_order_of_registration() -> None:
    app = ServiceWorker()
    for function in (second, first, later):
        app.add_event_listener("fetch", function)
    assert called(app) == [second, first, later]


def test_registering_again_changes_nothing() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", first)
    app.add_event_listener("fetch", second)
    app.add_event_listener("fetch", first, on_error="close")
    assert called(app) == [first, second]
    assert app.registered["fetch"][0].on_error == "continue"


def test_a_listener_of_one_event_hears_no_other() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", first)
    assert called(app, "install") == []


@pytest.mark.parametrize(("alias", "type"), ALIASES.items())
def test_the_names_of_the_seed_are_aliases(alias: str, type: str) -> None:
    app = ServiceWorker()
    app.add_event_listener(alias, first)
    app.add_event_listener(type, first)
    assert called(app, type) == [first]
    app.remove_event_listener(alias, first)
    assert called(app, type) == []


def test_an_object_with_handle_event_is_a_listener() -> None:
    app, counter = ServiceWorker(), Counter()
    app.add_event_listener("fetch", counter)
    (listener,) = app.registered["fetch"]
    listener.call("event")
    assert counter.events == ["event"]
    assert listener.registered is counter


def test_a_bound_method_is_the_same_listener_each_time() -> None:
    app, counter = ServiceWorker(), Counter()
    app.add_event_listener("fetch", counter.handle_event)
    app.add_event_listener("fetch", counter.handle_event)
    assert len(app.registered["fetch"]) == 1
    app.remove_event_listener("fetch", counter.handle_event)
    assert called(app) == []


@pytest.mark.parametrize("on_error", get_args(OnError))
def test_a_listener_says_what_becomes_of_its_connection_when_it_raises(on_error: OnError) -> None:
    app = ServiceWorker()
    app.add_event_listener("websocketmessage", first, on_error=on_error)
    assert app.registered["websocketmessage"][0].on_error == on_error


# -- what is refused


@pytest.mark.parametrize("type", ["", "message", "Fetch", "push", "fetch ", "\0", "\ud800"])
def test_unknown_event_is_refused_with_known_ones(type: str) -> None:
    app = ServiceWorker()
    with pytest.raises(ValueError, match=r"^there is no event .*; the events are install, act"):
        app.add_event_listener(type, first)
    with pytest.raises(ValueError, match=r"^there is no event"):
        app.remove_event_listener(type, first)
    with pytest.raises(ValueError, match=r"^there is no event"):
        app.on(type)(first)  # type: ignore[call-overload]


@pytest.mark.parametrize("type", ["message", "gap"])
def test_an_event_of_channels_is_said_to_be_one(type: str) -> None:
    app = ServiceWorker()
    hint = "; the messages of connections are websocketmessage" if type == "message" else ""
    with pytest.raises(ValueError, match=f"; '{type}' is an event of a BroadcastChannel{hint}$"):
        app.on(type)  # type: ignore[call-overload]


@pytest.mark.parametrize("type", [None, 5, b"fetch", ["fetch"], first])
def test_a_type_that_is_no_text_is_refused(type: Any) -> None:
    app = ServiceWorker()
    words = "^the type of an event is a str, not "
    with pytest.raises(TypeError, match=words):
        app.add_event_listener(type, first)
    with pytest.raises(TypeError, match=words):
        app.remove_event_listener(type, first)
    assert not any(app.registered.values())


def test_a_decorator_without_a_type_is_noticed_at_once() -> None:
    # `@app.on` above a function would give it away for another one that nobody calls.
    app = ServiceWorker()
    with pytest.raises(TypeError, match=r"^the type of an event is a str, not function$"):
        app.on(first)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"^there is no event 'push'"):
        app.on("push")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"^on_error is 'continue' or 'close'"):
        app.on("fetch", on_error="stop")  # type: ignore[call-overload]


class NotCallable:
    handle_event = "not callable either"


@pytest.mark.parametrize("listener", [None, "first", 5, NotCallable()])
def test_what_cannot_be_called_is_no_listener(listener: object) -> None:
    # The model differs: there, null is a listener that is never called.
    app = ServiceWorker()
    with pytest.raises(TypeError, match=f"{type(listener).__name__} is neither$"):
        app.add_event_listener("fetch", listener)
    assert called(app) == []


@pytest.mark.parametrize("on_error", ["", "stop", None, True])
def test_on_error_is_one_of_two_words(on_error: Any) -> None:
    app = ServiceWorker()
    with pytest.raises(ValueError, match=r"^on_error is 'continue' or 'close', not "):
        app.add_event_listener("fetch", first, on_error=on_error)
    assert called(app) == []


# -- removing


def test_a_removed_listener_is_gone() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", first)
    app.add_event_listener("fetch", second)
    app.remove_event_listener("fetch", first)
    assert called(app) == [second]


def test_an_async_listener_is_removed_by_the_function_that_was_registered() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", later)
    app.remove_event_listener("fetch", later)
    assert called(app) == []


def test_an_object_that_listens_is_removed_by_itself() -> None:
    app, counter = ServiceWorker(), Counter()
    app.add_event_listener("fetch", counter)
    app.remove_event_listener("fetch", counter)
    assert called(app) == []


@pytest.mark.parametrize("listener", [first, None, 5])
def test_removing_what_is_not_registered_is_no_error(listener: object) -> None:
    app = ServiceWorker()
    app.remove_event_listener("fetch", listener)
    assert called(app) == []


def test_running_dispatch_keeps_its_listeners() -> None:
    app = ServiceWorker()
    app.add_event_listener("fetch", first)
    taken = app.registered["fetch"]
    app.add_event_listener("fetch", second)
    app.remove_event_listener("fetch", first)
    assert [listener.registered for listener in taken] == [first]


# -- the decorator


def test_decorator_returns_the_function_itself() -> None:
    app = ServiceWorker()
    assert app.on("fetch")(first) is first
    assert called(app) == [first]


def test_a_decorator_takes_on_error_and_aliases() -> None:
    app = ServiceWorker()

    @app.on("wsmessage", on_error="close")
    async def echo(event: events.WebSocketMessageEvent) -> None: ...

    assert app.registered["websocketmessage"] == (Listener(echo, echo, "close"),)


def test_one_function_can_listen_to_several_events() -> None:
    app = ServiceWorker()
    app.on("install")(first)
    app.on("activate")(first)
    assert called(app, "install") == called(app, "activate") == [first]


# -- the rest


def test_two_scopes_share_nothing() -> None:
    one, other = ServiceWorker(), ServiceWorker()
    one.add_event_listener("fetch", first)
    assert called(other) == []
    assert one.registration is not other.registration


def test_a_scope_starts_parsed() -> None:
    registration = ServiceWorker().registration
    assert isinstance(registration, Registration)
    assert registration.state == "parsed"


# -- fetching from itself


def fetching(app: ServiceWorker, *args: Any, **options: Any) -> Response:
    async def listen() -> Response:
        current_outbox.set(FakeHost().new_outbox())
        return await app.fetch(*args, **options)

    return copy_context().run(run, listen())


def test_an_application_can_ask_itself() -> None:
    app = ServiceWorker()

    @app.on("fetch")
    async def echo(event: request_events.FetchEvent) -> Response:
        request = event.request
        asked = f"{request.method} {request.url} {request.headers['x-a']}"
        return Response(f"{asked}: {await request.text()}")

    response = fetching(app, "/x?y", method="POST", headers={"x-a": "1"}, body="hi")
    assert run(response.text()) == "POST http://localhost/x?y 1: hi"
    request = Request("http://localhost/z", headers={"x-a": "2"})
    assert run(fetching(app, request).text()) == "GET http://localhost/z 2: "


def test_unanswered_fetch_of_itself_is_404() -> None:
    assert fetching(ServiceWorker(), "/nothing").status == 404


def test_an_application_does_not_ask_others() -> None:
    with pytest.raises(ValueError, match="use an HTTP client"):
        fetching(ServiceWorker(), "https://example.org/")


def test_an_application_that_is_not_served_cannot_ask_itself() -> None:
    with pytest.raises(NotInsideHoldfast):
        run(ServiceWorker().fetch("/"))


# -- what is mounted


async def asgi_app(scope: object, receive: object, send: object) -> None: ...


def test_an_asgi_application_is_mounted_at_a_path() -> None:
    app = ServiceWorker()
    app.mount(asgi_app)
    app.mount(asgi_app, "/api", on_worker_exit={"/trade": "close"})
    assert [(mount.app, mount.path) for mount in app.mounts] == [(asgi_app, "/api"), (asgi_app, "")]
    assert [mount.closes("/api/trade") for mount in app.mounts] == [True, False]


def test_a_service_worker_is_not_mounted_in_another() -> None:
    with pytest.raises(TypeError, match="register its listeners"):
        ServiceWorker().mount(ServiceWorker())


# -- other servers


def test_an_application_is_an_asgi_application() -> None:
    # What it does there is told in tests/asgi and tests/conformance.
    app = ServiceWorker()
    for call in (app, app, app.asgi(max_message=5)):
        with pytest.raises(ValueError, match="'smtp'"):
            run(call({"type": "smtp"}, receive, send))


def test_an_application_has_the_limits_of_the_server_everywhere() -> None:
    # One set of limits for all hosts.
    server, limits = ServerSettings(""), KeeperLimits()
    defaults = {
        name: parameter.default
        for name, parameter in signature(ServiceWorker.asgi).parameters.items()
        if name != "self"
    }
    assert defaults == {
        **{name: getattr(server, name) for name in defaults if hasattr(server, name)},
        **{name: getattr(limits, name) for name in defaults if hasattr(limits, name)},
    }


def test_an_origin_that_is_none_is_noticed_at_once() -> None:
    with pytest.raises(ValueError, match="example"):
        ServiceWorker().asgi(allow_origins=["https://example.com/path"])


async def receive() -> dict[str, object]:
    raise NotImplementedError


async def send(message: object) -> None: ...
