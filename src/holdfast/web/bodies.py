"""The bodies of requests and responses: absent, bytes, chunks that come one by one, or a file.

Pure: someone else feeds the chunks and reads the file. What `Request` and `Response` have in
common.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from holdfast.errors import BodyUsed
from holdfast.web.files import FileBody
from holdfast.web.host import host_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Body: TypeAlias = bytes | AsyncIterable[str | bytes] | AsyncIterable[bytes] | FileBody | None


class _Message(Protocol):
    """A Request or a Response, to which these functions belong."""

    _body: Body
    _body_used: bool


def checked_body(body: str | bytes | AsyncIterable[str | bytes] | None) -> Body:
    """Return `body` as it is kept, a str encoded.

    Raises:
        TypeError: it cannot be sent.
    """
    if isinstance(body, str):
        return body.encode()
    if body is None or isinstance(body, bytes) or hasattr(body, "__aiter__"):
        return body
    kind = type(body).__qualname__
    if hasattr(body, "__next__"):
        # It would hold up every other request of this process between two chunks.
        raise TypeError(f"a body is not a {kind}; generate it with `async def` and `yield`")
    raise TypeError(f"a body is str, bytes or an async iterable of them, not {kind}")


def take_body(message: _Message) -> Body:
    """Return the body to its one reader.

    Raises:
        BodyUsed: it was taken before; an absent one may be taken often.
    """
    if message._body_used:
        raise BodyUsed
    message._body_used = message._body is not None
    return message._body


async def read_body(message: _Message) -> bytes:
    """Take the body and read it to its end."""
    body = take_body(message)
    if body is None or isinstance(body, bytes):
        return body or b""
    return b"".join([chunk async for chunk in chunks(body)])


async def chunks(body: Body) -> AsyncGenerator[bytes, None]:
    """Read a body chunk by chunk; str is encoded, empty chunks are left out.

    Raises:
        TypeError: a chunk is neither str nor bytes.
        NotInsideHoldfast: it is a file, and there is no host to read it.
    """
    if body is None or isinstance(body, bytes):
        if body:
            yield body
        return
    if isinstance(body, FileBody):
        body = host_for("reading a file").read_file(body)
    iterator = aiter(body)
    try:
        async for chunk in iterator:
            if not isinstance(chunk, str | bytes):
                kind = type(chunk).__qualname__
                raise TypeError(f"a body consists of str and bytes, not {kind}")
            # An empty chunk would end a chunked response.
            if chunk:
                yield chunk.encode() if isinstance(chunk, str) else chunk
    finally:
        # Or a generator that the reader leaves early would clean up only when collected.
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def decode(data: bytes) -> str:
    """Decode as Fetch does ("UTF-8 decode"): without a byte order mark, and never failing."""
    return data.decode("utf-8", "replace").removeprefix("\ufeff")
