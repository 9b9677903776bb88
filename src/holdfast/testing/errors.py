"""What the test kit raises, beside TimeoutError and what listeners raised.

HoldfastError
    ConnectionClosed        a WebSocket was used after its end
    ServerFailed            a real server did not start, or refused new code
    UpgradeRefused          a handshake was answered with an ordinary response

An application that cannot be started raises `worker/loader.py:ApplicationError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.web.response import Response

__all__ = ["ConnectionClosed", "ServerFailed", "UpgradeRefused"]


class ConnectionClosed(HoldfastError):
    """The connection has closed.

    Attributes:
        code (int): the server's; 1006 if there was no close frame, as after `vanish`.
        reason (str): the server's, often empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        reason = f" {self.reason!r}" if self.reason else ""
        return f"the connection has closed: {self.code}{reason}"


class UpgradeRefused(HoldfastError):
    """The application, or the handshake's own rules, refused the upgrade.

    An HTTPError that a listener raises comes as this, too, unless its status is 500: it is an
    answer. Below 500, it is no failure either, and not in `client.errors`.

    Attributes:
        response (Response): what the client got, with its body.
    """

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        response = self.response
        # A server's own answer. With that field, it is one to another version of the protocol
        # (RFC 6455 section 4.4).
        undecided = response.status == 426 and not response.headers.has("sec-websocket-version")
        why = ": no listener accepted or rejected it" if undecided else ""
        return f"the handshake was answered with {response.status}, not with 101{why}"


class ServerFailed(HoldfastError):
    """A real server did not do what it was asked.

    Attributes:
        what (str): what it did not.
        output (str): what it wrote.
    """

    def __init__(self, what: str, output: str) -> None:
        self.what = what
        self.output = output

    def __str__(self) -> str:
        return f"{self.what}\n{self.output}"
