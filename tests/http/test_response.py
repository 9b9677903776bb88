"""The head and the framing of a response (RFC 9110, RFC 9112)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.response import Framing, ResponseEncoder

LENGTH = (b"content-length", b"5")


def response(method: str = "GET", version: str = "1.1", *, closes: bool = False) -> ResponseEncoder:
    return ResponseEncoder(method, version, closes=closes)


def lines(head: bytes) -> list[bytes]:
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


# --- the head


def test_a_head_is_status_then_fields() -> None:
    head = response().start(200, [(b"A", b"b"), LENGTH, (b"a", b"c")], b"date: today\r\n")
    assert head == (b"HTTP/1.1 200 OK\r\ndate: today\r\na: b\r\ncontent-length: 5\r\na: c\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (204, b"HTTP/1.1 204 No Content"),
        (413, b"HTTP/1.1 413 Content Too Large"),
        # RFC 9112 section 4: the phrase may be empty, the space before it is there.
        (299, b"HTTP/1.1 299 "),
        (599, b"HTTP/1.1 599 "),
    ],
)
def test_a_status_has_its_phrase(status: int, line: bytes) -> None:
    assert lines(response().start(status, []))[0] == line


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000])
def test_an_interim_status_is_no_response(status: int) -> None:
    encoder = response()
    with pytest.raises(RuntimeError, match=f"not {status}"):
        encoder.start(status, [])
    assert encoder.framing is None


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xff", b"a\0", b"(a)", b"a\n"])
def test_a_field_name_is_a_token(name: bytes) -> None:
    with pytest.raises(RuntimeError, match="not the name of a header field"):
        response().start(200, [(name, b"x")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\n", b"\r", b"\0", b"\x7f", b"\x1b"])
def test_a_field_value_has_no_controls(value: bytes) -> None:
    for fields in ([(b"a", value)], [(b"b", b"c"), (b"a", value), (b"d", b"")]):
        encoder = response()
        with pytest.raises(RuntimeError, match="control character"):
            encoder.start(200, fields)
        assert encoder.framing is None


def test_a_field_value_may_have_tabs() -> None:
    head = response().start(200, [(b"a", b"b\tc \xff")])
    assert b"\r\na: b\tc \xff\r\n" in head


@given(st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=4))
def test_whatever_the_fields_lines_stay_lines(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        head = response().start(200, fields)
    except RuntimeError:
        return
    sent = [each for each in fields if each[0].lower() != b"transfer-encoding"]
    expected = [b"%b: %b" % (name.lower(), value) for name, value in sent]
    assert lines(head)[1 : 1 + len(sent)] == expected


# --- the end of the connection


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close", b"close ,x"])
def test_connection_close_of_the_application_closes(value: bytes) -> None:
    encoder = response()
    head = encoder.start(200, [LENGTH, (b"connection", value)])
    assert encoder.closes
    assert head.count(b"connection: ") == 1


@pytest.mark.parametrize("value", [b"keep-alive", b"closed", b""])
def test_other_connection_options_do_not_close(value: bytes) -> None:
    encoder = response()
    encoder.start(200, [LENGTH, (b"connection", value)])
    assert not encoder.closes


def test_a_last_response_says_close() -> None:
    # RFC 9112 section 9.6.
    for fields in ([LENGTH], [LENGTH, (b"connection", b"keep-alive")]):
        assert b"\r\nconnection: close\r\n" in response(closes=True).start(200, fields)


# --- framing (RFC 9112 section 6)


@pytest.mark.parametrize(
    ("method", "version", "status", "fields", "framing"),
    [
        ("GET", "1.1", 200, [LENGTH], Framing.LENGTH),
        ("GET", "1.0", 200, [LENGTH], Framing.LENGTH),
        ("GET", "1.1", 200, [], Framing.CHUNKED),
        ("GET", "1.0", 200, [], Framing.CLOSE),
        ("HEAD", "1.1", 200, [], Framing.NONE),
        ("HEAD", "1.1", 200, [LENGTH], Framing.NONE),
        ("GET", "1.1", 204, [], Framing.NONE),
        ("GET", "1.1", 304, [LENGTH], Framing.NONE),
        ("GET", "1.1", 205, [(b"content-length", b"0")], Framing.LENGTH),
    ],
)
def test_framing_follows_request_and_response(
    method: str,
    version: str,
    status: int,
    fields: list[tuple[bytes, bytes]],
    framing: Framing,
) -> None:
    encoder = response(method, version)
    head = encoder.start(status, fields)
    assert encoder.framing is framing
    assert (b"\r\ntransfer-encoding: chunked\r\n" in head) == (framing is Framing.CHUNKED)
    assert encoder.closes == (framing is Framing.CLOSE)


def test_the_transfer_coding_is_the_servers() -> None:
    # ASGI: an application's is ignored.
    for coding in (b"chunked", b"gzip", b"identity"):
        head = response().start(200, [(b"transfer-encoding", coding)])
        assert head.count(b"transfer-encoding: ") == head.count(b"chunked") == 1
        assert b"transfer-encoding" not in response().start(
            200, [(b"Transfer-Encoding", coding), LENGTH]
        )


def test_no_content_has_no_length() -> None:
    # RFC 9110 section 8.6. Not so 304, which says what 200 would have.
    assert b"content-length" not in response().start(204, [LENGTH])
    assert b"content-length: 5\r\n" in response().start(304, [LENGTH])


@pytest.mark.parametrize("lengths", [[b""], [b"x"], [b"-1"], [b"5 5"], [b"5", b"6"]])
def test_a_length_is_one_number(lengths: list[bytes]) -> None:
    with pytest.raises(RuntimeError, match="Content-Length"):
        response().start(200, [(b"content-length", each) for each in lengths])


# --- the body


def test_a_body_may_come_in_parts() -> None:
    encoder = response()
    encoder.start(200, [LENGTH])
    assert (encoder.go_on(b"he", more=True), encoder.is_complete) == (b"he", False)
    assert (encoder.go_on(b"llo", more=True), encoder.is_complete) == (b"llo", False)
    assert (encoder.go_on(b"", more=False), encoder.is_complete) == (b"", True)


def test_chunks_end_with_an_empty_one() -> None:
    encoder = response()
    encoder.start(200, [])
    assert encoder.go_on(b"hello, world 1234", more=True) == b"11\r\nhello, world 1234\r\n"
    # Else it would be the last one.
    assert encoder.go_on(b"", more=True) == b""
    assert encoder.go_on(b"x", more=False) == b"1\r\nx\r\n0\r\n\r\n"
    assert encoder.is_complete


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_where_no_body_may_be_none_is_sent(method: str, status: int) -> None:
    encoder = response(method)
    encoder.start(status, [LENGTH])
    assert encoder.go_on(b"hello", more=True) == b""
    assert encoder.go_on(b"and more", more=False) == b""
    assert encoder.is_complete


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [(b"", b"hello!", "longer"), (b"hel", b"lo!", "longer"), (b"hel", b"l", "shorter")],
)
def test_a_body_is_as_long_as_said(first: bytes, last: bytes, word: str) -> None:
    encoder = response()
    encoder.start(200, [LENGTH])
    encoder.go_on(first, more=True)
    with pytest.raises(RuntimeError, match=word):
        encoder.go_on(last, more=False)
    assert not encoder.is_complete


def test_without_chunks_bytes_go_as_they_are() -> None:
    encoder = response(version="1.0")
    encoder.start(200, [])
    assert encoder.go_on(b"he", more=True) + encoder.go_on(b"llo", more=False) == b"hello"
