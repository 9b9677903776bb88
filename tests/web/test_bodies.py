from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from holdfast.core.ports import current_outbox
from holdfast.errors import BodyUsed, NotInsideHoldfast
from holdfast.web.bodies import checked_body, chunks, decode, read_body, take_body
from holdfast.web.files import FileBody
from tests.core.fakes import FakeHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Coroutine

    from holdfast.web.bodies import Body

T = TypeVar("T")

FILE = FileBody(PurePosixPath("a/b"), None)


class Message:
    def __init__(self, body: Body) -> None:
        self._body = body
        self._body_used = False


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def collect(stream: AsyncIterable[T]) -> list[T]:
    return [chunk async for chunk in stream]


async def source(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


# -- what may be a body


def test_body_text_is_kept_encoded() -> None:
    stream = source()
    assert checked_body("J\xf6rg") == b"J\xc3\xb6rg"
    assert checked_body(b"ab") == b"ab"
    assert checked_body(stream) is stream
    assert checked_body(None) is None


@pytest.mark.parametrize("body", [["a"], {"a": 1}, 5, bytearray(b"a"), object()])
def test_what_cannot_be_sent_is_no_body(body: Any) -> None:
    kind = type(body).__name__
    with pytest.raises(TypeError, match=f"str, bytes or an async iterable of them, not {kind}$"):
        checked_body(body)


def test_a_generator_that_would_block_is_no_body() -> None:
    for body in ((part for part in "ab"), iter(["a"])):
        with pytest.raises(TypeError, match="generate it with `async def` and `yield`"):
            checked_body(body)  # type: ignore[arg-type]


# -- taking and reading


def test_a_body_is_taken_once() -> None:
    message = Message(b"a")
    assert take_body(message) == b"a"
    with pytest.raises(BodyUsed):
        take_body(message)


def test_an_absent_body_is_taken_as_often_as_wanted() -> None:
    message = Message(None)
    assert take_body(message) is take_body(message) is None
    assert run(read_body(message)) == b""


def test_a_body_is_read_whole_whatever_it_is_made_of() -> None:
    assert run(read_body(Message(b"ab"))) == b"ab"
    assert run(read_body(Message(b""))) == b""
    assert run(read_body(Message(source(b"a", "", "\xf6", b"")))) == b"a\xc3\xb6"


def test_chunks_are_bytes_and_never_empty() -> None:
    assert run(collect(chunks(source(b"a", "", "\xf6", b"")))) == [b"a", b"\xc3\xb6"]
    assert run(collect(chunks(b"ab"))) == [b"ab"]
    assert run(collect(chunks(b""))) == run(collect(chunks(None))) == []


@pytest.mark.parametrize("chunk", [5, None, bytearray(b"a"), ["a"]])
def test_a_chunk_that_cannot_be_sent_is_an_error(chunk: object) -> None:
    kind = type(chunk).__name__
    with pytest.raises(TypeError, match=f"consists of str and bytes, not {kind}$"):
        run(collect(chunks(source(b"a", chunk))))


def test_leaving_a_stream_early_closes_its_source() -> None:
    async def read_one() -> None:
        parts = source(b"a", b"b")
        stream = chunks(parts)
        assert await anext(stream) == b"a"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(parts)

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

    assert run(read_body(Message(Once()))) == b"ab"


def test_text_is_decoded_without_failing_and_without_a_mark() -> None:
    assert decode("\ufeffJ\xf6rg".encode()) == "J\xf6rg"
    assert decode(b"J\xf6rg") == "J\ufffdrg"


# -- what needs a host


def test_a_file_is_read_by_the_host() -> None:
    async def read() -> bytes:
        current_outbox.set(FakeHost().new_outbox())
        return await read_body(Message(FILE))

    assert run(read()) == b"a/b"


def test_a_file_is_not_read_where_nothing_runs() -> None:
    with pytest.raises(NotInsideHoldfast, match=r"^reading a file needs a running holdfast"):
        run(read_body(Message(FILE)))
