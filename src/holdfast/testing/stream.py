"""A response that is read while it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.testing.round_trip import RoundTrip
    from holdfast.testing.session import Session
    from holdfast.web.headers import Headers


class Stream:
    """A response whose body may have no end, as server-sent events. Get it from `client.stream`.

    Iterating gives chunk after chunk until the end, each within the client's timeout.
    """

    def __init__(self, session: Session, trip: RoundTrip, *, raise_errors: bool) -> None:
        self._session = session
        self._trip = trip
        self._raise_errors = raise_errors
        self._known = len(session.reports)

    def __repr__(self) -> str:
        return f"<Stream of {self._trip}, {self.status}>"

    @property
    def status(self) -> int:
        """The status code."""
        return self._trip.status

    @property
    def ok(self) -> bool:
        """True for 200 to 299."""
        return 200 <= self.status <= 299

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._trip.headers

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next chunk, as the application made it, or b"" at the end.

        Args:
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: no chunk came; quotes what listeners raised meanwhile.
            ConnectionResetError: the worker was lost, or the application broke off. Where the
                client raises errors, what was raised comes instead.
        """
        trip = self._trip
        await self._session.until(
            lambda: trip.has_more,
            lambda: f"no chunk of the response to {trip}",
            pulse=trip.pulse,
            timeout=timeout,
            since=self._known,
        )
        try:
            chunk = trip.take()
        except ConnectionResetError:
            if self._raise_errors and not trip.is_lost:
                raise_first(trip)
            raise
        self._known = len(self._session.reports)
        return chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk


def raise_first(trip: RoundTrip) -> None:
    """Raise in the test what the application raised, if it did."""
    if trip.errors:
        raise trip.errors[0]
    if trip.failure is not None:
        raise trip.failure
