"""Private. The locksmith: RFC 6455 and RFC 7692, seen from the server, as a pure codec.

Bytes from a client enter, events leave (`decoder`); messages enter, frames leave (`frames`); the
headers of a request enter, a refusal or a 101 response leaves (`handshake`). No file here knows
a socket, a clock or an event loop, or imports another room.

    frames.py       the events and the encoders: what the codec speaks
    decoder.py      one client's byte stream → events
    inflate.py      the decoder's hand for what comes compressed
    deflate.py      what is agreed about compression, and messages → compressed frames
    closing.py      the closing handshake, as one table
    close_codes.py  all close codes, and who may use which
    handshake.py    the opening handshake
    origin.py       which pages may open a connection

Doors: this room imports none. `keeper`, `hosts` and `direct` come in; `core` and
`supervisor` to `close_codes` only. The one third-party thing in it is the
masking function of `websockets`, in C: XOR in pure Python is 10 times slower on 64 bytes and 100
times on 64 KiB.
"""
