"""Answers in the form of exceptions: raised by a listener, each becomes a response of its status.

Pure. `core/answer.py` makes the response. The event has failed like that of any listener that
raises: its effects are discarded. A status below 500 says that the client is at fault, so it is
worth one line in the log and no `error` event.

HTTPError                   any status from 400 to 599
    BadRequest              400
        BadBody             a body that is not what it says; also a ValueError
        ClientLeft          the client left before its request was complete; also an OSError
    Unauthorized            401
    Forbidden               403
    NotFound                404
    MethodNotAllowed        405
    Conflict                409
    ContentTooLarge         413
    NotAForm                415, from `request.form()`; also a TypeError
    UnprocessableContent    422
    TooManyRequests         429
    InternalServerError     500
    HTTPNotImplemented      501
    BadGateway              502
    ServiceUnavailable      503
    GatewayTimeout          504
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from holdfast.errors import HoldfastError
from holdfast.web.headers import Headers

if TYPE_CHECKING:
    from holdfast.web.headers import HeadersInit

__all__ = [
    "BadBody",
    "BadGateway",
    "BadRequest",
    "ClientLeft",
    "Conflict",
    "ContentTooLarge",
    "Forbidden",
    "GatewayTimeout",
    "HTTPError",
    "HTTPNotImplemented",
    "InternalServerError",
    "MethodNotAllowed",
    "NotAForm",
    "NotFound",
    "ServiceUnavailable",
    "TooManyRequests",
    "Unauthorized",
    "UnprocessableContent",
    "reason_phrase",
]

# RFC 9110 section 15 has new names for these; Python knows them from 3.13 on.
_RENAMED = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def reason_phrase(status: int) -> str:
    """Return what RFC 9110 section 15 calls `status`, an error.

    An unknown one is called as the first of its class, which is how a client treats it.
    """
    try:
        return _RENAMED.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return HTTPStatus(status // 100 * 100).phrase


class HTTPError(HoldfastError):
    """A response in the form of an exception. Raise it in a fetch or websocketupgrade listener.

    The response is text/plain. What the listener asked for before, cookies included, is discarded.
    The classes that are named after a status (RFC 9110 section 15.5) take no `status`:
    `raise NotFound("no such room")`.

    Args:
        status: 400 to 599.
        message: what went wrong; the status's reason phrase when left out.
        headers: fields of the response.
        expose: whether the client sees the message, or only the reason phrase. When left out, a
            status below 500 shows it.

    Raises:
        ValueError: the status is out of range, or a header cannot be sent.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        headers: HeadersInit | None = None,
        expose: bool | None = None,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"an HTTPError has a status from 400 to 599, not {status}")
        self.status = status
        self.message = reason_phrase(status) if message is None else message
        self.headers = Headers(headers)
        self.expose = status < 500 if expose is None else expose

    def __str__(self) -> str:
        return self.message


class _Named(HTTPError):
    """Base of those whose name says the status."""

    _status: ClassVar[int]

    def __init__(
        self,
        message: str | None = None,
        *,
        headers: HeadersInit | None = None,
        expose: bool | None = None,
    ) -> None:
        super().__init__(self._status, message, headers=headers, expose=expose)


class BadRequest(_Named):
    """400: the request makes no sense."""

    _status = 400


class BadBody(BadRequest, ValueError):
    """400: the body is not what it is said to be, such as JSON. Raised by `request.json()`."""


class ClientLeft(BadRequest, ConnectionResetError):
    """The client left before its request was complete; nobody reads the response.

    Raised by what reads a request's body.
    """


class Unauthorized(_Named):
    """401: who is asking? Should say how to answer that, in `WWW-Authenticate`."""

    _status = 401


class Forbidden(_Named):
    """403: not for this client, whoever it is."""

    _status = 403


class NotFound(_Named):
    """404: there is nothing here."""

    _status = 404


class MethodNotAllowed(_Named):
    """405: not with this method. Has to name those that are, in `Allow`."""

    _status = 405


class Conflict(_Named):
    """409: not in the state that things are in."""

    _status = 409


class ContentTooLarge(_Named):
    """413: the body is larger than the server takes; raised by what reads it (`--max-body`)."""

    _status = 413


class NotAForm(_Named, TypeError):
    """415: `request.form()` was asked to read a body that is said to be something else."""

    _status = 415


class UnprocessableContent(_Named):
    """422: the body is well-formed, but asks for what cannot be done."""

    _status = 422


class TooManyRequests(_Named):
    """429: later, please; `Retry-After` may say when."""

    _status = 429


class InternalServerError(_Named):
    """500: it is not the client's fault."""

    _status = 500


class HTTPNotImplemented(_Named):
    """501: this server cannot do that at all. (`NotImplemented` is Python's own.)"""

    _status = 501


class BadGateway(_Named):
    """502: somebody that was asked in turn has answered nonsense."""

    _status = 502


class ServiceUnavailable(_Named):
    """503: not now; `Retry-After` may say when."""

    _status = 503


class GatewayTimeout(_Named):
    """504: somebody that was asked in turn has not answered in time."""

    _status = 504
