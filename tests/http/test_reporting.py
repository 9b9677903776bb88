from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from holdfast.app import ServiceWorker
from holdfast.http.reporting import report_failure
from holdfast.web.http_errors import HTTPError, NotFound
from tests.core.fakes import FakeHost, close_event, fetch_event, message_event, upgrade_event

if TYPE_CHECKING:
    from holdfast.core.events import ErrorEvent, ExtendableEvent


def report(event: ExtendableEvent, error: BaseException) -> FakeHost:
    host = FakeHost()
    asyncio.run(report_failure(ServiceWorker(), host, event, error, "a listener"))
    assert host.reports == [("a listener", error)]
    return host


NOTE = "An HTTPError becomes a response only in fetch and websocketupgrade listeners: a "


@pytest.mark.parametrize(
    ("event", "note"),
    [
        (
            message_event(FakeHost()),
            "websocketmessage event has no request to answer. Send a message, or close the "
            "connection.",
        ),
        (close_event(FakeHost()), "websocketclose event has no request to answer."),
    ],
)
def test_http_error_where_nothing_can_be_answered_says_so(
    event: ExtendableEvent, note: str
) -> None:
    error = NotFound("no such room")
    for _ in range(2):  # An error may be made once and raised often.
        report(event, error)
    assert error.__notes__ == [NOTE + note]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (message_event(FakeHost()), KeyError("x")),
        (fetch_event(), HTTPError(503)),
        (upgrade_event(), HTTPError(503)),
    ],
)
def test_other_errors_are_reported_as_they_are(
    event: ExtendableEvent, error: BaseException
) -> None:
    report(event, error)
    assert not hasattr(error, "__notes__")


def test_error_listeners_are_told() -> None:
    app, host, event, error = ServiceWorker(), FakeHost(), message_event(FakeHost()), OSError()
    told: list[object] = []

    @app.on("error")
    def note(told_event: ErrorEvent) -> None:
        told.extend((told_event.event, told_event.error))

    asyncio.run(report_failure(app, host, event, error, "a listener"))
    assert told == [event, error]
