from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from holdfast.core.ports import current_outbox
from holdfast.errors import BodyUsed, NotInsideHoldfast
from holdfast.web.forms import MAX_FIELDS, File, FormData
from holdfast.web.headers import Headers
from holdfast.web.http_errors import BadBody, ContentTooLarge, NotAForm
from holdfast.web.request import Client, Request
from holdfast.web.response import Response
from holdfast.web.url import URL
from tests.core.fakes import FakeHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Coroutine

T = TypeVar("T")

URLENCODED = "application/x-www-form-urlencoded"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def collect(stream: AsyncIterable[T]) -> list[T]:
    return [chunk async for chunk in stream]


async def chunks(*parts: T) -> AsyncIterator[T]:
    for part in parts:
        yield part


def received(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    target: bytes = b"/",
    query: bytes = b"",
    client: tuple[str, int] | None = None,
    body: AsyncIterable[bytes] | None = None,
) -> Request:
    return Request.from_parts(method, "http", target, query, list(headers), client, body)


def posted(body: bytes, content_type: str = "text/plain") -> Request:
    headers = {"content-type": content_type}
    return Request("http://a/", method="POST", headers=headers, body=body)


# Requests that an application makes


def test_a_request_has_what_it_was_made_with() -> None:
    client = Client("192.0.2.1", 4711)
    request = Request("http://a/b?c", headers={"X-Name": "1"}, client=client)
    assert (request.method, request.url, request.path) == ("GET", URL("http://a/b?c"), "/b")
    assert request.headers == Headers({"x-name": "1"})
    assert request.client == client
    assert request.has_valid_url


def test_a_request_takes_a_url_that_is_parsed_already() -> None:
    url = URL("http://a/")
    assert Request(url).url is url


def test_a_request_without_a_url_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'/path' is not a URL"):
        Request("/path")


def test_usual_methods_are_upper_case_and_others_as_given() -> None:
    assert Request("http://a/", method="post").method == "POST"
    assert Request("http://a/", method="patch").method == "patch"


@pytest.mark.parametrize("method", ["", "GET ", "GET\r\nHost: b"])
def test_a_method_that_is_not_a_token_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="is not a method"):
        Request("http://a/", method=method)


@pytest.mark.parametrize("method", ["GET", "head"])
def test_a_request_to_get_something_has_no_body(method: str) -> None:
    with pytest.raises(ValueError, match=f"a {method.upper()} request cannot have a body"):
        Request("http://a/", method=method, body=b"")


def test_a_body_of_text_is_labelled_unless_the_caller_did() -> None:
    assert Request("http://a/", method="POST", body="x").headers.get("content-type") == (
        "text/plain; charset=utf-8"
    )
    labelled = Request("http://a/", method="POST", body="x", headers={"Content-Type": "a/b"})
    assert labelled.headers.items() == [("content-type", "a/b")]


def test_a_body_that_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="a body is str, bytes or an async iterable"):
        Request("http://a/", method="POST", body={"a": 1})  # type: ignore[arg-type]


# Requests that a host received


def test_a_received_request_has_the_url_of_its_host_field() -> None:
    request = received((b"host", b"Example.com:8000"), target=b"/a/../b", query=b"x=1")
    assert request.url.href == "http://example.com:8000/b?x=1"
    assert request.url is request.url


def test_the_host_field_is_found_among_others() -> None:
    request = received((b"accept", b"*/*"), (b"host", b"a"), (b"x-host", b"b"))
    assert request.has_valid_url
    assert request.url.host == "a"


def test_a_received_request_without_a_host_is_for_localhost() -> None:
    assert received().url.href == "http://localhost/"
    assert received((b"host", b"")).url.href == "http://localhost/"


@pytest.mark.parametrize("host", [b"a", b"127.0.0.1:8000", b"[::1]:80", b"a."])
def test_a_usable_host_field_makes_a_valid_url(host: bytes) -> None:
    request = received((b"host", host))
    assert request.has_valid_url
    assert request.url
    assert request.has_valid_url


@pytest.mark.parametrize("host", [b"a b", b"good@evil", b"a:65536", b"\xff"])
def test_a_hostile_host_field_raises_where_the_url_is_used(host: bytes) -> None:
    request = received((b"host", host))
    assert not request.has_valid_url
    assert request.path == "/"
    with pytest.raises(ValueError, match="the request has no URL"):
        request.url  # noqa: B018


def test_two_host_fields_make_no_valid_url() -> None:
    request = received((b"host", b"a"), (b"host", b"a"))
    assert not request.has_valid_url
    with pytest.raises(ValueError, match="more than one Host field"):
        request.url  # noqa: B018


@pytest.mark.parametrize("target", [b"/", b"/a%20b", b"/a/./b", b"*", b"@evil"])
def test_the_path_is_the_pathname_of_the_url(target: bytes) -> None:
    request = received(target=target)
    assert request.path == request.path == request.url.pathname


def test_request_of_a_mounted_application_has_the_whole_url_and_its_own_path() -> None:
    request = Request.from_parts("GET", "http", b"/room", b"a=b", [], None, None, "/chat")
    assert (request.path, request.url.href) == ("/room", "http://localhost/chat/room?a=b")


def test_received_headers_are_not_the_hosts_own_list() -> None:
    raw = [(b"a", b"1")]
    request = Request.from_parts("GET", "http", b"/", b"", raw, None, None)
    request.headers.append("b", "2")
    assert request.headers.items() == [("a", "1"), ("b", "2")]
    assert raw == [(b"a", b"1")]


def test_cookies_are_parsed_from_all_their_fields() -> None:
    request = received((b"cookie", b"a=1; b=2"), (b"cookie", b"c=%20"))
    assert request.cookies == {"a": "1", "b": "2", "c": " "}
    assert request.cookies is request.cookies


def test_a_malformed_cookie_does_no_harm() -> None:
    assert received((b"cookie", b"a=%zz; \xff")).cookies == {"a": "%zz"}


def test_the_client_has_a_host_and_a_port() -> None:
    request = received(client=("192.0.2.1", 4711))
    assert request.client == Client(host="192.0.2.1", port=4711)
    assert received().client is None


def test_a_request_shows_method_and_url() -> None:
    assert repr(received((b"host", b"a b"), target=b"/x")) == "<Request GET /x>"
    assert repr(Request("http://a/x")) == "<Request GET http://a/x>"


# Reading bodies


def test_a_body_arrives_in_chunks_and_is_read_whole() -> None:
    assert run(received(body=chunks(b"a", b"", b"b")).bytes()) == b"ab"


def test_a_body_can_be_read_as_it_arrives() -> None:
    request = received(body=chunks(b"a", b"", b"b"))
    assert run(collect(request.stream())) == [b"a", b"b"]


def test_a_body_of_bytes_is_one_chunk() -> None:
    assert run(collect(posted(b"ab").stream())) == [b"ab"]
    assert run(collect(posted(b"").stream())) == []


def test_text_is_decoded_without_failing_and_without_a_mark() -> None:
    assert run(posted("\ufeffJ\xf6rg".encode()).text()) == "J\xf6rg"
    assert run(posted(b"J\xf6rg").text()) == "J\ufffdrg"


def test_json_is_parsed() -> None:
    assert run(posted(b'{"a": [1, null]}').json()) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting"),
        (b"{", "Expecting"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[" * 200_000, "nested too deeply"),
    ],
    ids=["empty", "broken", "NaN", "deep"],
)
def test_invalid_json_is_a_client_error(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^the body is not JSON: .*{reason}") as caught:
        run(posted(body).json())
    assert isinstance(caught.value, BadBody)


@pytest.mark.parametrize("suffix", ["", "; charset=utf-8"])
def test_a_form_is_parsed(suffix: str) -> None:
    request = posted(b"a=1+2&b=%C3%A9&a=3", "application/X-WWW-form-urlencoded" + suffix)
    form = run(request.form())
    assert form.items() == [("a", "1 2"), ("b", "\xe9"), ("a", "3")]


def test_a_urlencoded_form_has_at_most_a_thousand_fields() -> None:
    most = b"&".join([b"a"] * MAX_FIELDS)
    assert len(run(posted(most, URLENCODED).form()).items()) == 1000
    with pytest.raises(ValueError, match="more than 1000 fields") as caught:
        run(posted(most + b"&", URLENCODED).form())
    assert isinstance(caught.value, BadBody)


def form_of(request: Request) -> FormData:
    """Read a form where a host is."""

    async def read() -> FormData:
        current_outbox.set(FakeHost().new_outbox())
        return await request.form()

    return run(read())


def test_a_multipart_form_is_parsed_by_the_host() -> None:
    head = b'--X\r\nContent-Disposition: form-data; name="a"'
    body = head + b"\r\n\r\n1\r\n" + head + b'; filename="f"\r\n\r\n2\r\n--X--'
    form = form_of(posted(body, "multipart/form-data; boundary=X"))
    text, file = form.get_all("a")
    assert text == "1"
    assert isinstance(file, File)
    assert run(file.bytes()) == b"2"


def test_a_broken_multipart_form_is_the_clients_fault() -> None:
    request = posted(b"--X", "Multipart/Form-Data; boundary=X")
    with pytest.raises(BadBody, match=r"^the body is not a multipart form: it ends too early"):
        form_of(request)
    assert request.body_used


def test_body_limit_holds_for_forms() -> None:
    async def large() -> AsyncIterator[bytes]:
        yield b"--X"
        raise ContentTooLarge

    content_type = (b"content-type", b"multipart/form-data; boundary=X")
    with pytest.raises(ContentTooLarge):
        form_of(received(content_type, method="POST", body=large()))


def test_multipart_without_host_stays_readable() -> None:
    request = posted(b"--X--", "multipart/form-data; boundary=X")
    with pytest.raises(NotInsideHoldfast, match=r"^reading a multipart form needs"):
        run(request.form())
    assert run(request.bytes()) == b"--X--"


def test_non_form_body_stays_readable() -> None:
    request = posted(b"{}", "application/json")
    with pytest.raises(TypeError, match="multipart/form-data, not application/json") as caught:
        run(request.form())
    assert isinstance(caught.value, NotAForm)
    assert run(request.json()) == {}


def test_a_body_without_a_type_is_not_a_form() -> None:
    with pytest.raises(NotAForm, match="not a body without a type"):
        run(received(body=chunks(b"a=1")).form())


def test_a_body_can_be_read_once() -> None:
    for message in (posted(b"a"), Response("a")):
        assert not message.body_used
        assert run(message.text()) == "a"
        assert message.body_used
        with pytest.raises(BodyUsed):
            run(message.bytes())


def test_a_stream_counts_as_read_when_it_is_asked_for() -> None:
    for message in (posted(b"a"), Response("a")):
        message.stream()
        with pytest.raises(BodyUsed):
            message.stream()


def test_an_absent_body_is_empty_and_never_used() -> None:
    for message in (received(), Response()):
        assert run(message.bytes()) == b""
        assert run(message.text()) == ""
        assert run(collect(message.stream())) == []
        assert not message.body_used
