"""Expected values were compared with those of another implementation of the URL Standard."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.url import URL, SearchParams, is_plain_host, normalize_target


def from_request(host: bytes, target: bytes = b"/", query: bytes = b"") -> URL:
    return URL.from_request("http", host, normalize_target(target), query)


def test_a_url_has_parts() -> None:
    url = URL("https://example.com:8443/a/b?x=1&y=2#top")
    assert (url.protocol, url.origin) == ("https:", "https://example.com:8443")
    assert (url.host, url.hostname, url.port) == ("example.com:8443", "example.com", "8443")
    assert (url.pathname, url.search, url.hash) == ("/a/b", "?x=1&y=2", "#top")


def test_parts_may_be_missing() -> None:
    url = URL("http://a")
    assert url.href == "http://a/"
    assert (url.host, url.port, url.pathname, url.search, url.hash) == ("a", "", "/", "", "")


def test_a_url_as_text_is_its_href() -> None:
    url = URL("HTTP://Example.COM")
    assert str(url) == url.href == "http://example.com/"
    assert repr(url) == "URL('http://example.com/')"


def test_urls_compare_normalized() -> None:
    assert URL("http://a:80/b/../c") == URL("HTTP://A/c")
    assert hash(URL("http://a:80")) == hash(URL("http://a"))
    assert URL("http://a") != URL("https://a")
    assert URL("http://a") != "http://a/"


class Page(str, Enum):  # noqa: UP042 - what applications have written before there was StrEnum
    HOME = "http://a/home"


def test_a_url_named_by_an_enum_is_that_url() -> None:
    assert URL(Page.HOME).href == URL("home", Page.HOME).href == "http://a/home"


@pytest.mark.parametrize("value", [5, None, b"http://a/", ["http://a/"]])
def test_what_is_no_text_is_no_url(value: Any) -> None:
    # With a base, the text that str() makes of anything would be a fine relative URL.
    for arguments in ([value], [value, "http://a/"]):
        with pytest.raises(TypeError, match=f"^a URL is a str or a URL, not {kind(value)}$"):
            URL(*arguments)


@pytest.mark.parametrize("value", [5, b"http://a/", ["http://a/"]])
def test_what_is_no_text_is_no_base(value: Any) -> None:
    with pytest.raises(TypeError, match=f"^a base is a str or a URL, not {kind(value)}$"):
        URL("x", value)


def kind(value: object) -> str:
    return type(value).__name__


def test_a_url_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        URL("http://a").pathname = "/b"  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss", "ftp"])
def test_the_port_of_the_scheme_is_left_out(scheme: str) -> None:
    ports = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
    assert URL(f"{scheme}://a:{ports[scheme]}/").href == f"{scheme}://a/"
    assert URL(f"{scheme}://a:0008/").port == "8"


@pytest.mark.parametrize(
    ("text", "pathname"),
    [
        ("http://a/b/./c/../d", "/b/d"),
        ("http://a/%2e%2E/b/%2e", "/b/"),
        ("http://a/b/..", "/"),
        ("http://a//b//", "//b//"),
        ("http://a/\xe9 \"<>`{}^'", "/%C3%A9%20%22%3C%3E%60%7B%7D%5E'"),
        ("http://a/100%/%zz/%41", "/100%/%zz/%41"),
        ("http://a\\b\\c", "/b/c"),
        ("http://a/\ud800", "/%EF%BF%BD"),
    ],
)
def test_paths_are_normalized(text: str, pathname: str) -> None:
    assert URL(text).pathname == pathname


def test_query_and_fragment_are_percent_encoded() -> None:
    url = URL("http://a/?q=\xe9 '\"<>#\xe9 `?#")
    assert url.search == "?q=%C3%A9%20%27%22%3C%3E"
    assert url.hash == "#%C3%A9%20%60?#"


def test_an_empty_query_shows_in_the_href_only() -> None:
    url = URL("http://a/?#")
    assert url.href == "http://a/?#"
    assert (url.search, url.hash) == ("", "")


def test_blanks_around_and_line_breaks_within_are_dropped() -> None:
    assert URL(" \x00 ht\ntp://a/b\tc\r\n ").href == "http://a/bc"


@pytest.mark.parametrize("text", ["http:a", "http:/a", "http:///a", "http:\\\\a", "http:/\t/a"])
def test_slashes_before_host_follow_browsers(text: str) -> None:
    assert URL(text).href == "http://a/"


@pytest.mark.parametrize(
    ("text", "hostname"),
    [
        ("http://EX%41mple.com", "example.com"),
        ("http://b\xfccher.example", "xn--bcher-kva.example"),
        ("http://127.1", "127.0.0.1"),
        ("http://0x7F.0.0.010.", "127.0.0.8"),
        ("http://4294967295", "255.255.255.255"),
        ("http://0x", "0.0.0.0"),
        ("http://255.2.772", "255.2.3.4"),
        ("http://[::1]:80", "[::1]"),
        ("http://[1:0:0:2:0:0:0:3]", "[1:0:0:2::3]"),
        ("http://[::ffff:1.2.3.4]", "[::ffff:102:304]"),
        ("http://a_b.1a", "a_b.1a"),
    ],
)
def test_hosts_are_normalized(text: str, hostname: str) -> None:
    assert URL(text).hostname == hostname


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/path", "it has no scheme, and there is no base"),
        ("", "it has no scheme"),
        ("http://", "it has no host"),
        ("http://u@", "it has no host"),
        ("foo://u@/", "it has no host"),
        ("foo://:80/", "it has no host"),
        ("http://a b", "its host has a forbidden character"),
        ("http://a%2Fb", "its host has a forbidden character"),
        ("http://\u2100.com", "its host has a forbidden character"),
        ("foo://a b", "its host has a forbidden character"),
        ("http://a:x", "what follows the host is not a port"),
        ("http://[::1]x", "what follows the host is not a port"),
        ("http://a:65536", "its port is over 65535"),
        ("http://[::1%25eth0]", "its host is not an IPv6 address"),
        ("http://[1:2]", "1:2"),
        ("http://1.2.3.256", "not an IPv4 address"),
        ("http://256.2.3.4", "not an IPv4 address"),
        ("http://1.2.3.4.0", "not an IPv4 address"),
        ("http://a.1", "'a' is not one"),
        ("http://08", "base 8"),
        ("http://\xe9" + "x" * 63, "too long"),
    ],
)
def test_invalid_url_is_refused_with_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="is not a URL: ") as caught:
        URL(text)
    assert repr(text) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "href"),
    [
        ("", "http://a/b/c?d"),
        ("#f", "http://a/b/c?d#f"),
        ("?q", "http://a/b/c?q"),
        ("e", "http://a/b/e"),
        ("../e?q#f", "http://a/e?q#f"),
        ("../../../e", "http://a/e"),
        ("/e", "http://a/e"),
        ("//e/f", "http://e/f"),
        ("\\\\e", "http://e/"),
        ("/\t/e", "http://e/"),
        ("///e", "http://e/"),
        ("http:e", "http://a/b/e"),
        ("https:e", "https://e/"),
        ("mailto:e", "mailto:e"),
    ],
)
def test_a_reference_is_resolved_against_its_base(reference: str, href: str) -> None:
    assert URL(reference, "http://a/b/c?d#x").href == href
    assert URL(reference, URL("http://a/b/c?d#x")) == URL(href)


def test_credentials_do_not_become_the_host() -> None:
    url = URL("http://good.com:80@evil.com/")
    assert url.host == "evil.com"
    assert url.origin == "http://evil.com"


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("http://u:p@a", "http://u:p@a/"),
        ("http://u@a", "http://u@a/"),
        ("http://:p@a", "http://:p@a/"),
        ("http://:@a", "http://a/"),
        ("http://x@y@a:1/@b", "http://x%40y@a:1/@b"),
    ],
)
def test_credentials_stay_in_the_href(text: str, href: str) -> None:
    assert URL(text).href == href


@pytest.mark.parametrize(
    ("text", "base", "href"),
    [
        ("redis://Host/../0?a='", None, "redis://Host/0?a='"),
        ("redis://host", None, "redis://host"),
        ("x", "redis://host", "redis://host/x"),
        ("redis:/a/../b", None, "redis:/b"),
        ("redis:/..//b", None, "redis:/.//b"),
        ("foo://a\x7f%20/", None, "foo://a%7F%20/"),
        ("file:///etc/hosts", None, "file:///etc/hosts"),
        ("mailto:me@a.b \xe9", None, "mailto:me@a.b %C3%A9"),
        ("#f", "mailto:me", "mailto:me#f"),
    ],
)
def test_other_schemes_are_urls_too(text: str, base: str | None, href: str) -> None:
    url = URL(text, base)
    assert url.href == href
    assert url.origin == "null"


def test_url_without_path_resolves_only_fragments() -> None:
    with pytest.raises(ValueError, match="nothing is relative to a 'mailto' URL"):
        URL("x", "mailto:me")


def test_a_url_without_a_host_has_an_empty_one() -> None:
    url = URL("mailto:me")
    assert (url.host, url.hostname, url.pathname) == ("", "", "me")


@given(st.text(), st.sampled_from(["", "http://a/", "http://", "foo:", "http://a?"]))
def test_a_normalized_url_stays_as_it_is(text: str, start: str) -> None:
    try:
        url = URL(start + text)
    except ValueError:
        return
    assert URL(url.href).href == url.href
    assert url.href.isascii()


def test_search_params_of_a_url_are_its_query() -> None:
    url = URL("http://a/?q=1&q=2")
    assert url.search_params.get_all("q") == ["1", "2"]
    assert url.search_params is url.search_params


def test_a_request_has_the_url_of_its_host_target_and_query() -> None:
    url = from_request(b"Example.com:8080", b"/a/b", b"x=1")
    assert url == URL("http://example.com:8080/a/b?x=1")
    assert url.search_params.get("x") == "1"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"LOCALHOST:080", "http://localhost"),
        (b"127.0.0.1:8000", "http://127.0.0.1:8000"),
        (b"127.1", "http://127.0.0.1"),
        (b"[::1]:8000", "http://[::1]:8000"),
        (b"a.b.:65535", "http://a.b.:65535"),
    ],
)
def test_a_host_field_is_a_host_and_perhaps_a_port(host: bytes, origin: str) -> None:
    assert from_request(host).origin == origin


@pytest.mark.parametrize(
    "host",
    [b"a b", b"good@evil", b"good/x", b"good?x", b"good#x", b"a:65536", b"a:b", b"", b"\xe9",
     b"a\t", b"1.2.3.256", b"a\\b", b"[::1", b":80"],
)  # fmt: skip
def test_a_host_field_is_not_anything_else(host: bytes) -> None:
    assert not is_plain_host(host)
    with pytest.raises(ValueError, match="the request has no URL; its Host is b") as caught:
        from_request(host)
    assert repr(host) in str(caught.value)


@given(st.from_regex(rb"[a-zA-Z0-9._:-]{1,12}", fullmatch=True))
def test_fast_path_for_hosts_parses_alike(host: bytes) -> None:
    if is_plain_host(host):
        assert from_request(host) == URL(f"http://{host.decode()}/")


@pytest.mark.parametrize(
    ("target", "pathname"),
    [
        (b"/", "/"),
        (b"/a/b.c/~d%20e", "/a/b.c/~d%20e"),
        (b"//evil.com/", "//evil.com/"),
        (b"/a/../b", "/b"),
        (b"/a/%2e%2e/b", "/b"),
        (b"/a\\..\\b", "/b"),
        (b"/\xc3\xa9\xff", "/%C3%A9%FF"),
        (b"/a\tb", "/a%09b"),
        (b"/a#b", "/a%23b"),
        (b"/a?b", "/a"),
        (b"*", "/*"),
        (b"@evil.com/", "/@evil.com/"),
        (b"", "/"),
    ],
)
def test_a_request_target_becomes_a_path(target: bytes, pathname: str) -> None:
    assert normalize_target(target) == pathname
    assert from_request(b"a", target).href == f"http://a{pathname}"


@given(st.text(st.characters(codec="ascii", exclude_characters="?#\t\n\r ", min_codepoint=32)))
def test_a_request_target_becomes_the_path_it_would_have_in_a_url(text: str) -> None:
    assert normalize_target(f"/{text}".encode()) == URL(f"http://a/{text}").pathname


def test_a_query_from_the_wire_is_percent_encoded() -> None:
    assert from_request(b"a", query=b"x=\xff '#").search == "?x=%FF%20%27%23"
    assert from_request(b"a", query=b"").search == ""


def test_a_query_gives_names_and_values() -> None:
    params = SearchParams("?q=a+b%20c&empty=&flag&&q=%C3%A9")
    assert params.items() == [("q", "a b c"), ("empty", ""), ("flag", ""), ("q", "\xe9")]
    assert params.get("q") == params["q"] == "a b c"
    assert params.get_all("q") == ["a b c", "\xe9"]


def test_malformed_escapes_stay_as_they_are() -> None:
    assert SearchParams("a=100%&b=%zz&%4=%ff").items() == [
        ("a", "100%"),
        ("b", "%zz"),
        ("%4", "\ufffd"),
    ]


def test_an_absent_parameter_gives_the_default() -> None:
    params = SearchParams()
    assert params.get("a") is None
    assert params.get("a", "1") == "1"
    assert not params.has("a")
    with pytest.raises(KeyError, match="a"):
        params["a"]


def test_iterating_parameters_gives_each_name_once() -> None:
    params = SearchParams([("b", "1"), ("a", "2"), ("b", "3")])
    assert list(params) == params.keys() == ["b", "a"]
    assert len(params) == 2
    assert dict(params) == {"b": "1", "a": "2"}
    assert "b" in params
    assert "c" not in params


def test_parameters_can_be_made_from_mappings_and_from_each_other() -> None:
    params = SearchParams({"a": "1 2", "\xe9": "&~*"})
    assert str(params) == "a=1+2&%C3%A9=%26%7E*"
    assert SearchParams(params) == params
    assert hash(SearchParams(params)) == hash(params)
    assert repr(params) == "SearchParams('a=1+2&%C3%A9=%26%7E*')"


def test_parameters_are_not_equal_to_other_things() -> None:
    assert SearchParams("a=1&b=2") != SearchParams("b=2&a=1")
    assert SearchParams("a=1") != "a=1"


@given(st.lists(st.tuples(st.text(), st.text())))
def test_parameters_survive_the_round_trip(pairs: list[tuple[str, str]]) -> None:
    text = str(SearchParams(pairs))
    assert SearchParams(text).items() == pairs
    assert URL(f"http://a/?{text}").search_params == SearchParams(pairs)
