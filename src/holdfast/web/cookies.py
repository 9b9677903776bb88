"""Cookies: the Cookie field read, the Set-Cookie field written (RFC 6265).

Pure. Not `http.cookies`: the standard library's class drops the whole field at the first cookie it
does not like, and browsers send such cookies.

Values may be any text: what a cookie cannot carry is percent-encoded when written and decoded when
read. Names are tokens and travel as they are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, TypedDict
from urllib.parse import quote, unquote

from holdfast.web.headers import is_token

# What browsers take for name and value together (RFC 6265 section 6.1); they drop larger ones
# without a word.
_LONGEST = 4096

# RFC 6265 section 4.1.1, "path-value", and the host names that section 5.2.3 makes sense for.
# Browsers ignore an attribute of more than 1024 bytes (RFC 6265bis section 5.6).
_PATH = re.compile(r"[\x20-\x3a\x3c-\x7e]{,1024}")
_DOMAIN = re.compile(r"[0-9A-Za-z.-]{1,1024}")
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}

# "cookie-octet" without "%", which starts an escape.
_SAFE_IN_VALUE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# Not strftime: its names follow the locale.
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_EPOCH = datetime.fromtimestamp(0, UTC)


class CookieOptions(TypedDict, total=False):
    """The keyword arguments of `set_cookie`, all of them optional (RFC 6265 section 4.1)."""

    max_age: int | None
    """Seconds to keep it; 0 or less deletes it. Wins over `expires`."""
    expires: datetime | None
    """When to forget it, with a time zone. With neither of the two it lasts for the session."""
    path: str | None
    """The requests it is sent with; "/" by default, None for the directory of the current one."""
    domain: str | None
    """Also send it to subdomains of this host; None, the default, for this host only."""
    secure: bool
    """Send it over TLS only; True by default. Browsers take "localhost" for safe."""
    http_only: bool
    """Hide it from scripts; False by default."""
    same_site: Literal["strict", "lax", "none"]
    """"strict" or "lax", the default, keep it from requests that other sites cause."""


def parse_cookies(header: str) -> dict[str, str]:
    """Parse a Cookie field. Never raises: the field comes from strangers.

    Of several cookies with one name the first counts: user agents list those with the longest,
    most specific path first (RFC 6265 section 5.4). What has no name is skipped, quotes around a
    value are dropped, and a value with a malformed escape stays as it is.
    """
    cookies: dict[str, str] = {}
    for pair in header.split(";"):
        name, found, value = pair.partition("=")
        name = name.strip(" \t")
        if found and name and name not in cookies:
            cookies[name] = _decode(value.strip(" \t"))
    return cookies


def serialize_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    expires: datetime | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = True,
    http_only: bool = False,
    same_site: Literal["strict", "lax", "none"] = "lax",
) -> str:
    """Return the value of a Set-Cookie field.

    Args:
        name: a token (RFC 9110 section 5.6.2).
        value: any text.
        max_age: seconds to keep it; 0 or less deletes it. Wins over `expires`.
        expires: when to forget it, with a time zone. With neither it lasts for the session.
        path: the requests it is sent with; None for the directory of the current one.
        domain: also send it to subdomains of this host; None for this host only.
        secure: send it over TLS only. Browsers take "localhost" for safe.
        http_only: hide it from scripts.
        same_site: "strict" or "lax" keep it from requests that other sites cause.

    Raises:
        ValueError: something here cannot be put into the field, or browsers would drop the cookie.
        TypeError: something here is of the wrong type.
    """
    _check_token(name)
    _check_name(name, path, domain, secure=secure)
    encoded = _encode(name, value)
    attributes = [f"{name}={encoded}"]
    if max_age is not None:
        _check_type(f"the max_age of cookie {name!r}", max_age, int)
        attributes.append(f"Max-Age={max_age:d}")
    if expires is not None:
        attributes.append(f"Expires={_format_date(name, expires)}")
    if domain is not None:
        _check(name, "domain", domain, _DOMAIN)
        attributes.append(f"Domain={domain}")
    if path is not None:
        _check(name, "path", path, _PATH)
        attributes.append(f"Path={path}")
    if secure:
        attributes.append("Secure")
    if http_only:
        attributes.append("HttpOnly")
    attributes.append(_format_same_site(name, same_site, secure=secure))
    return "; ".join(attributes)


def serialize_deletion(name: str, path: str | None = "/", domain: str | None = None) -> str:
    """Return the Set-Cookie field that deletes what was set with this path and domain.

    Secure only where the name demands it: over plain HTTP browsers ignore a secure cookie, its
    deletion included; over TLS they take either.
    """
    _check_token(name)
    secure = name.lower().startswith(("__secure-", "__host-"))
    return serialize_cookie(
        name, "", max_age=0, expires=_EPOCH, path=path, domain=domain, secure=secure
    )


def _decode(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if "%" not in value or _MALFORMED_ESCAPE.search(value) is not None:
        return value
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return value


def _encode(name: str, value: str) -> str:
    _check_type(f"the value of cookie {name!r}", value, str)
    try:
        encoded = quote(value, safe=_SAFE_IN_VALUE)
    except UnicodeEncodeError as error:
        raise ValueError(f"the value of cookie {name!r} is not valid Unicode text") from error
    size = len(name) + len(encoded)
    if size > _LONGEST:
        raise ValueError(f"cookie {name!r} has {size} bytes; browsers take at most {_LONGEST}")
    return encoded


def _check_type(what: str, value: object, kind: type) -> None:
    # A bool is an int to Python, and the age of no cookie.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{what} is of type {kind.__name__}, not {type(value).__qualname__}")


def _check(name: str, attribute: str, value: str, pattern: re.Pattern[str]) -> None:
    _check_type(f"the {attribute} of cookie {name!r}", value, str)
    if pattern.fullmatch(value) is None:
        raise ValueError(f"cookie {name!r} cannot have the {attribute} {value!r}")


def _check_token(name: str) -> None:
    _check_type("the name of a cookie", name, str)
    if not is_token(name):
        raise ValueError(f"{name!r} is not a cookie name: it is not a token")


def _check_name(name: str, path: str | None, domain: str | None, *, secure: bool) -> None:
    """Check the name, and what browsers demand of the names with a meaning (RFC 6265bis 4.1.3)."""
    prefix = name[:9].lower()
    if prefix.startswith(("__secure-", "__host-")) and not secure:
        raise ValueError(f"cookie {name!r} has to be secure; browsers drop it otherwise")
    if prefix.startswith("__host-") and (path != "/" or domain is not None):
        raise ValueError(f"cookie {name!r} has to have the path '/' and no domain")


def _format_date(name: str, when: datetime) -> str:
    """Return an IMF-fixdate (RFC 9110 section 5.6.7)."""
    _check_type(f"the expiry of cookie {name!r}", when, datetime)
    if when.tzinfo is None:
        raise ValueError(f"the expiry of cookie {name!r} has no time zone")
    try:
        utc = when.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the expiry of cookie {name!r} is in no year from 1 to 9999") from None
    day, month = _DAYS[utc.weekday()], _MONTHS[utc.month - 1]
    return f"{day}, {utc.day:02} {month} {utc.year:04} {utc:%H:%M:%S} GMT"


def _format_same_site(name: str, same_site: str, *, secure: bool) -> str:
    if not isinstance(same_site, str) or same_site not in _SAME_SITE:
        raise ValueError(f"cookie {name!r} cannot have same_site={same_site!r}")
    if same_site == "none" and not secure:
        raise ValueError(f"cookie {name!r} with same_site='none' has to be secure")
    return f"SameSite={_SAME_SITE[same_site]}"
