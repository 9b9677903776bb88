"""What a listener answers with: `Response`, as in the Fetch Standard (https://fetch.spec.whatwg.org).

Pure. Hosts write what a `Response` says (`raw_headers`, `body`, `iter_bytes`). One is made per
request, so nothing is built before somebody asks for it. Applications find it beside `Request`, in
`web/request.py`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from copy import copy
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload
from urllib.parse import quote

from holdfast.web.bodies import checked_body, chunks, decode, read_body, take_body
from holdfast.web.cookies import serialize_cookie, serialize_deletion
from holdfast.web.files import FileBody, guess_type
from holdfast.web.headers import Headers
from holdfast.web.json import parse_json, to_json
from holdfast.web.url import URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
    from typing import Unpack

    from holdfast.web.bodies import Body
    from holdfast.web.cookies import CookieOptions
    from holdfast.web.headers import HeadersInit

# Inside the class "bytes" is the method.
Bytes: TypeAlias = bytes

_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_JSON = b"application/json"

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
        if type(status) is not int:
            status = _checked_status(status)
        if not 200 <= status <= 599:
            raise ValueError(f"a response has a status from 200 to 599, not {status}")
        if body is not None and status in _WITHOUT_BODY:
            raise ValueError(f"a response with status {status} cannot have a body")
        self._status = status
        self._body_used = False
        # The type of a response whose headers nobody has touched; afterwards they have it.
        self._content_type: Bytes | None = None
        self._headers = None if headers is None else Headers(headers)
        self._body: Body = checked_body(body)
        if isinstance(body, str):
            self._set_default_type(_TEXT)

    @classmethod
    def html(cls, text: str, *, status: int = 200, headers: HeadersInit | None = None) -> Response:
        """Answer with a page.

        Raises:
            TypeError: the text is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"a page is a str, not {type(text).__qualname__}")
        return cls._of_type(_HTML, text, status, headers)

    @classmethod
    def redirect(cls, url: str | URL, status: int = 302) -> Response:
        """Send the client elsewhere: to a URL, or a path of this site.

        Raises:
            ValueError: not a status of a redirect, or a URL with control characters.
            TypeError: the URL or the status is of another type.
        """
        if not isinstance(url, str | URL):
            raise TypeError(f"a redirect goes to a str or a URL, not {type(url).__qualname__}")
        status = _checked_status(status)
        if status not in _REDIRECTS:
            raise ValueError(
                f"a redirect has one of the statuses {sorted(_REDIRECTS)}, not {status}"
            )
        target = str(url)
        if _CONTROL.search(target) is not None:
            raise ValueError(f"cannot redirect to {target!r}: it contains a control character")
        return cls(status=status, headers={"location": quote(target, safe=_SAFE_IN_LOCATION)})

    json = _Json()
    """`Response.json(value, *, status=200, headers=None)` answers with plain data as JSON (RFC
    8259); it raises TypeError or ValueError for what JSON does not have. `await response.json()`
    reads a body as JSON; it raises ValueError if that is something else, and as `text` does."""

    @classmethod
    def _from_json(
        cls, value: Any, *, status: int = 200, headers: HeadersInit | None = None
    ) -> Response:
        """Answer with `value` as JSON.

        Raises:
            TypeError: JSON has no such type.
            ValueError: JSON has no such number (NaN, infinity), or the value is nested too deeply.
        """
        return cls._of_type(_JSON, to_json(value), status, headers)

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

    @classmethod
    def file(
        cls,
        path: str | PurePath,
        *,
        root: str | PurePath | None = None,
        status: int = 200,
        headers: HeadersInit | None = None,
    ) -> Response:
        """Answer with a file. It is opened when the response is sent; if there is none, with 404.

        Labelled by its suffix, with ETag and Last-Modified; a client whose copy is current gets
        304. Give `root` wherever a part of the path comes from a client:

            Response.file(unquote(event.request.path).removeprefix("/"), root="static")

        Args:
            path: as it is: "%20" is no blank here. Relative to `root` if there is one, else to the
                working directory.
            root: a directory that the file has to lie inside of, wherever ".." and links lead.
            status: 200 to 599.

        Raises:
            ValueError: as for any response.
        """
        response = cls(b"", status=status, headers=headers)
        response._body = FileBody(PurePath(path), None if root is None else PurePath(root))
        response._set_default_type(guess_type(response._body.path).encode())
        return response

    def __repr__(self) -> str:
        body = self._body or b""
        if isinstance(body, FileBody):
            what = f"the file {str(body.path)!r}"
        else:
            what = f"{len(body)} bytes" if isinstance(body, bytes) else "a stream"
        return f"<Response {self._status}, {what}>"

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
    def body(self) -> Body:
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

    def with_cookies(self, cookies: Iterable[str]) -> Response:
        """For hosts: a copy to hand out, with these Set-Cookie values too.

        An application may keep a response and give it often: what becomes of the copy does not
        change it. Only a stream is read once all the same.
        """
        response = copy(self)
        response._body_used = self._body_used and isinstance(self._body, AsyncIterable)
        response._headers = self.headers.copy()
        for cookie in cookies:
            response._headers.append("set-cookie", cookie)
        return response

    async def text(self) -> str:
        """Read the body as UTF-8; what is not UTF-8 becomes U+FFFD.

        Raises:
            BodyUsed: it was read before. The same goes for the other readers.
            FileNotFoundError: it is a file that does not exist, or lies outside of its root.
        """
        return decode(await read_body(self))

    async def _read_json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return parse_json(await self.text())

    async def bytes(self) -> Bytes:
        """Read the body."""
        return await read_body(self)

    def stream(self) -> AsyncGenerator[Bytes, None]:
        """Read the body chunk by chunk: `async for chunk in response.stream()`."""
        return chunks(take_body(self))

    def raw_headers(self) -> list[tuple[Bytes, Bytes]]:
        """For hosts: the fields to send, with the length of the body where it is known."""
        raw = self._default_headers() if self._headers is None else self._headers.raw
        body = b"" if self._body is None else self._body
        if (
            isinstance(body, bytes)
            and self._status not in _WITHOUT_LENGTH
            # Headers that nobody touched say nothing of framing, and need not be looked through.
            and (self._headers is None or _FRAMING.isdisjoint(dict(raw)))
        ):
            raw.append((b"content-length", b"%d" % len(body)))
        return raw

    @property
    def wrong_length(self) -> str | None:
        """For hosts: what is wrong with the Content-Length that an application has set, if it is.

        Without a body it may be anything: that of the body that a GET would have had (RFC 9110
        section 8.6).
        """
        length = None if self._headers is None else self._headers.get("content-length")
        if length is None:
            return None
        if not (length.isascii() and length.isdigit()):
            return f"Content-Length is a number, not {length!r}"
        body = self._body
        if isinstance(body, bytes) and body and len(body) != int(length):
            return f"Content-Length is {length}, and the body has {len(body)} bytes"
        return None

    def _default_headers(self) -> list[tuple[Bytes, Bytes]]:
        return [] if self._content_type is None else [(b"content-type", self._content_type)]

    @property
    def is_streaming(self) -> bool:
        """For hosts: tell whether the body comes in chunks; otherwise `body` is all of it.

        True for a file too. Hosts that can do better than `iter_bytes` find a `FileBody` in `body`.
        """
        return self._body is not None and not isinstance(self._body, bytes)

    def iter_bytes(self) -> AsyncGenerator[Bytes, None]:
        """For hosts: the body to send; close it (`aclose`) when the client has left.

        Does not use up a body of bytes: an application may keep a response and send it often.
        """
        return chunks(take_body(self) if self.is_streaming else self._body)


def _checked_status(status: object) -> int:
    """Return a status as a plain int; `http.HTTPStatus` has members of a class of their own."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"a status is an int, not {type(status).__qualname__}")
    return int(status)
