"""Requests and responses, as in the Fetch Standard (https://fetch.spec.whatwg.org).

Pure: a body is bytes, or an async iterable that someone else feeds. Hosts make a `Request` of what
their HTTP parser gave them. One is made per request, so nothing is parsed, decoded or built before
somebody asks for it. `Response` is in a file of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from holdfast.web.bodies import checked_body, chunks, decode, read_body, take_body
from holdfast.web.cookies import parse_cookies
from holdfast.web.forms import MAX_FIELDS, FormData
from holdfast.web.headers import Headers, is_token
from holdfast.web.host import host_for
from holdfast.web.http_errors import BadBody, NotAForm
from holdfast.web.json import parse_json
from holdfast.web.url import URL, SearchParams, is_plain_host, normalize_target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from holdfast.web.bodies import Body
    from holdfast.web.headers import HeadersInit

# Fetch upper-cases these, and no others.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"})

# Inside the class "bytes" is the method.
Bytes: TypeAlias = bytes

_TEXT = "text/plain; charset=utf-8"
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


class Client(NamedTuple):
    """Who sent a request.

    Attributes:
        host: an IP address; what a trusted proxy said, as it was said.
        port: 0 if a proxy did not say.
    """

    host: str
    port: int


class Request:
    """A request to answer, or one to make.

    Args:
        url: absolute.
        body: str is sent as UTF-8; GET and HEAD have none.

    Raises:
        ValueError: url, method or a header is not valid, or a GET or HEAD was given a body.
        TypeError: the body is of a type that cannot be sent.

    Attributes:
        method: in upper case if it is a usual one.
    """

    __slots__ = (
        "_body",
        "_body_used",
        "_client",
        "_cookies",
        "_headers",
        "_path",
        "_received",
        "_url",
        "method",
    )

    method: str

    def __init__(
        self,
        url: str | URL,
        *,
        method: str = "GET",
        headers: HeadersInit | None = None,
        body: str | Bytes | AsyncIterable[Bytes] | None = None,
        client: Client | None = None,
    ) -> None:
        if not is_token(method):
            raise ValueError(f"{method!r} is not a method (RFC 9110 section 9.1)")
        self.method = method.upper() if method.upper() in _METHODS else method
        if body is not None and self.method in ("GET", "HEAD"):
            raise ValueError(f"a {self.method} request cannot have a body")
        self._url: URL | None = url if isinstance(url, URL) else URL(url)
        self._path: str | None = self._url.pathname
        self._headers: Headers | None = Headers(headers)
        if isinstance(body, str) and not self._headers.has("content-type"):
            self._headers.append("content-type", _TEXT)
        self._body: Body = checked_body(body)
        self._body_used = False
        self._client: tuple[str, int] | None = client
        self._cookies: dict[str, str] | None = None
        self._received: _Received = ("", b"", b"", [], "")

    @classmethod
    def from_parts(
        cls,
        method: str,
        scheme: str,
        raw_path: Bytes,
        query: Bytes,
        headers: list[tuple[Bytes, Bytes]],
        client: tuple[str, int] | None,
        body: AsyncIterable[Bytes] | None,
        root: str = "",
    ) -> Request:
        """For hosts: keep what the HTTP parser gave. Check `has_valid_url` before dispatching.

        Args:
            root: a path that comes before `raw_path` in the URL: where the application is mounted.
        """
        request = cls.__new__(cls)
        request.method = method
        request._received = (scheme, raw_path, query, headers, root)
        request._client = client
        request._body = body
        request._body_used = False
        request._url = request._headers = request._cookies = request._path = None
        return request

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path if self._url is None else self._url.href}>"

    @property
    def url(self) -> URL:
        """The URL: scheme, Host field and target together (RFC 9110 section 7.1).

        The scheme is what a trusted proxy says it is (`--forwarded-allow-ips`), else "http".

        Raises:
            ValueError: the Host field is not one; hosts answer such requests with 400.
        """
        if self._url is None:
            scheme, _, query, headers, root = self._received
            self._url = URL.from_request(scheme, _host(headers), root + self.path, query)
        return self._url

    @property
    def has_valid_url(self) -> bool:
        """For hosts: tell whether `url` works, without building it for an ordinary Host."""
        if self._url is not None:
            return True
        try:
            return is_plain_host(_host(self._received[3])) or self.url is not None
        except ValueError:
            return False

    @property
    def path(self) -> str:
        """The same as `url.pathname`, but cheap: routes look at it for every request.

        Where the application is mounted below a path of another one (ASGI's `root_path`), only
        `url` has that path.
        """
        if self._path is None:
            self._path = normalize_target(self._received[1])
        return self._path

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None:
            self._headers = Headers.from_raw(self._received[3])
        return self._headers

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name."""
        if self._cookies is None:
            # HTTP/2 may split the field (RFC 9113 section 8.2.3).
            self._cookies = parse_cookies("; ".join(self.headers.get_all("cookie")))
        return self._cookies

    @property
    def client(self) -> Client | None:
        """Who sent the request, if the host knows.

        The other end of the TCP connection; or, if that is a proxy the server was told to trust
        (`--forwarded-allow-ips`, by default one on this machine), the last address in its
        X-Forwarded-For that is not itself a trusted proxy's. What others say does not count.
        """
        return None if self._client is None else Client(*self._client)

    @property
    def body_used(self) -> bool:
        """True when the body was read, or is being read; an absent one is never used."""
        return self._body_used

    async def text(self) -> str:
        """Read the body as UTF-8; what is not UTF-8 becomes U+FFFD.

        Raises:
            BodyUsed: it was read before.
            ContentTooLarge: it is larger than the server takes. If nobody catches it, the client
                gets a 413.
            ClientLeft: the client left before it had sent all of it.

        The same goes for the other readers.
        """
        return decode(await read_body(self))

    async def json(self) -> Any:
        """Read the body as JSON (RFC 8259).

        Raises:
            BadBody: it is not JSON; a ValueError. If nobody catches it, the client gets a 400.
        """
        try:
            return parse_json(await self.text())
        except ValueError as error:
            raise BadBody(f"the body is not JSON: {error}") from error

    async def bytes(self) -> Bytes:
        """Read the body."""
        return await read_body(self)

    async def form(self) -> FormData:
        """Read the body as a form: urlencoded, or multipart/form-data with files (RFC 7578).

        Raises:
            NotAForm: it is none, says its Content-Type; a TypeError. It can still be read
                otherwise. If nobody catches it, the client gets a 415.
            BadBody: it is malformed, or has more than 1,000 fields; a ValueError. If nobody
                catches it, the client gets a 400.
        """
        content_type = self.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == _URLENCODED:
            return _parse_urlencoded(await self.text())
        if kind != _MULTIPART:
            what = f"not {content_type}" if content_type else "not a body without a type"
            raise NotAForm(f"a form is {_URLENCODED} or {_MULTIPART}, {what}")
        host = host_for("reading a multipart form")
        try:
            return await host.parse_multipart(content_type, chunks(take_body(self)))
        except ValueError as error:
            raise BadBody(f"the body is not a multipart form: {error}") from error

    def stream(self) -> AsyncGenerator[Bytes, None]:
        """Read the body chunk by chunk: `async for chunk in request.stream()`."""
        return chunks(take_body(self))


# What a host received: scheme, target path, query, header fields; and where it is mounted.
_Received: TypeAlias = tuple[str, bytes, bytes, list[tuple[bytes, bytes]], str]


def _host(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the Host field. Two are refused: a proxy might have believed the other one."""
    host = None
    for name, value in headers:
        if name == b"host":
            if host is not None:
                raise ValueError("the request has no URL: it has more than one Host field")
            host = value
    return host or b"localhost"


def _parse_urlencoded(text: str) -> FormData:
    # Counted before any of them is made.
    if text.count("&") >= MAX_FIELDS:
        raise BadBody(f"the form has more than {MAX_FIELDS} fields")
    return FormData(SearchParams(text).items())
