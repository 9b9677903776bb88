"""What the test kit raises, beside TimeoutError and what listeners raised.

HoldfastError
    ConnectionClosed        a WebSocket was used after its end
    ServerFailed            a real server did not start, or refused new code
    UpgradeRefused          a handshake was answered with an ordinary response

An application that cannot be started raises `worker/loader.py:ApplicationError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.core.http import Response

__all__ = ["ConnectionClosed", "ServerFailed", "UpgradeRefused"]


class ConnectionClosed(HoldfastError):
    """The connection has closed; `code` and `reason` say how, as the client sees it.

    The code is the server's; 1006 if there was no close frame, as after `vanish`.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        reason = f" {self.reason!r}" if self.reason else ""
        return f"the connection has closed: {self.code}{reason}"


class UpgradeRefused(HoldfastError):
    """The application, or the handshake's own rules, refused the upgrade: see `response`."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"the handshake was answered with {self.response.status}, not with 101"


class ServerFailed(HoldfastError):
    """A real server did not do what it was asked; says what the server said."""

    def __init__(self, what: str, output: str) -> None:
        self.what = what
        self.output = output

    def __str__(self) -> str:
        return f"{self.what}\n{self.output}"
