"""What is agreed on about compression, and what is sent compressed then."""

from __future__ import annotations

import zlib
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.uri import parse_uri

from holdfast.framing.decoder import Decoder
from holdfast.framing.deflate import (
    DEFAULT_THRESHOLD,
    DEFAULT_WINDOW_BITS,
    Agreement,
    encode,
    encode_compressed,
    negotiate,
)
from holdfast.framing.frames import encode_message
from holdfast.framing.handshake import encode_response, websocket_key

NO_TAKEOVER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def offered(*lines: bytes) -> Agreement | None:
    return negotiate([(b"host", b"x"), *((b"sec-websocket-extensions", line) for line in lines)])


# The agreement: which offer is taken.


def test_compression_is_off_unless_the_client_offers_it() -> None:
    assert negotiate([]) is None
    assert offered(b"") is None
    assert offered(b"permessage-bzip2, x-webkit-deflate-frame", b"permessage-deflate2") is None


def test_agreement_forbids_context_takeover() -> None:
    # So an idle connection holds no zlib state. Sections 7.1.1.1 and 7.1.1.2: asked for or not.
    assert offered(b"permessage-deflate") == Agreement(12, NO_TAKEOVER)
    asked = b"permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    assert offered(asked) == Agreement(12, NO_TAKEOVER)


def test_what_chrome_and_firefox_offer_is_accepted() -> None:
    assert offered(b"permessage-deflate; client_max_window_bits") == Agreement(12, NO_TAKEOVER)
    assert offered(b"permessage-deflate") == Agreement(12, NO_TAKEOVER)


@pytest.mark.parametrize("bits", range(9, 16))
def test_the_client_may_lower_the_window_of_the_server(bits: int) -> None:
    agreement = offered(b"permessage-deflate; server_max_window_bits=%d" % bits)
    agreed = min(bits, DEFAULT_WINDOW_BITS)
    assert agreement == Agreement(agreed, NO_TAKEOVER + b"; server_max_window_bits=%d" % agreed)


def test_the_server_may_use_a_window_of_any_size_that_zlib_has() -> None:
    headers = [(b"sec-websocket-extensions", b"permessage-deflate; server_max_window_bits=13")]
    for window_bits in range(9, 16):
        agreement = negotiate(headers, window_bits)
        assert agreement is not None
        assert agreement.server_bits == min(13, window_bits)
        agreement = negotiate([(b"sec-websocket-extensions", b"permessage-deflate")], window_bits)
        assert agreement == Agreement(window_bits, NO_TAKEOVER)


@pytest.mark.parametrize("window_bits", [0, 8, 16])
def test_a_window_that_zlib_does_not_have_is_an_error(window_bits: int) -> None:
    with pytest.raises(ValueError, match=f"a window has 9 to 15 bits, not {window_bits}"):
        negotiate([], window_bits)


@pytest.mark.parametrize("value", [b"", b"=8", b"=9", b"=15", b'="12"'])
def test_agreement_leaves_client_window_out(value: bytes) -> None:
    # Section 7.1.2.2: its absence means that the client may use all 15 bits.
    agreement = offered(b"permessage-deflate; client_max_window_bits" + value)
    assert agreement == Agreement(12, NO_TAKEOVER)


@pytest.mark.parametrize(
    "line",
    [
        b"permessage-deflate;server_max_window_bits=10",
        b" \tpermessage-deflate\t; server_max_window_bits =\t10 ",
        b'permessage-deflate; server_max_window_bits="10"',
        b'permessage-deflate; server_max_window_bits="1\\0"',
        b",, permessage-deflate; server_max_window_bits=10,",
        b'x; y="a, permessage-deflate; \\", b", permessage-deflate; server_max_window_bits=10',
        b"permessage-deflate; server_max_window_bits=10, permessage-deflate",
    ],
)
def test_an_offer_may_be_written_in_several_ways(line: bytes) -> None:
    # RFC 6455 section 9.1
    assert offered(line) == Agreement(10, NO_TAKEOVER + b"; server_max_window_bits=10")


UNACCEPTABLE = [
    b"permessage-deflate; unknown",
    b"permessage-deflate; unknown=1",
    b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; client_max_window_bits; client_max_window_bits=9",
    b"permessage-deflate; server_no_context_takeover=1",
    b'permessage-deflate; client_no_context_takeover=""',
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=8",  # allowed, but zlib cannot
    b"permessage-deflate; server_max_window_bits=7",
    b"permessage-deflate; server_max_window_bits=16",
    b"permessage-deflate; server_max_window_bits=09",
    b"permessage-deflate; server_max_window_bits=+9",
    b"permessage-deflate; server_max_window_bits=",
    b'permessage-deflate; server_max_window_bits=" 9"',
    b"permessage-deflate; client_max_window_bits=7",
    b"permessage-deflate; client_max_window_bits=16",
    b"permessage-deflate; client_max_window_bits=true",
    b"permessage-deflate; Client_max_window_bits",
    b"permessage-deflate; client_max_window_bits 9",
    b"permessage-deflate;",
    b"permessage-deflate;;client_max_window_bits",
    b"permessage-deflate client_max_window_bits",
    b"permessage-deflate=1",
    b"permessage-deflates",
    b"Permessage-Deflate",  # the answer would be another name
]


@pytest.mark.parametrize("line", UNACCEPTABLE)
def test_unacceptable_offer_is_skipped(line: bytes) -> None:
    # Section 7.1: the server declines it. That is no error, and another offer may follow.
    good = b"permessage-deflate; server_max_window_bits=9"
    expected = Agreement(9, NO_TAKEOVER + b"; server_max_window_bits=9")
    assert offered(line) is None
    assert offered(line + b", " + good) == expected
    assert offered(line, good) == expected


def test_offer_with_open_quote_is_none() -> None:
    assert offered(b'other; name="a, permessage-deflate') is None
    assert offered(b'permessage-deflate; server_max_window_bits="9') is None
    assert offered(b'"permessage-deflate\\') is None


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"permessage-deflate", b";", b",", b"=", b'"', b"\\", b" ", b"9"]),
            st.sampled_from([b"server_max_window_bits", b"client_max_window_bits"]),
            st.sampled_from([b"; server_no_context_takeover", b"permessage-deflate; "]),
            st.binary(max_size=3),
        ),
        max_size=12,
    ).map(b"".join)
)
def test_no_header_whatever_is_in_it_raises(line: bytes) -> None:
    agreement = offered(line)
    assert agreement is None or agreement.extensions.startswith(NO_TAKEOVER)


@pytest.mark.parametrize("part", [b'"', b'\\"', b'"\\', b",", b";", b"a ", b'="', b'";'])
def test_a_long_header_takes_no_time_to_speak_of(part: bytes) -> None:
    # Quadratic time would be minutes: a pattern that goes back has no end with these.
    assert offered(b"permessage-deflate; " + part * (200_000 // len(part))) is None


# What is sent.


def reads(frame: bytes, bits: int) -> str | bytes:
    """Return the message as a client with a window of these bits reads it."""
    first, second = frame[0], frame[1]
    payload = frame[{126: 4, 127: 10}.get(second, 2) :]
    assert first & 0xF0 == 0xC0, "one frame, with RSV1 alone"
    stream = zlib.decompressobj(-bits)
    plain = stream.decompress(payload + b"\x00\x00\xff\xff")
    assert not stream.unused_data
    return plain.decode() if first & 0x0F == 1 else plain


def json_like(size: int) -> str:
    random = Random(size)
    items = [{"id": random.randrange(10**6), "name": "somebody"} for _ in range(size // 30 + 1)]
    return str(items)[:size]


def test_a_compressed_message_is_one_final_frame_with_rsv1_set() -> None:
    assert encode_compressed("Hello", 12) == bytes.fromhex("c1 07 f2 48 cd c9 c9 07 00")
    assert encode_compressed(b"Hello", 12) == bytes.fromhex("c2 07 f2 48 cd c9 c9 07 00")


def test_an_empty_message_is_compressed_to_one_byte() -> None:
    # Section 7.2.3.6
    assert encode_compressed("", 12) == bytes.fromhex("c1 01 00")
    assert encode_compressed(b"", 9) == bytes.fromhex("c2 01 00")


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 1 << 20])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_a_compressed_message_of_any_size_is_read_with_the_window_agreed_on(
    size: int, bits: int
) -> None:
    noise = Random(size).randbytes(size)
    assert reads(encode_compressed(noise, bits), bits) == noise
    text = json_like(size)
    assert reads(encode_compressed(text, bits), bits) == text


def test_a_message_is_compressed_from_the_threshold_on() -> None:
    below, at = "a" * (DEFAULT_THRESHOLD - 1), "a" * DEFAULT_THRESHOLD
    assert encode(below, 12) == encode_message(below)
    assert encode(at, 12) == encode_compressed(at, 12)
    assert encode(b"aaaa", 12, threshold=5) == encode_message(b"aaaa")
    assert encode(b"a" * 50, 12, threshold=50) == encode_compressed(b"a" * 50, 12)


def test_the_threshold_is_in_bytes_of_utf8() -> None:
    assert encode("é" * 50, 12, threshold=101) == encode_message("é" * 50)
    assert encode("é" * 50, 12, threshold=100) == encode_compressed("é" * 50, 12)


def test_incompressible_message_is_sent_plain() -> None:
    noise = Random(0).randbytes(1000)
    assert encode(noise, 12) == encode_message(noise)
    assert encode("", 12, threshold=0) == encode_message("")


def test_without_an_agreement_nothing_is_compressed() -> None:
    assert encode("a" * 1000, 0) == encode_message("a" * 1000)


def test_frame_depends_on_message_and_window() -> None:
    # So one call serves all connections that agreed on the same.
    agreements = [
        offered(b"permessage-deflate"),
        offered(b"permessage-deflate; server_max_window_bits=12; client_no_context_takeover"),
        offered(b"permessage-deflate; server_max_window_bits=9"),
        None,
    ]
    bits = [agreement.server_bits if agreement else 0 for agreement in agreements]
    frames = {each: encode(json_like(5000), each) for each in set(bits)}
    assert [reads(frames[each], each) if each else None for each in bits] == [
        json_like(5000), json_like(5000), json_like(5000), None,
    ]  # fmt: skip
    assert len(frames) == 3


def test_the_window_agreed_on_is_not_exceeded() -> None:
    # What repeats after 2,000 bytes is out of sight with 9 bits, which are 512.
    repeated = Random(0).randbytes(2000) * 2
    assert encode(repeated, 9) == encode_message(repeated)
    assert len(encode(repeated, 12)) < 2100


def test_what_cannot_be_encoded_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode("\ud800", 12)
    with pytest.raises(UnicodeEncodeError):
        encode_compressed("\ud800", 12)
    with pytest.raises(ValueError, match="nitialization"):
        encode_compressed("a", 8)


messages = st.one_of(
    st.text(max_size=400),
    st.binary(max_size=400),
    st.builds(
        lambda part, times: part * times, st.text(min_size=1, max_size=20), st.integers(0, 400)
    ),
)


@given(messages, st.integers(9, 15), st.integers(0, 300))
@example("", 9, 0)
def test_compressed_frame_is_readable_and_never_longer(
    message: str | bytes, bits: int, threshold: int
) -> None:
    frame = encode(message, bits, threshold)
    plain = encode_message(message)
    assert len(frame) <= len(plain)
    assert frame == plain or reads(frame, bits) == message
    assert reads(encode_compressed(message, bits), bits) == message


# `websockets` as the other end: its handshake, its compression, its decompression.

client_factories = st.builds(
    ClientPerMessageDeflateFactory,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.one_of(st.none(), st.integers(9, 15)),
    client_max_window_bits=st.one_of(st.none(), st.just(True), st.integers(9, 15)),
)


@given(client_factories, st.integers(9, 15), st.lists(messages, max_size=4), st.data())
def test_websockets_client_interoperates(
    factory: ClientPerMessageDeflateFactory,
    window_bits: int,
    conversation: list[str | bytes],
    data: st.DataObject,
) -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"), extensions=[factory])
    request = client.connect()
    headers = [
        (name.lower().encode(), value.encode()) for name, value in request.headers.raw_items()
    ]
    agreement = negotiate(headers, window_bits)
    assert agreement is not None
    client.send_request(request)
    client.data_to_send()
    client.receive_data(
        encode_response(
            websocket_key(headers), subprotocol=None, headers=[], extensions=agreement.extensions
        )
    )
    assert client.handshake_exc is None
    client.events_received()  # the response

    server = Decoder(max_message=1 << 20, deflates=True)
    for message in conversation:
        if isinstance(message, str):
            client.send_text(message.encode())
        else:
            client.send_binary(message)
        stream = b"".join(client.data_to_send())
        cut = data.draw(st.integers(0, len(stream)))
        assert server.receive(stream[:cut]) + server.receive(stream[cut:]) == [message]
        client.receive_data(encode(message, agreement.server_bits, threshold=0))
        client.receive_data(encode_compressed(message, agreement.server_bits))
        payload = message.encode() if isinstance(message, str) else message
        assert [bytes(event.data) for event in client.events_received()] == [payload, payload]  # type: ignore[union-attr]
    assert server.is_idle
