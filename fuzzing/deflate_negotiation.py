"""`framing/deflate.py`: offers of permessage-deflate, and what comes of them.

What must hold:

- nothing raises, whatever the headers;
- the answer is a proper one, goes into a 101, and promises nothing that was not asked for;
- another implementation accepts the answer to its own offer, and reads what is compressed then;
- what we compress, we read.
"""

from __future__ import annotations

import re

from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from fuzzing.choices import Choices
from holdfast.framing.decoder import Decoder
from holdfast.framing.deflate import Agreement, encode, encode_compressed, negotiate
from holdfast.framing.handshake import encode_response

__all__ = ["fuzz"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HEADER = b"sec-websocket-extensions"
PARTS = (
    b"permessage-deflate", b"server_no_context_takeover", b"client_no_context_takeover",
    b"server_max_window_bits", b"client_max_window_bits", b"8", b"9", b"12", b"15", b"16", b"08",
    b'"10"', b'"1\\0"', b'"', b"\\", b"x-webkit-deflate-frame", b"\t", b" ", b"foo",
)  # fmt: skip
JOINTS = (b"; ", b"=", b", ", b";", b",", b"", b" ", b" = ")
ANSWER = re.compile(
    rb"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    rb"(?:; server_max_window_bits=(?P<bits>9|1[0-5]))?"
)


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    largest = 9 + choices.number(7)
    if choices.flag():
        agree_with_another(choices, largest)
        return
    headers = [offer(choices) for _ in range(choices.number(4))]
    agreement = negotiate(headers, largest)
    if agreement is not None:
        check(agreement, headers, largest)
        send(choices, agreement)


def offer(choices: Choices) -> tuple[bytes, bytes]:
    value = b""
    for _ in range(choices.number(24)):
        part = choices.chunk() if choices.number(16) == 15 else choices.pick(PARTS)
        value += part + choices.pick(JOINTS)
    return (HEADER if choices.number(16) else choices.chunk(), value)


def check(agreement: Agreement, headers: list[tuple[bytes, bytes]], largest: int) -> None:
    answer = ANSWER.fullmatch(agreement.extensions)
    assert answer is not None, agreement
    assert 9 <= agreement.server_bits <= largest, agreement
    offers = b",".join(value for name, value in headers if name == HEADER)
    assert b"permessage-deflate" in offers, headers
    if answer["bits"] is not None:
        assert int(answer["bits"]) == agreement.server_bits, agreement
        assert b"server_max_window_bits" in offers, headers
    head = encode_response(KEY, subprotocol=None, headers=[], extensions=agreement.extensions)
    assert head.count(b"\r\n") == 6, head


def send(choices: Choices, agreement: Agreement) -> None:
    message = choices.text() if choices.flag() else choices.chunk()
    message *= 1 + choices.byte()
    for frame in (
        encode(message, agreement.server_bits, choices.byte()),
        encode_compressed(message, agreement.server_bits),
    ):
        decoder = Decoder(max_message=len(message) * 4 + 64, deflates=True)
        assert decoder.receive(masked(frame)) == [message], (message, frame)
        assert decoder.is_idle


def agree_with_another(choices: Choices, largest: int) -> None:
    """Play a client that is `websockets`, which has an implementation of its own."""
    server_bits = choices.pick((None, 9, 10, 12, 15))
    client_bits = choices.pick((None, True, 9, 11, 15))
    client = ClientPerMessageDeflateFactory(
        choices.flag(), choices.flag(), server_bits, client_bits
    )
    wanted = build_extension([(client.name, client.get_request_params())])
    agreement = negotiate([(HEADER, wanted.encode())], largest)
    assert agreement is not None, wanted
    ((name, parameters),) = parse_extension(agreement.extensions.decode())
    assert name == client.name
    try:
        extension = client.process_response_params(parameters, [])
    except NegotiationError as error:
        raise AssertionError(f"{wanted} → {agreement}") from error
    message = choices.text() * (1 + choices.byte())
    frame = encode_compressed(message, agreement.server_bits)
    for _ in range(2):  # the second time shows what was left behind
        received = Frame(Opcode.TEXT, payload_of(frame), rsv1=True)
        assert bytes(extension.decode(received).data) == message.encode(), (wanted, agreement)
    # And the other way round.
    sent = Frame(Opcode.TEXT, message.encode()).serialize(mask=True, extensions=[extension])
    decoder = Decoder(max_message=len(message) * 4 + 64, deflates=True)
    assert decoder.receive(sent) == [message], (wanted, agreement, sent)


def payload_of(frame: bytes) -> bytes:
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def masked(frame: bytes) -> bytes:
    """Turn a server's frame into a client's, with a mask that changes nothing."""
    payload = payload_of(frame)
    head = bytearray(frame[: len(frame) - len(payload)])
    head[1] |= 0x80
    return bytes(head) + b"\0\0\0\0" + payload
