"""RFC 6455 and RFC 7692 as a pure codec, seen from the server.

Bytes from a client become events (`decoder`), messages become frames (`frames`), the headers of a
request become a refusal or a 101 response (`handshake`). No file here knows a socket, a clock or an
event loop.

    frames.py      the events and the encoders
    close_codes.py all close codes, and who may use which
    closing.py     the closing handshake of one connection
    decoder.py     one client's byte stream → events
    inflate.py     the part of the decoder that reads compressed messages
    deflate.py     the agreement on compression, and messages → compressed frames
    handshake.py   the opening handshake
    origin.py      which pages may open a connection

The one third-party import is the masking function of `websockets`, in C: XOR in pure Python is 10
times slower on 64 bytes and 100 times on 64 KiB.
"""
