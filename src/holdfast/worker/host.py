"""What the core asks of a worker: `core/ports.py:Host`, over the link to the keeper.

Shell. Private.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.core.attachment import DEFAULT_LIMIT
from holdfast.core.channels import channels
from holdfast.core.ports import Found
from holdfast.http.files import read_file
from holdfast.http.forms import parse_multipart
from holdfast.wire import messages as wire
from holdfast.wire.codec import decode_metadata, decode_plain, encode_plain
from holdfast.wire.identity import ConnectionIds
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Coroutine, Sequence
    from typing import Any

    from holdfast.core.ports import Metadata, Outbox
    from holdfast.web.files import FileBody
    from holdfast.web.forms import FormData
    from holdfast.worker.stream_link import Link

log = logging.getLogger("holdfast.worker")

# A serial is the worker's number, never used again by this supervisor, and a counter.
COUNTER_BITS = 32


class WorkerHost:
    """The core's host in a worker process.

    Args:
        worker: the number that the supervisor gave this worker, and never gives again.
        shares_channels: whether other workers are in this process, with the same channel objects.
    """

    def __init__(
        self,
        worker: int,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        *,
        shares_channels: bool = False,
    ) -> None:
        self._link = link
        self._loop = loop
        self._next_serial = worker << COUNTER_BITS
        # Channel objects have numbers that only their process knows.
        self._first_poster = 0 if shares_channels else worker << COUNTER_BITS
        self._ids: ConnectionIds | None = None
        self._works: set[asyncio.Task[None]] = set()
        self._ended = 0
        self._queries: dict[int, asyncio.Future[Any]] = {}
        self._last_query = 0
        self.leaving: list[wire.Action] = _Leaving(link)
        self.attachment_limit = DEFAULT_LIMIT
        self.is_leaving = False
        self._is_attached = False
        self._has_keeper = False
        self._receivers: dict[type[wire.ToWorker], Callable[[Any], None]] = {
            wire.PublishText: self._deliver,
            wire.PublishBinary: self._deliver,
            wire.PublishJson: self._deliver,
            wire.PublicationsLost: lambda message: channels.lose(self, message.count),
            wire.SearchResult: lambda message: self._answer(message.query, message.serials),
            wire.LookUpResult: lambda message: self._answer(message.query, message.found),
        }

    def receive(self, message: wire.ToWorker) -> None:
        """Take what the keeper says to the host: publications, and answers to its questions."""
        self._receivers[type(message)](message)

    def be_named(self, node: bytes, key: bytes) -> None:
        """The keeper has said what its connection ids are made of: events may come."""
        self._ids = ConnectionIds(node, key)
        self._has_keeper = True

    def attach(self) -> None:
        """Hear publications from now on; the keeper is told on which channels."""
        self.detach()
        self._is_attached = True
        channels.attach(self)

    def keeper_lost(self) -> None:
        """Nobody answers any more; there are no connections left to ask for."""
        self._has_keeper = False
        queries, self._queries = self._queries, {}
        for waiter in queries.values():
            if not waiter.done():
                waiter.set_result([])

    def leave(self) -> None:
        """Take nothing new: what has no end by itself, as a stream of a channel, ends."""
        self.is_leaving = True
        channels.host_leaves()

    def detach(self) -> None:
        """Hear no more publications; told again, it changes nothing."""
        if self._is_attached:
            self._is_attached = False
            channels.detach(self)

    # --- core/ports.py --------------------------------------------------------------------------

    def new_waiter(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def report(self, what: str, error: BaseException) -> None:
        log.error("%s raised %s", what, type(error).__name__, exc_info=error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        # The loop itself keeps only weak references to tasks.
        self._works.add(task)
        task.add_done_callback(self._forget)

    def new_serial(self) -> int:
        self._next_serial += 1
        return self._next_serial

    def connection_id(self, serial: int) -> str:
        assert self._ids is not None  # No event is dispatched before the keeper's welcome.
        return self._ids.encode(serial)

    def serial(self, connection_id: str) -> int | None:
        assert self._ids is not None
        return self._ids.decode(connection_id)

    def poster(self, number: int) -> int:
        return self._first_poster + number if number else 0

    def about(self, encoded: bytes) -> Metadata:
        return decode_metadata(encoded)

    encode = staticmethod(encode_plain)
    decode = staticmethod(decode_plain)

    async def flush(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        if outbox.actions:
            self._link.send(wire.Act(outbox.take()))
        await self._link.drain()

    async def search(self, channel: str | None, limit: int) -> list[int]:
        query, answer = self._new_query()
        self._link.send(wire.Search(query, channel, limit))
        serials: list[int] = await answer
        return serials

    async def look_up(self, serials: Sequence[int]) -> list[Found]:
        query, answer = self._new_query()
        self._link.send(wire.LookUp(query, list(serials)))
        return [Found(*found) for found in await answer]

    def listen(self, channel: str) -> None:
        self._link.send(wire.Listen(channel))
        # Before anybody can be told that it listens, and posts something.
        self._link.flush()

    def unlisten(self, channel: str) -> None:
        self._link.send(wire.Unlisten(channel))

    def parse_multipart(self, content_type: str, body: AsyncIterable[bytes]) -> Awaitable[FormData]:
        return parse_multipart(content_type, body)

    def read_file(self, file: FileBody) -> AsyncIterable[bytes]:
        return read_file(file)

    def new_outbox(self) -> WireOutbox:
        return WireOutbox(self)

    def commit(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        actions = outbox.seal(self.leaving)
        if actions:
            self._link.send(wire.Act(actions))

    def discard(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        outbox.seal(self.leaving)

    # --- for the worker -------------------------------------------------------------------------

    @property
    def handled(self) -> int:
        """Works that have ended."""
        return self._ended

    @property
    def works(self) -> Collection[asyncio.Task[None]]:
        """The tasks of what was passed to `wait_until` and is pending."""
        return self._works

    @property
    def is_idle(self) -> bool:
        """True while nothing that was passed to `wait_until` is pending."""
        return not self._works

    async def finish_works(self) -> None:
        """Return when everything passed to `wait_until` has ended."""
        while self._works:
            await asyncio.wait(self._works)

    def cancel_works(self) -> None:
        """Have everything passed to `wait_until` end now."""
        for work in self._works:
            work.cancel()

    def _new_query(self) -> tuple[int, asyncio.Future[Any]]:
        self._last_query += 1
        answer = self._loop.create_future()
        if self._has_keeper:
            self._queries[self._last_query] = answer
        else:
            answer.set_result([])
        return self._last_query, answer

    def _answer(self, query: int, answer: object) -> None:
        waiter = self._queries.pop(query, None)
        # Whoever asked may have been cancelled since.
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _deliver(self, message: wire.Publish) -> None:
        poster = message.poster - self._first_poster
        is_json = type(message) is wire.PublishJson
        channels.deliver(self, message.channel, message.data, poster, is_json=is_json)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._works.discard(task)
        self._ended += 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report("work passed to wait_until", error)


class _Leaving(list["wire.Action"]):
    """Actions outside an event: each leaves with this turn of the loop."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def append(self, action: wire.Action) -> None:
        self._link.send(wire.Act([action]))
