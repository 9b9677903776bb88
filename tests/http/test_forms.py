from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.forms import MAX_HEADER, MAX_HEADERS, parse_multipart
from holdfast.web.forms import MAX_FIELDS, File

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.web.forms import FormData

TYPE = "multipart/form-data; boundary=XX"

# As Firefox writes it.
BROWSER = (
    b"-----------------------------9051914041544843365972754266\r\n"
    b'Content-Disposition: form-data; name="text"\r\n'
    b"\r\n"
    b"text default\r\n"
    b"-----------------------------9051914041544843365972754266\r\n"
    b'Content-Disposition: form-data; name="file"; filename="a.html"\r\n'
    b"Content-Type: text/html\r\n"
    b"\r\n"
    b"<!DOCTYPE html>\r\n\r\n"
    b"-----------------------------9051914041544843365972754266\r\n"
    b'Content-Disposition: form-data; name="none"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n"
    b"\r\n"
    b"\r\n"
    b"-----------------------------9051914041544843365972754266--\r\n"
)
BROWSER_TYPE = (
    "multipart/form-data; boundary=---------------------------9051914041544843365972754266"
)


def part(headers: str, data: bytes = b"") -> bytes:
    return b"--XX\r\n" + headers.replace("\n", "\r\n").encode() + b"\r\n\r\n" + data + b"\r\n"


def field(name: str, data: bytes = b"") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', data)


def parse(body: bytes, content_type: str = TYPE, *, size: int = 1 << 20) -> FormData:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(parse_multipart(content_type, chunks()))


def content(file: object) -> tuple[str, str, bytes]:
    assert isinstance(file, File)
    return file.name, file.type, asyncio.run(file.bytes())


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_multipart_parses_in_any_chunks(size: int) -> None:
    form = parse(BROWSER, BROWSER_TYPE, size=size)
    assert form.keys() == ["text", "file", "none"]
    assert form["text"] == "text default"
    assert content(form["file"]) == ("a.html", "text/html", b"<!DOCTYPE html>\r\n")
    assert content(form["none"]) == ("", "application/octet-stream", b"")


def test_fields_of_one_name_keep_their_order() -> None:
    form = parse(field("a", b"1") + field("b", b"2") + field("a", b"3") + b"--XX--")
    assert form.items() == [("a", "1"), ("b", "2"), ("a", "3")]


def test_a_form_without_fields_is_empty() -> None:
    assert parse(b"--XX--\r\n").items() == []


def test_text_and_names_are_utf_8() -> None:
    form = parse(field("n\xe4me", "v\xe4lue \xff".encode() + b"\xff") + b"--XX--")
    assert form.items() == [("n\xe4me", "v\xe4lue \xff\ufffd")]


def test_what_would_have_ended_a_name_is_unescaped() -> None:
    head = 'Content-Disposition: form-data; name="a%22b"; filename="c%0Ad\\"e.txt"'
    form = parse(part(head, b"x") + b"--XX--")
    assert form.keys() == ['a"b']
    assert content(form['a"b']) == ('c\nd"e.txt', "text/plain", b"x")


def test_a_file_name_is_left_as_the_client_gave_it() -> None:
    head = 'Content-Disposition: form-data; name="a"; filename="../../etc/passwd"'
    assert content(parse(part(head) + b"--XX--")["a"])[0] == "../../etc/passwd"


def test_the_boundary_may_be_quoted_and_names_are_case_insensitive() -> None:
    body = part('CONTENT-DISPOSITION: Form-Data; Name="a"', b"x") + b"--XX--"
    assert parse(body, 'Multipart/Form-Data; charset=utf-8; Boundary="XX"')["a"] == "x"


def test_boundary_lookalike_is_content() -> None:
    data = b"--XX\r\n\r\n--X\r\n--YY--\r--XX"
    assert parse(field("a", data[4:]) + b"--XX--")["a"] == data[4:].decode()


def test_what_comes_after_the_form_is_ignored() -> None:
    assert parse(field("a", b"x") + b"--XX--\r\nepilogue\r\n--XX\r\n")["a"] == "x"


@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(1, 40)), max_size=5))
def test_every_content_comes_back(parts: list[tuple[bytes, int]]) -> None:
    boundary = "=_a boundary that no content has_="
    disposition = 'Content-Disposition: form-data; name="{}"; filename="f"'
    body = b"".join(
        part(disposition.format(index), data).replace(b"--XX", f"--{boundary}".encode(), 1)
        for index, (data, _) in enumerate(parts)
    )
    size = parts[0][1] if parts else 1
    form = parse(
        body + f"--{boundary}--".encode(), f'{TYPE[:20]}; boundary="{boundary}"', size=size
    )
    assert [content(file)[2] for _, file in form.items()] == [data for data, _ in parts]


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"--XX--", "multipart/form-data", "names no boundary"),
        (b"--XX--", "multipart/form-data; boundary=", "names no boundary"),
        (b"--XX--", f"multipart/form-data; boundary={'x' * 257}", "Boundary length 257"),
        (b"", TYPE, "ends too early"),
        (field("a", b"x"), TYPE, "ends too early"),
        (field("a", b"x") + b"--XX", TYPE, "ends too early"),
        (b"a=1&b=2", TYPE, "Expected boundary"),
        (part("Content-Type: text/plain", b"x"), TYPE, "no Content-Disposition"),
        (part('Content-Disposition: form-data; filename="x"'), TYPE, "no Content-Disposition"),
        (part('Content-Disposition: attachment; name="x"'), TYPE, "no Content-Disposition"),
        (part("a b: c"), TYPE, "invalid character"),
        (b"--XX\r\nx: " + b"y" * MAX_HEADER, TYPE, "Maximum header size"),
        (part("\n".join(f"x{n}: y" for n in range(MAX_HEADERS + 1))), TYPE, "header count"),
    ],
)
def test_invalid_form_is_value_error_without_log(
    body: bytes, content_type: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match=reason):
        parse(body, content_type)
    assert caplog.records == []


def test_a_form_has_at_most_a_thousand_fields() -> None:
    most = field("a") * MAX_FIELDS
    assert len(parse(most + b"--XX--").items()) == MAX_FIELDS == 1000
    with pytest.raises(ValueError, match="more than 1000 fields"):
        parse(most + field("a") + b"--XX--")
