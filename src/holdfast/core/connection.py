"""The handle on a connection that a listener holds.

Pure. A handle keeps nothing alive: the connection itself lives in the keeper. What is asked of a
handle goes into the outbox of its event, or leaves at once when that event has settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.attachment import SCALARS, Attachment
from holdfast.core.ports import Metadata
from holdfast.framing.close_codes import may_be_chosen
from holdfast.web.json import to_json

if TYPE_CHECKING:
    from typing import Any

    from holdfast.core.ports import Outbox

# Stands for an attachment that was not decoded; of a type that cannot change in place.
UNOPENED = type("Unopened", (), {"__slots__": ()})()
UNCHANGEABLE = SCALARS | {type(UNOPENED)}

# RFC 6455 section 5.5: a control frame carries 125 bytes, two of them are the code.
MAX_REASON = 123  # bytes in UTF-8


class Connection:
    """A WebSocket connection (RFC 6455), named by its `id`.

    Get one from `event.accept()`, `event.upgrade_websocket()`, `event.source` or `app.clients`. All
    methods are plain calls: nothing is awaited, nothing is sent before the event commits. After
    `close()`, and after the connection has closed, every method does nothing; `closed` tells.
    Call them from the event loop's thread only.
    """

    __slots__ = (
        "_closed",
        "_original",
        "_outbox",
        "_value",
        "about",
        "attachment",
        "serial",
    )

    # One is made per message, so the attributes for hosts are plain ones.
    serial: int
    """For hosts: the integer behind `id`."""
    about: bytes | Metadata
    """For hosts: the details, encoded as they came, or changed by this handle."""
    attachment: bytes
    """For hosts: the encoded attachment as of the last commit."""

    def __init__(
        self, outbox: Outbox, serial: int, about: bytes | Metadata, attachment: bytes, closed: bool
    ) -> None:
        self._outbox = outbox
        self.serial = serial
        self.about = about
        self.attachment = attachment
        # The decoded attachment, as it was opened and as it is now; not opened before it is asked
        # for.
        self._value: Any = UNOPENED
        self._original: Any = UNOPENED
        self._closed = closed

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Connection {self.id} {state}>"

    @property
    def id(self) -> str:
        """One opaque token; the same in every event, worker and generation."""
        return self._outbox.host.connection_id(self.serial)

    @property
    def url(self) -> str:
        """The URL of the request that was upgraded."""
        return self._details().url

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol chosen at the upgrade, if any (RFC 6455 section 1.9)."""
        return self._details().subprotocol

    @property
    def channels(self) -> frozenset[str]:
        """Names of the channels this connection is subscribed to, as this handle knows them."""
        return self._details().channels

    @property
    def closed(self) -> bool:
        """True after `close()` and in the close event."""
        return self._closed

    @property
    def data(self) -> Any:
        """The attachment: plain data that survives reload, crash and idleness; at most 16 KiB.

        None until set. Change it in place or assign it; it is committed when the event's listeners
        have returned, or at a `flush`. Later changes are not kept. Plain are None, bool, int (64
        bits), float, str, bytes, datetime (with a time zone), list, tuple (comes back as a list)
        and dict with keys that are scalars. What is not makes the event fail with AttachmentError.
        """
        value = self._value
        return self._open() if value is UNOPENED else value

    @data.setter
    def data(self, value: Any) -> None:
        self._value = value

    def send(self, data: str | bytes) -> None:
        """Send a text (str) or binary (bytes, bytearray, memoryview) message.

        Text and binary are kinds of their own (RFC 6455 section 5.6).

        Raises:
            TypeError: `data` is neither.
            ValueError: a str with a lone surrogate, which UTF-8 cannot carry.
        """
        if type(data) is not str or not data.isascii():
            data = check_message(data)
        if not self._closed:
            self._outbox.send(self.serial, data)

    def send_json(self, value: Any) -> None:
        """Send plain data as a text message of JSON (RFC 8259).

        Raises:
            TypeError, ValueError: JSON cannot carry `value`.
        """
        self.send(to_json(value))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection after what was sent before (RFC 6455 section 7).

        Args:
            code: 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError, TypeError: code or reason cannot be sent.
        """
        reason = check_close(code, reason)
        if not self._closed:
            self._closed = True
            # A member of an IntEnum is a code too.
            self._outbox.close(self.serial, int(code), reason)

    def subscribe(self, channel: str) -> None:
        """Have every publication on `channel` sent to this connection. Repeating is harmless.

        Args:
            channel: the name, any text that is not empty.

        Raises:
            TypeError, ValueError: the name cannot be one.
        """
        channel = check_channel(channel)
        if not self._closed:
            self._outbox.subscribe(self.serial, channel)
            self._set_channels(self.channels | {channel})

    def unsubscribe(self, channel: str) -> None:
        """Undo `subscribe`. A channel that was not subscribed is no error.

        Raises:
            TypeError, ValueError: the name cannot be one.
        """
        channel = check_channel(channel)
        if not self._closed:
            self._outbox.unsubscribe(self.serial, channel)
            self._set_channels(self.channels - {channel})

    def commit(self) -> None:
        """For hosts: put a changed attachment into the outbox.

        Raises:
            AttachmentError: the new value cannot be kept.
        """
        value, original = self._value, self._original
        if value is original and type(value) in UNCHANGEABLE:
            return
        host = self._outbox.host
        attachment = Attachment(self.attachment, original)
        attachment.value = value
        encoded = attachment.changed(host.encode, host.attachment_limit)
        if encoded is not None:
            self.attachment = encoded
            # The value stays: after a flush, the listener goes on changing what it holds.
            self._original = value
            self._outbox.attach(self.serial, encoded)

    def _open(self) -> Any:
        encoded = self.attachment
        value = self._outbox.host.decode(encoded) if encoded else None
        self._value = self._original = value
        return value

    def _details(self) -> Metadata:
        if not isinstance(self.about, Metadata):
            self.about = self._outbox.host.about(self.about)
        return self.about

    def _set_channels(self, channels: frozenset[str]) -> None:
        self.about = self._details()._replace(channels=channels)


def check_message(data: object) -> str | bytes:
    """Return `data` as plain str or bytes, or raise in the caller."""
    if isinstance(data, str):
        if not data.isascii():
            _check_text(data, "a message")
        return data if type(data) is str else _plain(data)
    if type(data) is bytes:
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        # A copy: later changes by the caller must not reach the wire.
        return bytes(data)
    raise TypeError(f"a message is str or bytes, not {type(data).__qualname__}")


def check_close(code: object, reason: object) -> str:
    """Return `reason` as a plain str; raise unless it and `code` may be put into a close frame."""
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"a close code is an int, not {type(code).__qualname__}")
    if not may_be_chosen(code):
        raise ValueError(f"close code {code} may not be sent (RFC 6455 section 7.4)")
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is a str, not {type(reason).__qualname__}")
    size = len(_check_text(reason, "a close reason"))
    if size > MAX_REASON:
        raise ValueError(f"a close reason has at most {MAX_REASON} bytes in UTF-8, not {size}")
    return _plain(reason)


def check_channel(name: object) -> str:
    """Return `name` as a plain str, or raise unless it can be the name of a channel."""
    if not isinstance(name, str):
        raise TypeError(f"a channel name is a str, not {type(name).__qualname__}")
    if not name:
        raise ValueError("a channel name has at least one character")
    _check_text(name, "a channel name")
    return _plain(name)


def _plain(text: str) -> str:
    """Return the text of a str that may be of a subclass, which wires do not carry."""
    # Not str(text): an enum's member, for one, makes something else of that.
    return str.__str__(text)


def _check_text(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} has a lone surrogate at index {error.start}, which UTF-8 cannot carry"
        ) from None
