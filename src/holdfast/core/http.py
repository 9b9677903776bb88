"""Requests and responses, as in the Fetch Standard (https://fetch.spec.whatwg.org).

Pure: a body is bytes, or an async iterable that someone else feeds. Hosts make a `Request` of what
their HTTP parser gave them and write what a `Response` says. One of each is made per request, so
nothing is parsed, decoded or built before somebody asks for it.
"""

from __future__ import annotations

import re
from json import JSONDecoder, JSONEncoder
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, overload
from urllib.parse import quote

from holdfast.core.cookies import parse_cookies, serialize_cookie, serialize_deletion
from holdfast.core.errors import BodyUsed
from holdfast.core.headers import Headers, is_token
from holdfast.core.url import URL, SearchParams, is_plain_host, normalize_target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping
    from typing import Unpack

    from holdfast.core.cookies import CookieOptions
    from holdfast.core.headers import HeadersInit

__all__ = ["Client", "Request", "Response"]

# Fetch upper-cases these, and no others.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"})

# Inside the two classes "bytes" is the method.
Bytes: TypeAlias = bytes

_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_JSON = b"application/json"
_FORM = "application/x-www-form-urlencoded"

# Fetch's "null body status", those that a handler may send. A 205 is framed like any other
# response (RFC 9112 section 6.3): without a length of 0 its reader would wait for more.
_WITHOUT_BODY = frozenset({204, 205, 304})
_WITHOUT_LENGTH = frozenset({204, 304})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# A sender names one or the other (RFC 9112 section 6.2).
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

# The characters of RFC 3986, and "%". Not "\", which browsers take for "/".
_SAFE_IN_LOCATION = "!#$%&'()*+,/:;=?@[]"
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class Client(NamedTuple):
    """Who sent a request: the other end of its TCP connection."""

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
    """In upper case if it is a usual one."""

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
            self._headers.append("content-type", _TEXT.decode())
        self._body: Bytes | AsyncIterable[Bytes] | None = _checked_body(body)
        self._body_used = False
        self._client: tuple[str, int] | None = client
        self._cookies: dict[str, str] | None = None
        self._received: _Received = ("", b"", b"", [])

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
    ) -> Request:
        """For hosts: keep what the HTTP parser gave. Check `has_valid_url` before dispatching."""
        request = cls.__new__(cls)
        request.method = method
        request._received = (scheme, raw_path, query, headers)
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

        Raises:
            ValueError: the Host field is not one; hosts answer such requests with 400.
        """
        if self._url is None:
            scheme, _, query, headers = self._received
            self._url = URL.from_request(scheme, _host(headers), self.path, query)
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
        """The same as `url.pathname`, but cheap: routes look at it for every request."""
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
        """Who sent the request, if the host knows: behind a proxy, the proxy."""
        return None if self._client is None else Client(*self._client)

    @property
    def body_used(self) -> bool:
        """True when the body was read, or is being read; an absent one is never used."""
        return self._body_used

    async def text(self) -> str:
        """Read the body as UTF-8; what is not UTF-8 becomes U+FFFD.

        Raises:
            BodyUsed: it was read before. The same goes for the other readers.
        """
        return _decode(await _read(self))

    async def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return _parse_json(await self.text())

    async def bytes(self) -> Bytes:
        """Read the body."""
        return await _read(self)

    async def form(self) -> SearchParams:
        """Read the body as a form.

        Raises:
            TypeError: it is none, says its Content-Type; it can still be read otherwise.
        """
        content_type = self.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != _FORM:
            raise TypeError(f"form() reads {_FORM}, not {content_type or 'a body without a type'}")
        return SearchParams(await self.text())

    def stream(self) -> AsyncGenerator[Bytes, None]:
        """Read the body chunk by chunk: `async for chunk in request.stream()`."""
        return _chunks(_take_body(self))


class _BuildJson(Protocol):
    def __call__(
        self, value: Any, *, status: int = 200, headers: HeadersInit | None = None
    ) -> Response: ...


class _Json:
    """`Response.json(value)` builds, `await response.json()` reads.

    JavaScript keeps static and other methods apart and uses the name twice; a descriptor can do
    so here.
    """

    @overload
    def __get__(self, response: None, owner: type[Response]) -> _BuildJson: ...
    @overload
    def __get__(
        self, response: Response, owner: type[Response]
    ) -> Callable[[], Coroutine[Any, Any, Any]]: ...
    def __get__(self, response: Response | None, owner: type[Response]) -> Any:
        return owner._from_json if response is None else response._read_json


class Response:
    """An answer.

    A str is sent as UTF-8 and labelled text/plain. Bytes and streams get no Content-Type, as with
    Fetch, since nobody knows what they are: set one, or browsers will guess.

    Args:
        body: an async iterable is sent chunk by chunk.
        status: 200 to 599.

    Raises:
        ValueError: the status is out of range or does not go with a body, or a header is not valid.
        TypeError: the body is of a type that cannot be sent.
    """

    __slots__ = ("_body", "_body_used", "_content_type", "_headers", "_status")

    def __init__(
        self,
        body: str | Bytes | AsyncIterable[str | Bytes] | None = None,
        *,
        status: int = 200,
        headers: HeadersInit | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"a response has a status from 200 to 599, not {status}")
        if body is not None and status in _WITHOUT_BODY:
            raise ValueError(f"a response with status {status} cannot have a body")
        self._status = status
        self._body_used = False
        # The type of a response whose headers nobody has touched; afterwards they have it.
        self._content_type: Bytes | None = None
        self._headers = None if headers is None else Headers(headers)
        self._body: Bytes | AsyncIterable[str | Bytes] | None = _checked_body(body)
        if isinstance(body, str):
            self._set_default_type(_TEXT)

    @classmethod
    def html(cls, text: str, *, status: int = 200, headers: HeadersInit | None = None) -> Response:
        """Answer with a page."""
        return cls._of_type(_HTML, text, status, headers)

    @classmethod
    def redirect(cls, url: str | URL, status: int = 302) -> Response:
        """Send the client elsewhere: to a URL, or a path of this site.

        Raises:
            ValueError: not a status of a redirect, or a URL with control characters.
        """
        if status not in _REDIRECTS:
            raise ValueError(
                f"a redirect has one of the statuses {sorted(_REDIRECTS)}, not {status}"
            )
        target = str(url)
        if _CONTROL.search(target) is not None:
            raise ValueError(f"cannot redirect to {target!r}: it contains a control character")
        return cls(status=status, headers={"location": quote(target, safe=_SAFE_IN_LOCATION)})

    json = _Json()

    @classmethod
    def _from_json(
        cls, value: Any, *, status: int = 200, headers: HeadersInit | None = None
    ) -> Response:
        """Answer with `value` as JSON.

        Raises:
            TypeError: JSON has no such type.
            ValueError: JSON has no such number (NaN, infinity), or the value contains itself.
        """
        return cls._of_type(_JSON, _ENCODER.encode(value), status, headers)

    @classmethod
    def _of_type(
        cls, content_type: Bytes, text: str, status: int, headers: HeadersInit | None
    ) -> Response:
        # Encoded here, so that the constructor does not call it text/plain.
        response = cls(text.encode(), status=status, headers=headers)
        response._set_default_type(content_type)
        return response

    def _set_default_type(self, content_type: Bytes) -> None:
        if self._headers is None:
            self._content_type = content_type
        elif not self._headers.has("content-type"):
            self._headers.append("content-type", content_type.decode())

    def __repr__(self) -> str:
        body = self._body or b""
        size = f"{len(body)} bytes" if isinstance(body, bytes) else "a stream"
        return f"<Response {self._status}, {size}>"

    @property
    def status(self) -> int:
        """The status code. Fixed: whether there may be a body depends on it."""
        return self._status

    @property
    def ok(self) -> bool:
        """True for 200 to 299."""
        return 200 <= self._status <= 299

    @property
    def headers(self) -> Headers:
        """The header fields, to read or to change."""
        if self._headers is None:
            self._headers = Headers.from_raw(self._default_headers())
        return self._headers

    @property
    def body(self) -> Bytes | AsyncIterable[str | Bytes] | None:
        """The body as it was given, a str encoded; looking at it does not use it."""
        return self._body

    @property
    def body_used(self) -> bool:
        """True when the body was read, or is being read; an absent one is never used."""
        return self._body_used

    def set_cookie(self, name: str, value: str, **options: Unpack[CookieOptions]) -> None:
        """Set a cookie; the options are those of `serialize_cookie`.

        Raises:
            ValueError: something in it cannot be sent, or browsers would drop the cookie.
        """
        self.headers.append("set-cookie", serialize_cookie(name, value, **options))

    def delete_cookie(self, name: str, path: str | None = "/", domain: str | None = None) -> None:
        """Make the client forget a cookie that was set with this path and domain."""
        self.headers.append("set-cookie", serialize_deletion(name, path, domain))

    async def text(self) -> str:
        """Read the body as `Request.text` does."""
        return _decode(await _read(self))

    async def _read_json(self) -> Any:
        """Read the body as `Request.json` does."""
        return _parse_json(await self.text())

    async def bytes(self) -> Bytes:
        """Read the body."""
        return await _read(self)

    def stream(self) -> AsyncGenerator[Bytes, None]:
        """Read the body chunk by chunk: `async for chunk in response.stream()`."""
        return _chunks(_take_body(self))

    def raw_headers(self) -> list[tuple[Bytes, Bytes]]:
        """For hosts: the fields to send, with the length of the body where it is known."""
        raw = self._default_headers() if self._headers is None else self._headers.raw
        body = b"" if self._body is None else self._body
        # Headers that nobody touched say nothing of framing, and need not be looked through.
        is_framed = self._headers is not None and not _FRAMING.isdisjoint(dict(raw))
        if isinstance(body, bytes) and self._status not in _WITHOUT_LENGTH and not is_framed:
            raw.append((b"content-length", b"%d" % len(body)))
        return raw

    def _default_headers(self) -> list[tuple[Bytes, Bytes]]:
        return [] if self._content_type is None else [(b"content-type", self._content_type)]

    @property
    def is_streaming(self) -> bool:
        """For hosts: tell whether the body comes in chunks; otherwise `body` is all of it."""
        return self._body is not None and not isinstance(self._body, bytes)

    def iter_bytes(self) -> AsyncGenerator[Bytes, None]:
        """For hosts: the body to send; close it (`aclose`) when the client has left.

        Does not use up a body of bytes: an application may keep a response and send it often.
        """
        return _chunks(_take_body(self) if self.is_streaming else self._body)


# What a host received: scheme, target path, query, header fields.
_Received: TypeAlias = tuple[str, bytes, bytes, list[tuple[bytes, bytes]]]


def _host(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the Host field. Two are refused: a proxy might have believed the other one."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        raise ValueError("the request has no URL: it has more than one Host field")
    return hosts[0] if hosts and hosts[0] else b"localhost"


def _checked_body(body: object) -> Any:
    if isinstance(body, str):
        return body.encode()
    if body is None or isinstance(body, bytes) or hasattr(body, "__aiter__"):
        return body
    kind = type(body).__qualname__
    raise TypeError(f"a body is str, bytes or an async iterable of them, not {kind}")


def _take_body(message: Request | Response) -> bytes | AsyncIterable[str | bytes] | None:
    if message._body_used:
        raise BodyUsed
    message._body_used = message._body is not None
    return message._body


async def _read(message: Request | Response) -> bytes:
    body = _take_body(message)
    if body is None or isinstance(body, bytes):
        return body or b""
    return b"".join([chunk async for chunk in _chunks(body)])


async def _chunks(body: bytes | AsyncIterable[str | bytes] | None) -> AsyncGenerator[bytes, None]:
    if body is None or isinstance(body, bytes):
        if body:
            yield body
        return
    iterator = aiter(body)
    try:
        async for chunk in iterator:
            # An empty chunk would end a chunked response.
            if chunk:
                yield chunk.encode() if isinstance(chunk, str) else chunk
    finally:
        # Or a generator that the reader leaves early would clean up only when collected.
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def _decode(data: bytes) -> str:
    """Decode as Fetch does ("UTF-8 decode"): without a byte order mark, and never failing."""
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# Strict both ways: NaN and Infinity are Python's own, and other programs fail on them.
_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = JSONDecoder(parse_constant=_refuse)


def _parse_json(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        # A stranger's thousand brackets are bad input, not a fault of this program.
        raise ValueError("the JSON is nested too deeply") from error
