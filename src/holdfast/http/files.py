"""Reads files for responses, and answers the questions a browser has about its copy.

Shell. Opening and reading happen in threads: a disk may take its time. No ranges: whoever serves
videos puts a file server in front.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from threading import Lock
from typing import TYPE_CHECKING

from holdfast.web.files import entity_tag, is_unchanged
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from holdfast.web.files import FileBody
    from holdfast.web.request import Request

log = logging.getLogger("holdfast.worker")

# One turn through a thread costs some 50 µs, as much as reading this from the page cache. nginx
# reads 32 KiB at a time, Node 64 KiB.
CHUNK = 256 * 1024  # bytes

# To a client, what cannot be opened for these reasons is not there. Others are the server's fault.
NOT_THERE = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,  # a socket's name
        errno.EPERM,
    }
)

# What says something of a content that a 304 does not have (RFC 9110 section 15.4.5).
ABOUT_CONTENT = ("content-encoding", "content-language", "content-length", "content-type")


async def read_file(file: FileBody) -> AsyncGenerator[bytes, None]:
    """Yield the file's content (`core/ports.py:Host.read_file`).

    Raises:
        FileNotFoundError: there is no such file, or it lies outside of its root.
        OSError: it could not be read to the end it had when it was opened.
    """
    opened = await asyncio.to_thread(_OpenFile, file)
    async for chunk in opened.read_all():
        yield chunk


async def respond_with_file(response: Response, file: FileBody, request: Request) -> Response:
    """Return what to send for a response whose body is `file`: it, 304, or 404.

    Raises:
        OSError: the file is there, but cannot be read.
    """
    try:
        return await asyncio.to_thread(_respond, response, file, request)
    except FileNotFoundError as error:
        log.info("%s %r: 404, %s", request.method, request.path, error)
        return Response("Not Found", status=404)


def _respond(response: Response, file: FileBody, request: Request) -> Response:
    opened = _OpenFile(file)
    headers = response.headers.copy()
    if not headers.has("etag"):
        headers.append("etag", entity_tag(opened.mtime_ns, opened.size))
    modified = opened.mtime_ns // 1_000_000_000
    if not headers.has("last-modified"):
        headers.append("last-modified", formatdate(modified, usegmt=True))
    is_get = request.method in ("GET", "HEAD")
    # Conditions count only for what would have succeeded (RFC 9110 section 13.2.1).
    if is_get and response.status == 200:
        etag = headers["etag"]
        if is_unchanged(request.headers, etag, modified, _parse_date):
            opened.close()
            for name in ABOUT_CONTENT:
                headers.delete(name)
            return Response(status=304, headers=headers)
    headers.set("content-length", str(opened.size))
    if request.method == "HEAD":
        opened.close()
        return Response(status=response.status, headers=headers)
    if opened.size <= CHUNK:
        # All in one turn through a thread, and no stream to watch.
        content = opened.read(opened.size)
        opened.close()
        return Response(content, status=response.status, headers=headers)
    return Response(opened.read_all(), status=response.status, headers=headers)


class _OpenFile:
    """A regular file that was opened; what it says of it holds for what will be read of it.

    Made, read and closed in threads.

    Raises:
        FileNotFoundError: there is none for a client to see.
    """

    def __init__(self, file: FileBody) -> None:
        try:
            # Closed at the latest when collected: nobody may come to read it.
            self._file = open(_locate(file), "rb", opener=_open)  # noqa: SIM115
        except ValueError as error:
            raise FileNotFoundError(f"{str(file.path)!r} names no file: {error}") from None
        except OSError as error:
            if error.errno in NOT_THERE:
                why = os.strerror(error.errno)
                raise FileNotFoundError(f"cannot open {str(file.path)!r}: {why}") from error
            raise
        self._turn = Lock()
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise FileNotFoundError(f"{str(file.path)!r} is not a file")
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            OSError: there are not as many any more.
        """
        with self._turn:
            data = self._file.read(size)
        if len(data) < size:
            raise OSError("the file became shorter while it was read")
        return data

    def close(self) -> None:
        # Not under a thread that still reads: the descriptor's number may be somebody else's next.
        with self._turn:
            self._file.close()

    async def read_all(self) -> AsyncGenerator[bytes, None]:
        left = self.size
        try:
            while left:
                chunk = await asyncio.to_thread(self.read, min(left, CHUNK))
                left -= len(chunk)
                yield chunk
        finally:
            # In a thread: when this was cancelled, another one may be reading.
            await asyncio.to_thread(self.close)


def _open(path: str, flags: int) -> int:
    # Non-blocking: or opening a pipe would wait for somebody who writes into it.
    return os.open(path, flags | os.O_NONBLOCK)


def _locate(file: FileBody) -> str:
    """Return the path to open.

    Raises:
        FileNotFoundError: it leads out of its root.
        ValueError: it is no path.
    """
    if file.root is None:
        return str(file.path)
    root = os.path.realpath(file.root)
    path = os.path.realpath(file.root / file.path)
    if path != root and not path.startswith(root.rstrip("/") + "/"):
        raise FileNotFoundError(f"{str(file.path)!r} leads out of {str(file.root)!r}")
    return path


def _parse_date(text: str) -> int | None:
    """Return an HTTP date (RFC 9110 section 5.6.7) as seconds since the epoch."""
    try:
        date = parsedate_to_datetime(text)
        # "-0000" is how mail says that nobody knows the zone; HTTP knows only one.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None
