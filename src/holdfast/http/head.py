"""What the head of a request says about how it is to be read, and from whom it is.

Pure. llhttp has read it by then, strictly, and refused what has no form; what is refused here has a
form, but could be read in two ways, by a proxy in front and by this server for instance. Only
requests that have anything unusual come here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from holdfast.http.limits import BAD_REQUEST, UNKNOWN_CODING, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WHITESPACE = b" \t"  # RFC 9110 section 5.6.3: OWS

# The fields that `check_special` looks at, beside Host. Most requests have none of them.
SPECIAL = frozenset((b"expect", b"transfer-encoding", b"x-forwarded-for", b"x-forwarded-proto"))

# RFC 9110 section 4.2.4: without user name and password, which only deceive.
_ABSOLUTE_FORM = re.compile(
    rb"https?://((?:\[[0-9a-f:.]+\]|[^\[\]@:/?#]+)(?::([0-9]{1,5}))?)(/[^#]*|\?[^#]*)?",
    re.IGNORECASE,
)


class Special(NamedTuple):
    """What there is of them.

    Args:
        expects_100: the client waits for "100 Continue" before it sends the body.
        chain: the values of X-Forwarded-For; None if there are none.
        scheme: those of X-Forwarded-Proto.
    """

    expects_100: bool
    chain: Sequence[bytes] | None
    scheme: Sequence[bytes] | None


def check_special(version: str, headers: Iterable[tuple[bytes, bytes]]) -> Special:
    """Return what the SPECIAL fields among those of a request say.

    Raises:
        Refused: they say nothing clear.
    """
    if version not in ("1.1", "1.0"):
        raise Refused(BAD_REQUEST.because(f"HTTP/{version}"))
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    # RFC 9112 section 3.2: one, and before it came to that, at most one.
    hosts = len(fields.get(b"host", ()))
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise Refused(BAD_REQUEST.because(f"{hosts} Host fields"))
    codings = fields.get(b"transfer-encoding")
    if codings is not None:
        _check_codings(codings, version)
    # RFC 9110 section 10.1.1: not for 1.0, which does not know interim responses. Whatever else is
    # expected need not be refused.
    expects_100 = version == "1.1" and any(
        value.lower() == b"100-continue" for value in fields.get(b"expect", ())
    )
    return Special(expects_100, fields.get(b"x-forwarded-for"), fields.get(b"x-forwarded-proto"))


def _check_codings(codings: Sequence[bytes], version: str) -> None:
    """Refuse all but "chunked": llhttp does when the application has the request already."""
    # RFC 9112 section 6.1: in 1.0 that is faulty framing.
    if version == "1.0" or len(codings) > 1:
        raise Refused(BAD_REQUEST.because("Transfer-Encoding in HTTP/1.0, or twice"))
    names = [name.strip(WHITESPACE) for name in codings[0].lower().split(b",")]
    if names == [b"chunked"]:
        return
    # One whose end can be found, and whose meaning cannot.
    is_framed = names[-1] == b"chunked" and all(names)
    raise Refused(UNKNOWN_CODING if is_framed else BAD_REQUEST.because("a body without an end"))


def split_target(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """Return the host that a target names, if it does, and its path and query.

    For targets that do not begin with a slash (RFC 9112 section 3.2), or that have a fragment.

    Raises:
        Refused: no path comes of it.
    """
    if target == b"*" and method == b"OPTIONS":
        return None, target
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None or int(match[2] or 0) > 65535:
        raise Refused(BAD_REQUEST.because("the target is neither a path nor a URL of HTTP's"))
    rest = match[3] or b""
    return match[1], rest if rest.startswith(b"/") else b"/" + rest
