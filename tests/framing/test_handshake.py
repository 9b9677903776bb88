"""Which requests get a WebSocket, and what the 101 response says."""

from __future__ import annotations

import pytest

from holdfast.framing.handshake import (
    Refusal,
    accept_key,
    check_request,
    encode_response,
    is_upgrade_request,
    offered_subprotocols,
    websocket_key,
)

# The example of RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

VALID = {
    b"host": b"server.example.com",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": KEY,
    b"sec-websocket-version": b"13",
}


def headers(without: bytes = b"", **changes: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a valid request, with some changed, added, or left out."""
    changed = VALID | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    return [(name, value) for name, value in changed.items() if name != without]


def refusal_of(request: list[tuple[bytes, bytes]]) -> Refusal:
    refusal = check_request("GET", "1.1", request)
    assert refusal is not None
    return refusal


def test_a_valid_request_is_an_upgrade_request_and_is_not_refused() -> None:
    assert is_upgrade_request(headers())
    assert check_request("GET", "1.1", headers()) is None


def test_upgrade_tokens_match_in_lists_and_any_case() -> None:
    request = headers(upgrade=b"h2c , WebSocket", connection=b"keep-alive,UPGRADE\t")
    assert is_upgrade_request(request)


def test_header_lines_of_the_same_name_count_as_one_list() -> None:
    request = [(b"upgrade", b"h2c"), (b"connection", b"keep-alive"), *headers()]
    assert is_upgrade_request(request)


@pytest.mark.parametrize("missing", [b"upgrade", b"connection"])
def test_a_request_without_upgrade_or_connection_asks_for_no_websocket(missing: bytes) -> None:
    assert not is_upgrade_request(headers(without=missing))


def test_upgrade_tokens_match_whole() -> None:
    assert not is_upgrade_request(headers(upgrade=b"websocket/13"))
    assert not is_upgrade_request(headers(upgrade=b"h2c"))
    assert not is_upgrade_request(headers(connection=b"upgrade-insecure"))
    assert not is_upgrade_request(headers(connection=b"no-upgrade, close"))


def test_other_methods_are_405_with_allow() -> None:
    refusal = check_request("POST", "1.1", headers())
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (405, (("Allow", "GET"),))


@pytest.mark.parametrize("version", ["1.0", "2", "3"])
def test_http_other_than_1_1_is_refused(version: str) -> None:
    refusal = check_request("GET", version, headers())
    assert refusal is not None
    assert refusal.status == 400


@pytest.mark.parametrize(
    "request_headers",
    [
        headers(without=b"sec-websocket-version"),
        headers(sec_websocket_version=b"8"),
        headers(sec_websocket_version=b"8, 13"),
        [(b"sec-websocket-version", b"8"), *headers()],
    ],
)
def test_other_versions_are_426_with_13(
    request_headers: list[tuple[bytes, bytes]],
) -> None:
    # The model differs: there, it is 400, and version 8 is spoken.
    refusal = refusal_of(request_headers)
    assert refusal.status == 426
    assert set(refusal.headers) == {
        ("Sec-WebSocket-Version", "13"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
    }


WRONG_KEYS = [b"", b"dGhlIHNhbXBsZQ==", KEY + b"AAAA", b"dGhlIHNhbXBsZSBub25jZQ=!", KEY[:-2]]


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(key: bytes) -> None:
    assert refusal_of(headers(sec_websocket_key=key)).status == 400


def test_a_missing_key_is_refused() -> None:
    assert refusal_of(headers(without=b"sec-websocket-key")).status == 400


def test_several_keys_are_refused() -> None:
    assert refusal_of([*headers(), (b"sec-websocket-key", KEY)]).status == 400


@pytest.mark.parametrize(
    "body",
    [
        [(b"content-length", b"5")],
        [(b"content-length", b"0"), (b"content-length", b"5")],
        [(b"transfer-encoding", b"chunked")],
    ],
)
def test_a_request_that_announces_a_body_is_refused(body: list[tuple[bytes, bytes]]) -> None:
    assert refusal_of([*headers(), *body]).status == 400


def test_a_request_may_say_that_its_body_is_empty() -> None:
    assert check_request("GET", "1.1", headers(content_length=b"0")) is None


def test_white_space_around_a_value_does_not_count() -> None:
    request = headers(sec_websocket_key=b" " + KEY + b"\t", sec_websocket_version=b"13 ")
    assert check_request("GET", "1.1", request) is None
    assert websocket_key(request) == KEY


def test_a_refusal_says_why_in_one_sentence() -> None:
    reason = refusal_of(headers(sec_websocket_version=b"8")).reason
    assert reason == "Only version 13 of the WebSocket protocol is spoken here."


def test_the_key_of_a_request_that_would_be_refused_is_an_error() -> None:
    with pytest.raises(ValueError, match="no valid Sec-WebSocket-Key"):
        websocket_key(headers(sec_websocket_key=b"short"))


def test_subprotocols_are_offered_in_order_over_several_lines() -> None:
    offers = [(b"sec-websocket-protocol", b"chat, superchat"), (b"sec-websocket-protocol", b"v2")]
    assert offered_subprotocols([*headers(), *offers]) == ["chat", "superchat", "v2"]


def test_no_subprotocol_is_offered_without_the_header() -> None:
    assert offered_subprotocols(headers()) == []


def test_an_offer_that_is_empty_or_no_token_is_left_out() -> None:
    request = headers(sec_websocket_protocol=b"a b,, chat ,caf\xe9,x\r")
    assert offered_subprotocols(request) == ["chat"]


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


def test_response_is_101_with_accept_key() -> None:
    assert encode_response(KEY, subprotocol=None, headers=[]) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
        b"\r\n"
    )


def test_subprotocol_precedes_other_headers() -> None:
    extra = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    response = encode_response(KEY, subprotocol="chat", headers=extra)
    assert response.endswith(
        b"Sec-WebSocket-Protocol: chat\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n"
    )


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b", b"a\r\nx: y"])
def test_a_header_value_that_would_end_its_line_is_an_error(value: bytes) -> None:
    with pytest.raises(ValueError, match="contains a control character"):
        encode_response(KEY, subprotocol=None, headers=[(b"x", value)])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"a\n", b"a\0", b"\xe9"])
def test_a_header_name_that_is_not_a_token_is_an_error(name: bytes) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        encode_response(KEY, subprotocol=None, headers=[(name, b"")])


@pytest.mark.parametrize("subprotocol", ["", "a b", "a\r\nx: y", "é"])
def test_a_subprotocol_that_is_not_a_token_is_an_error(subprotocol: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        encode_response(KEY, subprotocol=subprotocol, headers=[])


@pytest.mark.parametrize("name", [b"Upgrade", b"connection", b"Sec-WebSocket-Protocol"])
def test_a_header_that_belongs_to_the_handshake_is_an_error(name: bytes) -> None:
    with pytest.raises(ValueError, match="belongs to the handshake"):
        encode_response(KEY, subprotocol=None, headers=[(name, b"x")])


def test_extensions_precede_other_headers() -> None:
    response = encode_response(
        KEY, subprotocol="chat", headers=[(b"x-a", b"1")], extensions=b"permessage-deflate; a"
    )
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; a\r\n"
        b"x-a: 1\r\n\r\n"
    )


@pytest.mark.parametrize("extensions", [b"a\r\nx: y", b"a\nb", b"a\0"])
def test_extensions_that_would_end_their_line_are_an_error(extensions: bytes) -> None:
    # CR, LF and NUL are rejected everywhere.
    with pytest.raises(ValueError, match="control character"):
        encode_response(KEY, subprotocol=None, headers=[], extensions=extensions)
