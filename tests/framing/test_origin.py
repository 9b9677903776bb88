"""I-5.3: pages of other origins do not open a WebSocket unless they are allowed to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.framing.origin import OriginPolicy

SAME_ORIGIN = OriginPolicy()


def headers(origin: str | None, host: str = "example.com") -> list[tuple[bytes, bytes]]:
    lines = [(b"host", host.encode("latin-1"))]
    if origin is not None:
        lines.append((b"origin", origin.encode("latin-1")))
    return lines


def test_client_without_origin_is_allowed() -> None:
    assert SAME_ORIGIN.allows(headers(None))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com", "example.com:443"),
        ("http://example.com", "example.com:80"),
        ("http://example.com:8000", "example.com:8000"),
        ("http://example.com:80", "example.com"),
        ("HTTP://EXAMPLE.com", "Example.COM"),
        ("http://[::1]:7777", "[::1]:7777"),
        ("http://127.0.0.1:7777", "127.0.0.1:7777"),
        (" http://example.com\t", "example.com"),
        ("http://example.com", "example.com:"),
        ("app://chat", "chat"),
    ],
)
def test_a_page_of_the_server_itself_may_come(origin: str, host: str) -> None:
    assert SAME_ORIGIN.allows(headers(origin, host))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "example.com"),
        ("http://example.com.evil.example", "example.com"),
        ("http://sub.example.com", "example.com"),
        ("http://example.com", "sub.example.com"),
        ("http://example.com:8000", "example.com"),
        ("http://example.com", "example.com:8000"),
        ("https://example.com", "example.com:80"),
        ("null", "null"),
        ("", ""),
        ("example.com", "example.com"),
        ("http://example.com/", "example.com"),
        ("http://user@example.com", "example.com"),
        ("http://example.com http://evil.example", "example.com"),
        ("http://example.com", "example.com, evil.example"),
        ("http://ex\xe4mple.com", "ex\xe4mple.com"),
        ("http://example.com\n", "example.com"),
    ],
)
def test_a_page_of_anybody_else_may_not(origin: str, host: str) -> None:
    assert not SAME_ORIGIN.allows(headers(origin, host))


def test_several_origins_are_nobody_s() -> None:
    lines = headers("http://example.com") + headers("http://example.com")[1:]
    assert not SAME_ORIGIN.allows(lines)


def test_without_a_host_there_is_nothing_to_compare_with() -> None:
    assert not SAME_ORIGIN.allows(headers("http://example.com")[1:])


def test_with_several_hosts_neither_counts() -> None:
    lines = [*headers("http://example.com"), (b"host", b"example.com")]
    assert not SAME_ORIGIN.allows(lines)


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("*", "http://evil.example"),
        ("*", "null"),
        ("null", "null"),
        ("https://app.example", "https://app.example"),
        ("https://app.example", "https://app.example:443"),
        ("https://app.example:443", "https://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:8443", "https://app.example:8443"),
        ("https://*.app.example", "https://a.app.example"),
        ("https://*.app.example", "https://b.a.app.example"),
        ("http://localhost:*", "http://localhost"),
        ("http://localhost:*", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_a_pattern_allows_what_it_matches(pattern: str, origin: str) -> None:
    assert OriginPolicy(("https://other.example", pattern)).allows(headers(origin))


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("null", "http://evil.example"),
        ("https://app.example", "http://app.example"),
        ("https://app.example", "https://app.example:8443"),
        ("https://app.example:8443", "https://app.example"),
        ("https://app.example", "https://appxexample"),
        ("https://app.example", "https://app.example.evil.example"),
        ("https://*.app.example", "https://app.example"),
        ("https://*.app.example", "https://evilapp.example"),
        ("https://*.app.example", "https://evil.example/.app.example"),
        ("http://localhost:*", "http://localhost.evil.example"),
        ("http://localhost:*", "http://localhost:port"),
        ("chrome-extension://abcdef", "chrome-extension://abcdefg"),
    ],
)
def test_a_pattern_allows_nothing_else(pattern: str, origin: str) -> None:
    assert not OriginPolicy((pattern,)).allows(headers(origin))


def test_the_server_s_own_origin_needs_no_pattern() -> None:
    assert OriginPolicy(("https://app.example",)).allows(headers("http://example.com"))


@pytest.mark.parametrize(
    "pattern",
    ["", "example.com", "https://", "https://a/", "https://a/b", "https://*", "*.example.com",
     "https://a:b", "https://a.*.b", "https://a b", "https://a\n"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not an origin") as caught:
        OriginPolicy((pattern,))
    assert repr(pattern) in str(caught.value)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_raises(origin: bytes, host: bytes) -> None:
    policy = OriginPolicy(("https://*.app.example",))
    policy.allows([(b"host", host), (b"origin", origin)])
