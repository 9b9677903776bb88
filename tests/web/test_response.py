from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from holdfast.core.ports import current_outbox
from holdfast.errors import BodyUsed, NotInsideHoldfast
from holdfast.web.files import FileBody
from holdfast.web.headers import Headers
from holdfast.web.response import Response
from holdfast.web.url import URL
from tests.core.fakes import FakeHost

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


# What is sent


def test_text_is_labelled_and_measured() -> None:
    assert Response("J\xf6rg").raw_headers() == [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"5"),
    ]
    assert Response("J\xf6rg").body == b"J\xc3\xb6rg"


def test_bytes_are_measured_and_not_labelled() -> None:
    # The model differs: there, they are said to be text.
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


@pytest.mark.parametrize(
    ("body", "length", "why"),
    [
        ("ab", None, None),
        ("ab", "2", None),
        ("ab", "02", None),
        ("ab", "3", "Content-Length is 3, and the body has 2 bytes"),
        ("ab", "x", "Content-Length is a number, not 'x'"),
        ("ab", "\N{SUPERSCRIPT TWO}", "Content-Length is a number, not '\N{SUPERSCRIPT TWO}'"),
        (None, "3", None),
        ("", "3", None),
        (None, "-3", "Content-Length is a number, not '-3'"),
    ],
)
def test_wrong_content_length_is_found(
    body: str | None, length: str | None, why: str | None
) -> None:
    headers = {} if length is None else {"Content-Length": length}
    assert Response(body, headers=headers).wrong_length == why


def test_the_length_of_a_stream_is_known_when_it_has_ended() -> None:
    assert Response(chunks(b"a"), headers={"Content-Length": "3"}).wrong_length is None


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


def test_only_bodiless_statuses_have_no_length() -> None:
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
    with pytest.raises(ValueError, match="'x-a' contains a control character"):
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


def test_stream_can_be_sent_only_once() -> None:
    kept, streamed = Response("a"), Response(chunks(b"a"))
    for response in (kept, kept, streamed):
        assert run(collect(response.iter_bytes())) == [b"a"]
    with pytest.raises(BodyUsed):
        streamed.iter_bytes()


def test_a_response_shows_status_and_size() -> None:
    assert repr(Response("abc", status=404)) == "<Response 404, 3 bytes>"
    assert repr(Response(status=204)) == "<Response 204, 0 bytes>"
    assert repr(Response(chunks(b"a"))) == "<Response 200, a stream>"


def test_a_response_may_have_text_bytes_or_json_to_read() -> None:
    assert run(Response("J\xf6rg").text()) == "J\xf6rg"
    assert run(Response(b"\xff").bytes()) == b"\xff"
    assert run(collect(Response(chunks("a", b"b")).stream())) == [b"a", b"b"]
    with pytest.raises(ValueError, match="Expecting"):
        run(Response("{").json())


def test_a_generator_that_would_block_is_refused() -> None:
    with pytest.raises(TypeError, match="async def"):
        Response(part for part in "ab")  # type: ignore[arg-type]


# Copies to hand out


def test_a_copy_with_cookies_leaves_the_original_as_it_was() -> None:
    kept = Response("hi", status=201, headers={"x-a": "1"})
    kept.set_cookie("a", "1")
    copied = kept.with_cookies(["b=2", "c=3"])
    assert copied.status == 201
    assert copied.headers.get_set_cookie()[1:] == ["b=2", "c=3"]
    assert len(kept.headers.get_set_cookie()) == 1
    copied.headers.set("x-a", "2")
    assert kept.headers["x-a"] == "1"


def test_a_copy_can_be_read_though_the_original_was() -> None:
    kept = Response("hi")
    for _ in range(2):
        assert run(kept.with_cookies([]).text()) == "hi"
    assert run(kept.text()) == "hi"
    assert run(kept.with_cookies([]).text()) == "hi"


def test_copy_of_read_stream_is_read() -> None:
    streamed = Response(chunks("a"))
    assert run(streamed.text()) == "a"
    with pytest.raises(BodyUsed):
        run(streamed.with_cookies([]).text())


# Files


def in_host(work: Coroutine[Any, Any, T]) -> T:
    async def listen() -> T:
        current_outbox.set(FakeHost().new_outbox())
        return await work

    return run(listen())


def test_a_file_is_only_named() -> None:
    response = Response.file("page.html")
    assert response.body == FileBody(PurePosixPath("page.html"), None)
    assert response.is_streaming
    assert not response.body_used
    assert response.raw_headers() == [(b"content-type", b"text/html; charset=utf-8")]
    assert repr(response) == "<Response 200, the file 'page.html'>"


def test_a_file_may_have_a_root_a_status_and_headers() -> None:
    path = PurePosixPath("a/b.js")
    response = Response.file(path, root="static", status=404, headers={"x-a": "1"})
    assert response.body == FileBody(path, PurePosixPath("static"))
    assert response.status == 404
    assert response.headers.items() == [
        ("x-a", "1"),
        ("content-type", "text/javascript; charset=utf-8"),
    ]
    typed = Response.file("a", headers={"content-type": "image/png"})
    assert typed.headers == Headers({"content-type": "image/png"})


@pytest.mark.parametrize("status", [204, 304, 101])
def test_a_file_has_a_status_that_goes_with_a_body(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        Response.file("a", status=status)


def test_a_file_can_be_read_inside_holdfast() -> None:
    assert in_host(Response.file("a").text()) == "a"
    assert in_host(Response.file("a").bytes()) == b"a"
    assert in_host(collect(Response.file("a").iter_bytes())) == [b"a"]
    with pytest.raises(FileNotFoundError):
        in_host(Response.file("missing").bytes())
    with pytest.raises(NotInsideHoldfast):
        run(Response.file("a").bytes())


def test_a_subclass_makes_files_of_its_own() -> None:
    class Download(Response):
        pass

    assert type(Download.file("a")) is type(Download("a").with_cookies([])) is Download


def test_a_status_may_be_a_member_of_the_standard_librarys_enumeration() -> None:
    response = Response("hi", status=HTTPStatus.CREATED)
    assert response.status == 201
    assert type(response.status) is int
    assert type(Response.redirect("/", HTTPStatus.SEE_OTHER).status) is int


def test_what_is_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="a page is a str, not int"):
        Response.html(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a redirect goes to a str or a URL, not NoneType"):
        Response.redirect(None)  # type: ignore[arg-type]
    for status in ("200", 200.5, True):
        with pytest.raises(TypeError, match="a status is an int, not"):
            Response("hi", status=status)  # type: ignore[arg-type]
