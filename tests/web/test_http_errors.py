from __future__ import annotations

import copy
import pickle

import pytest

from holdfast.errors import HoldfastError
from holdfast.web import http_errors
from holdfast.web.headers import Headers
from holdfast.web.http_errors import (
    BadBody,
    BadGateway,
    BadRequest,
    ClientLeft,
    Conflict,
    ContentTooLarge,
    Forbidden,
    GatewayTimeout,
    HTTPError,
    HTTPNotImplemented,
    InternalServerError,
    MethodNotAllowed,
    NotAForm,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnprocessableContent,
    reason_phrase,
)

# The names of RFC 9110 section 15.
NAMED: list[tuple[type[HTTPError], int, str]] = [
    (BadRequest, 400, "Bad Request"),
    (Unauthorized, 401, "Unauthorized"),
    (Forbidden, 403, "Forbidden"),
    (NotFound, 404, "Not Found"),
    (MethodNotAllowed, 405, "Method Not Allowed"),
    (Conflict, 409, "Conflict"),
    (ContentTooLarge, 413, "Content Too Large"),
    (UnprocessableContent, 422, "Unprocessable Content"),
    (TooManyRequests, 429, "Too Many Requests"),
    (InternalServerError, 500, "Internal Server Error"),
    (HTTPNotImplemented, 501, "Not Implemented"),
    (BadGateway, 502, "Bad Gateway"),
    (ServiceUnavailable, 503, "Service Unavailable"),
    (GatewayTimeout, 504, "Gateway Timeout"),
    # What reading a request raises.
    (BadBody, 400, "Bad Request"),
    (ClientLeft, 400, "Bad Request"),
    (NotAForm, 415, "Unsupported Media Type"),
]


@pytest.mark.parametrize(("kind", "status", "phrase"), NAMED)
def test_a_named_error_has_the_status_and_the_message_of_its_name(
    kind: type[HTTPError], status: int, phrase: str
) -> None:
    error = kind()  # type: ignore[call-arg]
    assert (error.status, error.message, str(error)) == (status, phrase, phrase)
    assert isinstance(error, HoldfastError)


def test_every_class_is_listed_here() -> None:
    classes = {name for name in http_errors.__all__ if name not in ("HTTPError", "reason_phrase")}
    assert classes == {kind.__name__ for kind, _, _ in NAMED}


def test_an_error_may_have_any_status_of_an_error() -> None:
    error = HTTPError(418, "short and stout")
    assert (error.status, error.message, str(error)) == (418, "short and stout", "short and stout")
    assert HTTPError(400).message == "Bad Request"
    assert HTTPError(599).message == "Internal Server Error"


@pytest.mark.parametrize("status", [399, 600, 200, 0, -404])
def test_what_is_no_error_is_refused_as_a_status(status: int) -> None:
    with pytest.raises(ValueError, match=f"from 400 to 599, not {status}"):
        HTTPError(status)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (418, "I'm a Teapot"),
        (499, "Bad Request"),
        (599, "Internal Server Error"),
    ],
)
def test_every_error_has_a_reason_phrase(status: int, phrase: str) -> None:
    # RFC 9110 section 15: an unknown status counts as the first of its class.
    assert reason_phrase(status).casefold() == phrase.casefold()


def test_the_message_is_for_the_client_unless_the_server_is_at_fault() -> None:
    assert HTTPError(499).expose
    assert not HTTPError(500).expose
    assert ServiceUnavailable("back at noon", expose=True).expose
    assert not NotFound("row 17", expose=False).expose


def test_headers_are_those_of_the_response() -> None:
    error = Unauthorized(headers={"WWW-Authenticate": "Basic"})
    assert error.headers == Headers({"www-authenticate": "Basic"})
    assert HTTPError(429, headers=[("Retry-After", "5")]).headers["retry-after"] == "5"
    assert NotFound().headers == Headers()


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0"])
def test_a_header_that_cannot_be_sent_is_refused_where_the_error_is_made(value: str) -> None:
    with pytest.raises(ValueError, match="'x-a' contains a control character"):
        NotFound(headers={"x-a": value})


def test_client_errors_have_pythons_base_classes() -> None:
    assert isinstance(BadBody(), ValueError)
    assert isinstance(NotAForm(), TypeError)
    assert isinstance(ClientLeft(), ConnectionResetError)


@pytest.mark.parametrize(
    "error",
    [
        HTTPError(418, "short", headers={"x-a": "1"}),
        HTTPError(500, expose=True),
        NotFound("row 17", expose=False),
        BadBody("no"),
    ],
)
def test_errors_can_be_copied_and_pickled(error: HTTPError) -> None:
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert vars(other) == vars(error)
        assert str(other) == str(error)
