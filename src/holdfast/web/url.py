"""URLs and their query, as in the URL Standard (https://url.spec.whatwg.org).

Pure. Not `urllib.parse.urlsplit`: browsers take "\\\\host", "/\\t/host" and "https:host" for
links to another host, and an application that checks where a redirect leads must do likewise.

Simpler than the standard: non-ASCII host names go through Python's IDNA codec (IDNA 2003), "xn--"
labels are taken as they are, and "file:" is an ordinary scheme without drive letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address
from typing import NamedTuple, TypeAlias, overload
from urllib.parse import quote, quote_from_bytes, quote_plus, unquote_plus, unquote_to_bytes

# The "special" schemes and their default ports. Their URLs have a host, and "\" is "/".
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_HIGHEST_PORT = 65535

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_TAB_OR_NEWLINE = str.maketrans("", "", "\t\n\r")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")

# "Forbidden host code points", and "forbidden domain code points", which are more.
_FORBIDDEN_IN_HOST = re.compile(r"[\0\t\n\r #/:<>?@\[\\\]^|]")
_FORBIDDEN_IN_DOMAIN = re.compile(r"[\0-\x20#/:<>?@\[\\\]^|%\x7f]")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]")

# What each part leaves as it is, besides the letters, digits and "_.-~" that `quote` never
# touches. "%" is in all of them: an escape stays as it was written, well-formed or not.
_SAFE_ANYWHERE = "".join(map(chr, range(0x20, 0x7F)))
_SAFE_FRAGMENT = "!#$%&'()*+,/:;=?@[\\]^{|}"
_SAFE_QUERY = "!$%&'()*+,/:;=?@[\\]^`{|}"
_SAFE_SPECIAL_QUERY = _SAFE_QUERY.replace("'", "")
_SAFE_SEGMENT = "!$%&'()*+,:;=@[\\]|"
_SAFE_CREDENTIAL = "!$%&'()*+,"

_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_DOT_DOT = re.compile(r"(?:\.|%2e){2}", re.IGNORECASE)

# Fast lanes for requests. What matches needs no work; what does not is looked at properly.
_OCTET = rb"(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_PLAIN_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9_-]+\.)*[A-Za-z][A-Za-z0-9_-]*|" + _OCTET + rb"(?:\." + _OCTET + rb"){3})"
    rb"(?::[1-5]?[0-9]{1,4})?"
)
_PLAIN_PATH = re.compile(rb"(?:/(?!\.|%2[Ee])[A-Za-z0-9_.~!$&'()*+,;=:@%-]*)+")
_PLAIN_QUERY = re.compile(rb"[A-Za-z0-9_.~!$&()*+,;=:@%/?-]+")


class SearchParams:
    """The parameters of a query or of a urlencoded form, in order; read-only.

    Parsing never fails: a malformed escape stays as it is, bytes that are not UTF-8 become U+FFFD.
    Iterating gives each name once, as `Headers` does; `items` gives every pair.
    """

    __slots__ = ("_pairs",)

    def __init__(self, init: SearchParamsInit | None = None) -> None:
        if init is None or isinstance(init, str):
            self._pairs = _parse_form((init or "").removeprefix("?"))
        elif isinstance(init, SearchParams):
            self._pairs = init._pairs
        else:
            self._pairs = list(init.items() if isinstance(init, Mapping) else init)

    def __repr__(self) -> str:
        return f"SearchParams({str(self)!r})"

    def __str__(self) -> str:
        """Return it as a query, without the "?"."""
        return "&".join(f"{_form_quote(name)}={_form_quote(value)}" for name, value in self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchParams):
            return NotImplemented
        return self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(tuple(self._pairs))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._pairs)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def keys(self) -> list[str]:
        """Return each name once."""
        return list(dict(self._pairs))

    def items(self) -> list[tuple[str, str]]:
        """Return every pair, in order, repeated names included."""
        return self._pairs.copy()

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of `name`."""
        return next((value for key, value in self._pairs if key == name), default)

    def get_all(self, name: str) -> list[str]:
        """Return all values of `name`."""
        return [value for key, value in self._pairs if key == name]

    def has(self, name: str) -> bool:
        """Tell whether there is a parameter of this name."""
        return name in self


SearchParamsInit: TypeAlias = str | SearchParams | Mapping[str, str] | Iterable[tuple[str, str]]


class _Parts(NamedTuple):
    """What a URL consists of, each part as it is written in `href`."""

    scheme: str
    credentials: str
    """With the "@", or empty. Kept so that `href` is whole, but not offered as an attribute."""
    hostname: str | None
    port: str
    path: str
    query: str | None
    fragment: str | None

    @property
    def is_opaque(self) -> bool:
        """True for "mailto:x" and the like: no host, and a path that is not a list."""
        return self.hostname is None and not self.path.startswith("/")


class URL:
    """A URL, normalized; immutable, equal to any other with the same `href`.

    Args:
        url: absolute, or relative to `base`.
        base: an absolute URL.

    Raises:
        ValueError: this is not a URL, or a relative one without a base.
        TypeError: this is neither a str nor a URL, or the base is neither.
    """

    __slots__ = ("_href", "_params", "_parts")

    def __init__(self, url: str | URL, base: str | URL | None = None) -> None:
        text = url.href if isinstance(url, URL) else _text(url, "a URL")
        if base is not None and not isinstance(base, URL):
            base = URL(_text(base, "a base"))
        try:
            self._parts: _Parts = _parse(_clean(text), base._parts if base else None)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a URL: {error}") from error
        self._href: str | None = None
        self._params: SearchParams | None = None

    @classmethod
    def from_request(cls, scheme: str, host: bytes, pathname: str, query: bytes) -> URL:
        """For `Request`: join what HTTP has in separate places (RFC 9110 section 7.1).

        Never by pasting strings: a Host of "good@evil" or "good/x?" must be an error, not another
        URL. `pathname` comes from `normalize_target`.

        Raises:
            ValueError: this is not the host of a URL.
        """
        try:
            hostname, port = _parse_host_field(host, scheme)
        except ValueError as error:
            raise ValueError(f"the request has no URL; its Host is {host!r}: {error}") from error
        url = cls.__new__(cls)
        url._parts = _Parts(scheme, "", hostname, port, pathname, _normalize_query(query), None)
        url._href = url._params = None
        return url

    def __repr__(self) -> str:
        return f"URL({self.href!r})"

    def __str__(self) -> str:
        return self.href

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return self.href == other.href

    def __hash__(self) -> int:
        return hash(self.href)

    @property
    def href(self) -> str:
        """The whole URL."""
        if self._href is None:
            self._href = _serialize(self._parts, self.host)
        return self._href

    @property
    def origin(self) -> str:
        """Scheme, host and port; "null" for schemes without the notion."""
        scheme = self._parts.scheme
        return f"{scheme}://{self.host}" if scheme in _DEFAULT_PORTS else "null"

    @property
    def protocol(self) -> str:
        """The scheme, with its colon."""
        return self._parts.scheme + ":"

    @property
    def host(self) -> str:
        """The host name and, if it is not the scheme's own, the port."""
        parts = self._parts
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""

    @property
    def hostname(self) -> str:
        """The host name alone; an IPv6 address is in brackets."""
        return self._parts.hostname or ""

    @property
    def port(self) -> str:
        """The port; empty if it is the scheme's own."""
        return self._parts.port

    @property
    def pathname(self) -> str:
        """The path, percent-encoded, without "." and ".." segments."""
        return self._parts.path

    @property
    def search(self) -> str:
        """The query with its "?", or nothing."""
        return f"?{self._parts.query}" if self._parts.query else ""

    @property
    def search_params(self) -> SearchParams:
        """The query, parsed."""
        if self._params is None:
            self._params = SearchParams(self.search)
        return self._params

    @property
    def hash(self) -> str:
        """The fragment with its "#", or nothing."""
        return f"#{self._parts.fragment}" if self._parts.fragment else ""


def is_plain_host(host: bytes) -> bool:
    """Tell quickly that a Host field makes a valid URL; False means that nobody has looked yet."""
    return _PLAIN_HOST.fullmatch(host) is not None


def normalize_target(raw_path: bytes) -> str:
    """Return the pathname of the URL that a request with this target path has.

    A target that is not a path ("*", or anything a careless HTTP parser lets through) gets a "/"
    before it, so that it cannot become part of the host.
    """
    if _PLAIN_PATH.fullmatch(raw_path) is not None:
        return raw_path.decode("ascii")
    ascii_path = quote_from_bytes(raw_path.partition(b"?")[0], safe=_SAFE_ANYWHERE)
    return _normalize_path("/" + ascii_path.replace("\\", "/").removeprefix("/"))


def _parse_host_field(host: bytes, scheme: str) -> tuple[str, str]:
    text = host.decode("ascii")
    if not is_plain_host(host):
        return _parse_host_and_port(text, scheme)
    hostname, _, port = text.lower().partition(":")
    return hostname, _parse_port(port, scheme)


def _normalize_query(query: bytes) -> str | None:
    if _PLAIN_QUERY.fullmatch(query) is not None:
        return query.decode("ascii")
    return quote_from_bytes(query, safe=_SAFE_SPECIAL_QUERY) or None


def _text(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str or a URL, not {type(text).__qualname__}")
    # Not str(text): an enum's member, for one, makes something else of that.
    return str.__str__(text)


def _clean(text: str) -> str:
    """Drop what browsers drop: blanks around a URL, tabs and newlines within it."""
    if not text.isascii():
        # A URL is made of scalar values; a lone surrogate becomes U+FFFD.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.strip(_C0_OR_SPACE).translate(_TAB_OR_NEWLINE)


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    head, found, tail = text.partition(mark)
    return head, tail if found else None


def _parse(text: str, base: _Parts | None) -> _Parts:
    match = _SCHEME.match(text)
    if match is not None:
        scheme, text = match[1].lower(), text[match.end() :]
        # "http:x" is relative to an "http:" base, and to that only. The standard is sorry too.
        if scheme not in _DEFAULT_PORTS or base is None or base.scheme != scheme:
            return _parse_rest(text, scheme, None)
        return _parse_rest(text, scheme, base)
    if base is None:
        raise ValueError("it has no scheme, and there is no base")
    if base.is_opaque and not text.startswith("#"):
        raise ValueError(f"nothing is relative to a {base.scheme!r} URL without a path")
    return _parse_rest(text, base.scheme, base)


def _parse_rest(text: str, scheme: str, base: _Parts | None) -> _Parts:
    """Parse what follows the scheme; with a base, a relative reference."""
    is_special = scheme in _DEFAULT_PORTS
    text, fragment = _cut(text, "#")
    text, query = _cut(text, "?")
    if is_special:
        text = text.replace("\\", "/")
    if fragment is not None:
        fragment = quote(fragment, safe=_SAFE_FRAGMENT)
    if query is not None:
        query = quote(query, safe=_SAFE_SPECIAL_QUERY if is_special else _SAFE_QUERY)
    if text.startswith("//") or (is_special and base is None):
        credentials, hostname, port, path = _parse_authority(text, scheme)
        return _Parts(scheme, credentials, hostname, port, path, query, fragment)
    if base is None:
        return _Parts(scheme, "", None, "", _parse_path(text), query, fragment)
    if not text and query is None:
        query = base.query
    return base._replace(path=_resolve(text, base.path), query=query, fragment=fragment)


def _parse_authority(text: str, scheme: str) -> tuple[str, str, str, str]:
    """Parse "//user:password@host:port/path" into credentials, host name, port and path."""
    is_special = scheme in _DEFAULT_PORTS
    authority, slash, path = (text.lstrip("/") if is_special else text[2:]).partition("/")
    credentials, at, host = authority.rpartition("@")
    hostname, port = _parse_host_and_port(host, scheme)
    if not hostname and (at or host):
        raise ValueError("it has no host")
    # Only non-special URLs may have an empty path, and "foo://host" is not "foo://host/".
    path = _normalize_path("/" + path) if slash or is_special else ""
    return _parse_credentials(credentials), hostname, port, path


def _parse_credentials(text: str) -> str:
    user, _, password = text.partition(":")
    user, password = quote(user, safe=_SAFE_CREDENTIAL), quote(password, safe=_SAFE_CREDENTIAL)
    text = f"{user}:{password}" if password else user
    return f"{text}@" if text else ""


def _parse_host_and_port(text: str, scheme: str) -> tuple[str, str]:
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise ValueError("what follows the host is not a port")
    host = _parse_host(match[1], is_special=scheme in _DEFAULT_PORTS)
    return host, _parse_port(match[2] or "", scheme)


def _parse_port(digits: str, scheme: str) -> str:
    """Return the port without leading zeros; nothing if it is the scheme's own."""
    if not digits:
        return ""
    port = str(int(digits))
    if int(port) > _HIGHEST_PORT:
        raise ValueError(f"its port is over {_HIGHEST_PORT}")
    return "" if port == _DEFAULT_PORTS.get(scheme) else port


def _parse_host(text: str, *, is_special: bool) -> str:
    if text.startswith("["):
        return _parse_ipv6(text)
    if not is_special:
        if _FORBIDDEN_IN_HOST.search(text) is not None:
            raise ValueError("its host has a forbidden character")
        return quote(text, safe=_SAFE_ANYWHERE)
    domain = unquote_to_bytes(text).decode("utf-8", "replace")
    if not domain.isascii():
        domain = domain.encode("idna").decode("ascii")
    # After IDNA: its normal form turns other characters, such as U+2100, into "/" and the like.
    if _FORBIDDEN_IN_DOMAIN.search(domain) is not None:
        raise ValueError("its host has a forbidden character")
    if not domain:
        raise ValueError("it has no host")
    return _parse_ipv4(domain.lower())


def _parse_ipv6(text: str) -> str:
    match = _IPV6.fullmatch(text)
    if match is None:
        raise ValueError("its host is not an IPv6 address")
    address = IPv6Address(match[1])
    mapped = address.ipv4_mapped
    if mapped is not None:
        # Written out: from Python 3.13 on, str() gives these the dotted form.
        return f"[::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}]"
    return f"[{address}]"


def _parse_ipv4(domain: str) -> str:
    """Return the address if the last label is a number, else the domain as it is.

    Numbers may be hexadecimal or octal, and the last one fills what is left: "127.1" and
    "0x7f000001" are "127.0.0.1", for browsers as for `inet_aton`.
    """
    labels = domain.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]) is None:
        return domain
    numbers = [_parse_number(label) for label in labels]
    address = numbers.pop()
    if len(numbers) > 3 or max(numbers, default=0) > 255 or address >= 256 ** (4 - len(numbers)):
        raise ValueError("its host ends in a number, but is not an IPv4 address")
    for index, number in enumerate(numbers):
        address += number << (24 - 8 * index)
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def _parse_number(label: str) -> int:
    if _NUMBER.fullmatch(label) is None:
        raise ValueError(f"its host ends in a number, but {label!r} is not one")
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)


def _parse_path(text: str) -> str:
    """Parse the path of a URL without a host: a list of segments, or opaque as in "mailto:x"."""
    return _normalize_path(text) if text.startswith("/") else quote(text, safe=_SAFE_ANYWHERE)


def _resolve(text: str, base_path: str) -> str:
    if not text:
        return base_path
    if not text.startswith("/"):
        text = base_path[: base_path.rfind("/") + 1] + text
    return _normalize_path("/" + text.removeprefix("/"))


def _normalize_path(path: str) -> str:
    """Percent-encode a path that starts with "/" and resolve its "." and ".." segments."""
    done: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if _DOT_DOT.fullmatch(segment) is not None:
            del done[-1:]
        elif _DOT.fullmatch(segment) is None:
            done.append(quote(segment, safe=_SAFE_SEGMENT))
    if _DOT.fullmatch(segments[-1]) or _DOT_DOT.fullmatch(segments[-1]):
        done.append("")
    return "/" + "/".join(done)


def _serialize(parts: _Parts, host: str) -> str:
    if parts.hostname is not None:
        start = f"{parts.scheme}://{parts.credentials}{host}"
    else:
        # Or the path "//x" would come back as a host.
        start = f"{parts.scheme}:/." if parts.path.startswith("//") else f"{parts.scheme}:"
    query = "" if parts.query is None else f"?{parts.query}"
    fragment = "" if parts.fragment is None else f"#{parts.fragment}"
    return f"{start}{parts.path}{query}{fragment}"


def _parse_form(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((unquote_plus(name), unquote_plus(value)))
    return pairs


def _form_quote(text: str) -> str:
    # `quote` never touches "~", the standard's form serializer does.
    return quote_plus(text, safe="*").replace("~", "%7E")
