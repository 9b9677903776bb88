from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from holdfast.core.errors import BodyUsed
from holdfast.core.headers import Headers
from holdfast.core.http import Client, Request, Response
from holdfast.core.url import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Coroutine

T = TypeVar("T")


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
    [(b"{", "Expecting"), (b"[NaN]", "NaN is not JSON"), (b"[" * 200_000, "nested too deeply")],
    ids=["broken", "NaN", "deep"],
)
def test_what_is_not_json_is_a_value_error(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        run(posted(body).json())


@pytest.mark.parametrize("suffix", ["", "; charset=utf-8"])
def test_a_form_is_parsed(suffix: str) -> None:
    request = posted(b"a=1+2&b=%C3%A9&a=3", "application/X-WWW-form-urlencoded" + suffix)
    form = run(request.form())
    assert form.items() == [("a", "1 2"), ("b", "\xe9"), ("a", "3")]


def test_what_is_not_a_form_is_a_type_error_and_stays_readable() -> None:
    request = posted(b"{}", "application/json")
    with pytest.raises(TypeError, match="urlencoded, not application/json"):
        run(request.form())
    assert run(request.json()) == {}


def test_a_body_without_a_type_is_not_a_form() -> None:
    with pytest.raises(TypeError, match="not a body without a type"):
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


def test_leaving_a_stream_early_closes_its_source() -> None:
    async def read_one() -> None:
        source = chunks(b"a", b"b")
        stream = Response(source).iter_bytes()
        assert await anext(stream) == b"a"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(source)

    run(read_one())


def test_a_source_that_cannot_be_closed_needs_not() -> None:
    class Once:
        def __init__(self) -> None:
            self.parts = [b"b", b"a"]

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> bytes:
            if not self.parts:
                raise StopAsyncIteration
            return self.parts.pop()

    assert run(received(body=Once()).bytes()) == b"ab"


# Responses


def test_text_is_labelled_and_measured() -> None:
    assert Response("J\xf6rg").raw_headers() == [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"5"),
    ]
    assert Response("J\xf6rg").body == b"J\xc3\xb6rg"


def test_bytes_are_measured_and_not_labelled() -> None:
    assert Response(b"ab").raw_headers() == [(b"content-length", b"2")]


def test_no_body_has_the_length_0() -> None:
    response = Response()
    assert response.body is None
    assert response.raw_headers() == [(b"content-length", b"0")]


def test_a_stream_is_neither_labelled_nor_measured() -> None:
    response = Response(chunks(b"a", "\xf6", ""))
    assert response.is_streaming
    assert response.raw_headers() == []
    assert run(collect(response.iter_bytes())) == [b"a", b"\xc3\xb6"]


def test_the_callers_headers_win() -> None:
    response = Response("a", headers=[("Content-Type", "text/css"), ("Content-Length", "1")])
    assert response.raw_headers() == [(b"content-type", b"text/css"), (b"content-length", b"1")]


def test_defaults_join_the_callers_headers() -> None:
    assert Response("a", headers={"X-A": "1"}).raw_headers() == [
        (b"x-a", b"1"),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"1"),
    ]


def test_a_body_with_a_transfer_coding_gets_no_length() -> None:
    headers = {"transfer-encoding": "chunked"}
    assert b"content-length" not in dict(Response(b"a", headers=headers).raw_headers())


def test_headers_can_be_changed_afterwards() -> None:
    response = Response("a")
    assert response.headers.items() == [("content-type", "text/plain; charset=utf-8")]
    response.headers.delete("content-type")
    response.headers.set("x-a", "1")
    assert response.raw_headers() == [(b"x-a", b"1"), (b"content-length", b"1")]


def test_asking_for_headers_does_not_change_what_is_sent() -> None:
    response = Response("a")
    sent = response.raw_headers()
    assert response.headers
    assert response.raw_headers() == response.raw_headers() == sent


@pytest.mark.parametrize("status", [199, 600, 101, 0, -1])
def test_a_status_out_of_range_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"from 200 to 599, not {status}"):
        Response(status=status)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_refuses_one(status: int) -> None:
    with pytest.raises(ValueError, match=f"with status {status} cannot have a body"):
        Response("", status=status)


def test_only_statuses_that_end_after_their_headers_have_no_length() -> None:
    assert Response(status=204).raw_headers() == []
    assert Response(status=304, headers={"etag": '"a"'}).raw_headers() == [(b"etag", b'"a"')]
    assert Response(status=205).raw_headers() == [(b"content-length", b"0")]


def test_ok_is_any_200() -> None:
    assert Response().ok
    assert Response(status=299).ok
    assert not Response(status=300).ok


def test_the_status_cannot_be_changed_behind_the_bodys_back() -> None:
    with pytest.raises(AttributeError):
        Response("a").status = 204  # type: ignore[misc]


def test_a_body_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="not list"):
        Response(["a"])  # type: ignore[arg-type]


def test_a_header_that_cannot_be_sent_is_refused_in_the_caller() -> None:
    with pytest.raises(ValueError, match="'x-a' contains CR, LF or NUL"):
        Response("a", headers={"x-a": "1\r\nx-b: 2"})


def test_html_is_labelled() -> None:
    response = Response.html("<p>\xf6", status=404)
    assert response.status == 404
    assert response.body == b"<p>\xc3\xb6"
    assert response.headers.items() == [("content-type", "text/html; charset=utf-8")]


def test_html_may_be_labelled_by_the_caller() -> None:
    response = Response.html("<p>", headers={"content-type": "application/xhtml+xml"})
    assert response.headers.items() == [("content-type", "application/xhtml+xml")]


def test_an_answer_is_200_unless_it_says_otherwise() -> None:
    for response in (Response(), Response.html(""), Response.json({})):
        assert response.status == 200


def test_a_value_can_be_sent_as_json() -> None:
    response = Response.json({"a": ["\xf6", 1]}, status=201, headers={"x-a": "1"})
    assert response.status == 201
    assert response.body == '{"a":["\xf6",1]}'.encode()
    assert response.headers.items() == [("x-a", "1"), ("content-type", "application/json")]


def test_json_has_no_infinity() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        Response.json(float("inf"))


def test_a_response_can_be_read_as_json_under_the_same_name() -> None:
    assert run(Response.json({"a": 1}).json()) == {"a": 1}


def test_a_subclass_makes_responses_of_its_own() -> None:
    class Teapot(Response):
        pass

    assert type(Teapot.json({})) is type(Teapot.html("")) is Teapot


def test_a_redirect_names_its_target() -> None:
    response = Response.redirect(URL("http://a/b"))
    assert (response.status, response.headers["location"]) == (302, "http://a/b")
    assert Response.redirect("/login?next=/a%20b", 303).status == 303


def test_a_redirect_encodes_what_a_url_cannot_have() -> None:
    assert Response.redirect("/\\evil/\xf6 ~").headers["location"] == "/%5Cevil/%C3%B6%20~"


@pytest.mark.parametrize("target", ["/a\r\nSet-Cookie: b=c", "/\0", "/\t/evil"])
def test_a_redirect_to_control_characters_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="contains a control character"):
        Response.redirect(target)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_may_be_of_any_kind(status: int) -> None:
    assert Response.redirect("/", status).status == status


def test_a_redirect_has_a_status_for_it() -> None:
    with pytest.raises(ValueError, match=r"one of .*308.*, not 304"):
        Response.redirect("/", 304)


def test_every_cookie_has_a_field_of_its_own() -> None:
    response = Response()
    response.set_cookie("a", "1 2", http_only=True)
    response.set_cookie("b", "2", path="/x")
    assert response.headers.get_set_cookie() == [
        "a=1%202; Path=/; Secure; HttpOnly; SameSite=Lax",
        "b=2; Path=/x; Secure; SameSite=Lax",
    ]


def test_a_cookie_is_deleted_by_letting_it_expire() -> None:
    response = Response()
    response.delete_cookie("a", path="/x", domain="a.b")
    (field,) = response.headers.get_set_cookie()
    assert field.startswith("a=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; ")
    assert "; Domain=a.b; Path=/x; " in field


def test_a_response_of_bytes_can_be_sent_often_and_a_stream_once() -> None:
    kept, streamed = Response("a"), Response(chunks(b"a"))
    for response in (kept, kept, streamed):
        assert run(collect(response.iter_bytes())) == [b"a"]
    with pytest.raises(BodyUsed):
        streamed.iter_bytes()


def test_a_response_shows_status_and_size() -> None:
    assert repr(Response("abc", status=404)) == "<Response 404, 3 bytes>"
    assert repr(Response(status=204)) == "<Response 204, 0 bytes>"
    assert repr(Response(chunks(b"a"))) == "<Response 200, a stream>"
