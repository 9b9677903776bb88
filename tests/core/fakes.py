"""A host that records what the core asks of it, and coroutines without an event loop.

Everything recorded is a plain tuple, so that a test compares with `==`. Attachments and details
are encoded as in the server (`wire/codec.py`): what survives here survives there.
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from holdfast.core.dispatch import Listener
from holdfast.core.events import WebSocketCloseEvent, WebSocketMessageEvent
from holdfast.core.ports import Found, Metadata
from holdfast.core.request_events import FetchEvent, WebSocketUpgradeEvent
from holdfast.http.forms import parse_multipart
from holdfast.web.request import Request
from holdfast.wire.codec import decode_metadata, decode_plain, encode_plain

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Sequence,
    )
    from typing import Any

    from holdfast.core.dispatch import OnError
    from holdfast.core.events import ExtendableEvent
    from holdfast.core.ports import Outbox
    from holdfast.web.files import FileBody
    from holdfast.web.forms import FormData

__all__ = [
    "URL",
    "FakeHost",
    "FakeOutbox",
    "FakeWaiter",
    "Late",
    "close_event",
    "fetch_event",
    "handshake",
    "listener",
    "message_event",
    "outbox_of",
    "run",
    "suspend",
    "upgrade_event",
]

T = TypeVar("T")

Entry: TypeAlias = tuple[object, ...]

URL = "http://example.org/chat"


class FakeOutbox:
    """`Outbox`: `entries` is what was asked for, in order."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.entries: list[Entry] = []
        self.is_sealed = False

    def send(self, connection: int, data: str | bytes) -> None:
        self.entries.append(("send", connection, data))

    def close(self, connection: int, code: int, reason: str) -> None:
        self.entries.append(("close", connection, code, reason))

    def attach(self, connection: int, attachment: bytes) -> None:
        self.entries.append(("attach", connection, attachment))

    def subscribe(self, connection: int, channel: str) -> None:
        self.entries.append(("subscribe", connection, channel))

    def unsubscribe(self, connection: int, channel: str) -> None:
        self.entries.append(("unsubscribe", connection, channel))

    def publish(self, channel: str, data: str | bytes, poster: int, exclude: int) -> None:
        self.entries.append(("publish", channel, data, poster, exclude))

    def publish_json(self, channel: str, data: str, poster: int, exclude: int) -> None:
        self.entries.append(("publish_json", channel, data, poster, exclude))

    def take(self) -> list[Entry]:
        """Return what was collected, and start again empty."""
        taken, self.entries = self.entries, []
        return taken

    def seal(self) -> list[Entry]:
        """Return what the listeners asked for; what comes from now on leaves at once."""
        taken, self.entries = self.entries, self.host.leaving
        self.is_sealed = True
        return taken


class FakeWaiter:
    """`Waiter`, without an event loop: whoever awaits it is stepped until it is done."""

    def __init__(self) -> None:
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: None, /) -> None:
        assert not self._is_done
        self._is_done = True

    def __await__(self) -> Generator[object, Any, None]:
        while not self._is_done:
            yield self


class FakeHost:
    """`Host`: what is spawned waits for `run_spawned`; the rest is noted in lists.

    `connections` is what `search` and `look_up` find.
    """

    def __init__(self, *, attachment_limit: int = 1024) -> None:
        self.attachment_limit = attachment_limit
        self.is_leaving = False
        self.leaving: list[Entry] = []
        self.commits: list[list[Entry]] = []
        self.flushes: list[list[Entry]] = []
        self.decoded: list[bytes] = []
        self.reports: list[tuple[str, BaseException]] = []
        self.listening: list[str] = []
        self.connections: dict[int, Found] = {}
        self.looked_up: list[list[int]] = []
        self.limits: list[int] = []
        self.spawned: list[Coroutine[Any, Any, None]] = []
        self._last_serial = 0

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawned.append(work)

    def run_spawned(self) -> list[Exception]:
        """Run what was spawned to its end, in order; return what it raised."""
        errors = []
        while self.spawned:
            try:
                run(self.spawned.pop(0))
            except Exception as error:
                errors.append(error)
        return errors

    def new_waiter(self) -> FakeWaiter:
        return FakeWaiter()

    def report(self, what: str, error: BaseException) -> None:
        self.reports.append((what, error))

    def new_serial(self) -> int:
        self._last_serial += 1
        return self._last_serial

    def poster(self, number: int) -> int:
        """For `WireOutbox`, whose hosts share a keeper."""
        return number and 1000 + number

    def connection_id(self, serial: int) -> str:
        return f"id-{serial}"

    def serial(self, connection_id: str) -> int | None:
        name, _, serial = connection_id.partition("id-")
        return int(serial) if not name and serial.isdecimal() else None

    async def search(self, channel: str | None, limit: int) -> list[int]:
        self.limits.append(limit)
        found = [
            serial
            for serial, connection in self.connections.items()
            if channel is None or channel in decode_metadata(connection.about).channels
        ]
        return found[:limit] if limit else found

    async def look_up(self, serials: Sequence[int]) -> list[Found]:
        self.looked_up.append(list(serials))
        return [self.connections[serial] for serial in serials if serial in self.connections]

    def listen(self, channel: str) -> None:
        self.listening.append(channel)

    def unlisten(self, channel: str) -> None:
        self.listening.remove(channel)

    async def parse_multipart(self, content_type: str, body: AsyncIterable[bytes]) -> FormData:
        return await parse_multipart(content_type, body)

    async def read_file(self, file: FileBody) -> AsyncGenerator[bytes, None]:
        """Every file contains its path, but those whose name begins with "missing"."""
        if file.path.name.startswith("missing"):
            raise FileNotFoundError(str(file.path))
        yield str(file.path).encode()

    def about(self, encoded: bytes) -> Metadata:
        self.decoded.append(encoded)
        return decode_metadata(encoded)

    def encode(self, value: object) -> bytes:
        return encode_plain(value)

    def decode(self, encoded: bytes) -> Any:
        self.decoded.append(encoded)
        return decode_plain(encoded)

    async def flush(self, outbox: Outbox) -> None:
        assert isinstance(outbox, FakeOutbox)
        self.flushes.append(outbox.take())

    def new_outbox(self) -> FakeOutbox:
        return FakeOutbox(self)

    def commit(self, outbox: Outbox) -> None:
        assert isinstance(outbox, FakeOutbox)
        self.commits.append(outbox.seal())

    def discard(self, outbox: Outbox) -> None:
        assert isinstance(outbox, FakeOutbox)
        outbox.seal()


@coroutine
def suspend(label: object = None) -> Generator[object, Any, Any]:
    """Wait once: await it in a listener. The driver sees `label`, and its answer comes back."""
    return (yield label)


class Late:
    """Something to await that is no coroutine; it waits once."""

    def __init__(self, result: object = None) -> None:
        self._result = result

    def __await__(self) -> Generator[object, Any, Any]:
        yield None
        return self._result


def run(work: Awaitable[T]) -> T:
    """Step `work` to its end, however often it waits, and return its result."""
    steps = _wait_for(work)
    while True:
        try:
            steps.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def _wait_for(work: Awaitable[T]) -> T:
    return await work


def listener(call: Callable[[Any], object], on_error: OnError = "continue") -> Listener:
    return Listener(call, call, on_error)


def handshake(**headers: str) -> Request:
    """Return a request for a WebSocket, with more header fields if wanted (`_` for `-`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(URL, headers={"upgrade": "websocket", "connection": "Upgrade"} | named)


def fetch_event(request: Request | None = None, *, upgradable: bool = True) -> FetchEvent:
    return FetchEvent(FakeHost().new_outbox(), request or handshake(), upgradable=upgradable)


def upgrade_event(request: Request | None = None) -> WebSocketUpgradeEvent:
    return WebSocketUpgradeEvent(FakeHost().new_outbox(), request or handshake(), upgradable=True)


def message_event(
    host: FakeHost, data: str | bytes = "hello", *, attachment: bytes = b"", attempt: int = 1
) -> WebSocketMessageEvent:
    """Return message 7 of connection 5."""
    about = Metadata(URL, None, frozenset())
    return WebSocketMessageEvent(host.new_outbox(), 5, about, attachment, data, 7, attempt)


def close_event(host: FakeHost, code: int = 1000, reason: str = "") -> WebSocketCloseEvent:
    """Return the close of connection 5, after 7 messages."""
    about = Metadata(URL, None, frozenset())
    return WebSocketCloseEvent(host.new_outbox(), 5, about, b"", code, reason, 8, 1)


def outbox_of(event: ExtendableEvent) -> FakeOutbox:
    # Private to the event; hosts know it because they have made it.
    outbox = event._outbox
    assert isinstance(outbox, FakeOutbox)
    return outbox
