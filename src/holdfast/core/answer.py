"""What becomes of a request whose listeners have run, and requests an application makes to itself.

Pure: it awaits only what listeners await, and leaves commits and reports to the host. Hosts use
`settle` and `failure_response`, `ServiceWorker.fetch` uses `fetch_from_itself`: so a listener
cannot tell who asked.
"""

from __future__ import annotations

from contextvars import ContextVar
from traceback import format_exception
from typing import TYPE_CHECKING

from holdfast.core.dispatch import Failure, dispatch_request
from holdfast.core.ports import current_outbox
from holdfast.core.request_events import FetchEvent, Upgrade
from holdfast.errors import NotInsideHoldfast, SelfFetchTooDeep
from holdfast.web.http_errors import HTTPError, reason_phrase
from holdfast.web.request import Request
from holdfast.web.response import Response
from holdfast.web.url import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from holdfast.core.dispatch import Row
    from holdfast.core.ports import Outbox
    from holdfast.web.headers import HeadersInit

# Where an application's paths lead when it asks itself.
_HERE = URL("http://localhost")

# A page of fragments of fragments needs three; a listener that fetches itself is found out soon.
MAX_DEPTH = 10

# How many app.fetch calls the code of this context runs within.
_depth: ContextVar[int] = ContextVar("holdfast_fetch_depth", default=0)


def is_clients_fault(error: BaseException) -> bool:
    """Tell whether a failure is worth one line in the log, and neither traceback nor event."""
    return isinstance(error, HTTPError) and error.status < 500


def failure_response(error: BaseException, *, develop: bool) -> Response:
    """Return what the client gets when a listener raised `error`.

    Never a detail that is not meant for it: the message of an HTTPError that is exposed, else a
    reason phrase. Only where the server is at fault and `develop` is set, the traceback.
    """
    text, status, headers = reason_phrase(500), 500, None
    if isinstance(error, HTTPError):
        status, headers = error.status, error.headers
        text = error.message if error.expose else reason_phrase(status)
    if develop and status >= 500:
        text = "".join(format_exception(error))
    # A file name or a message may have what UTF-8 has not.
    text = text.encode("utf-8", "replace").decode()
    return Response(text, status=status, headers=headers)


def settle(outbox: Outbox, answer: Response | Failure | None) -> Response | Failure:
    """Let the effects of a request go, or forget them if it has failed; 404 if nobody answered.

    A response that contradicts itself is a failure too.
    """
    if isinstance(answer, Response) and (why := answer.wrong_length) is not None:
        answer = Failure(ValueError(f"{why}; leave that header to holdfast"), closes=False)
    if isinstance(answer, Failure):
        outbox.host.discard(outbox)
        return answer
    outbox.host.commit(outbox)
    return Response(reason_phrase(404), status=404) if answer is None else answer


def own_request(
    url: str | URL | Request,
    method: str,
    headers: HeadersInit | None,
    body: str | bytes | AsyncIterable[bytes] | None,
) -> Request:
    """Return the request that an application makes to itself.

    Raises:
        ValueError: it is for somebody else, or is none.
        TypeError: it is one already, and is to be changed.
    """
    if not isinstance(url, Request):
        request = Request(URL(url, _HERE), method=method, headers=headers, body=body)
    elif method == "GET" and headers is None and body is None:
        request = url
    else:
        raise TypeError("app.fetch takes a Request, or what one is made of, but not both")
    if request.url.origin != _HERE.origin:
        raise ValueError(
            f"app.fetch only fetches from the application itself (a path, or {_HERE.origin}), not "
            f"from {request.url.origin}; use an HTTP client for other servers"
        )
    return request


async def fetch_from_itself(listeners: Row, request: Request) -> Response:
    """Have the application's own `fetch` listeners answer `request`, as an event of its own.

    Raises:
        NotInsideHoldfast: there is no host in this context.
        SelfFetchTooDeep: it was called within itself, too often.

    And whatever a listener raises that is no HTTPError.
    """
    outer = current_outbox.get(None)
    if outer is None:
        raise NotInsideHoldfast("app.fetch")
    depth = _depth.get()
    if depth >= MAX_DEPTH:
        raise SelfFetchTooDeep(MAX_DEPTH)
    outbox = outer.host.new_outbox()
    event = FetchEvent(outbox, request, upgradable=False)
    current_outbox.set(outbox)
    _depth.set(depth + 1)
    try:
        decided = await dispatch_request(event, listeners)
    except BaseException:
        # Whoever fetched was cancelled, or the process ends.
        outbox.host.discard(outbox)
        raise
    finally:
        # Not by token: a coroutine that is dropped may be closed in another context.
        current_outbox.set(outer)
        _depth.set(depth)
    assert not isinstance(decided, Upgrade)  # An event that is not upgradable was not upgraded.
    answer = settle(outbox, decided)
    if isinstance(answer, Response):
        return answer.with_cookies(event.set_cookies)
    if not isinstance(answer.error, HTTPError):
        raise answer.error
    if not is_clients_fault(answer.error):
        what = f"a fetch listener, for app.fetch of {request.method} {request.path!r},"
        outbox.host.report(what, answer.error)
    return failure_response(answer.error, develop=False)
