from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.forwarded import MAX_HOPS, Proxies, forwarded_scheme

PEER = ("127.0.0.1", 5000)


def client(trusted: str, *fields: str) -> tuple[str, int] | None:
    return Proxies(trusted).client(PEER, [field.encode("latin-1") for field in fields])


@pytest.mark.parametrize(
    ("trusted", "host", "expected"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1, ::1", "::1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        # A client of IPv4 on a socket of both versions.
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("::/0", "10.1.2.3", False),
        ("*", "anything", True),
        ("10.0.0.1,*", "127.0.0.1", True),
        ("", "127.0.0.1", False),
        ("127.0.0.1", "not an address", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address(trusted: str, host: str, expected: bool) -> None:
    assert Proxies(trusted).trusts(host) is expected


def test_an_end_without_an_address_is_trusted_only_if_all_are() -> None:
    assert not Proxies("127.0.0.1").trusts(None)
    assert Proxies("*").trusts(None)


@pytest.mark.parametrize(
    "trusted", ["localhost", "10.0.0.0/33", "1.2.3", "127.0.0.1;::1", "fe80::%"]
)
def test_what_is_no_address_is_said_at_once(trusted: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Proxies(trusted)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["198.51.100.7"], ("198.51.100.7", 0)),
        (["198.51.100.7:80"], ("198.51.100.7", 80)),
        (["2001:DB8:0::7"], ("2001:db8::7", 0)),
        (["[2001:db8::7]"], ("2001:db8::7", 0)),
        (["[2001:db8::7]:65535"], ("2001:db8::7", 65535)),
        (["::ffff:198.51.100.7"], ("198.51.100.7", 0)),
        # RFC 7239 has it in quotes; X-Forwarded-For has not.
        (['"[2001:db8::7]"'], PEER),
    ],
)
def test_addresses_are_read_in_each_form(fields: list[str], expected: tuple[str, int]) -> None:
    assert client("127.0.0.1", *fields) == expected


@pytest.mark.parametrize(
    ("trusted", "fields", "expected"),
    [
        ("10.0.0.0/8", ["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
        ("10.0.0.0/8", ["1.1.1.1, 10.0.0.1"], "1.1.1.1"),
        ("10.0.0.0/8", ["1.1.1.1", "10.0.0.1,10.0.0.2"], "1.1.1.1"),
        ("10.0.0.0/8", ["10.0.0.1,10.0.0.2"], "10.0.0.1"),
        ("*", ["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
        ("10.0.0.0/8", ["evil, 10.0.0.1"], "10.0.0.1"),
        ("10.0.0.0/8", ["1.1.1.1, evil"], "127.0.0.1"),
        ("10.0.0.0/8", ["1.1.1.1, , 10.0.0.1"], "10.0.0.1"),
        ("*", ["evil, 2.2.2.2"], "2.2.2.2"),
        ("*", [""], "127.0.0.1"),
    ],
)
def test_a_chain_is_read_from_its_end_as_far_as_it_is_trusted(
    trusted: str, fields: list[str], expected: str
) -> None:
    found = client(trusted, *fields)
    assert found is not None
    assert found[0] == expected


@pytest.mark.parametrize(
    "entry",
    [
        "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4:", "1.2.3.4:65536",
        "1.2.3.4:-1", "1.2.3.4:80:80", "01.2.3.4", "[1::", "1::]", "[]", "[::1]x", "::1::",
        "fe80::1%x", "[fe80::1%x]", "1.2.3.4\x00", "\xb2.2.3.4", "1.2.3.4 5.6.7.8", "1.2.3.4/8",
        "<script>",
    ],
)  # fmt: skip
def test_what_is_no_address_counts_for_nothing(entry: str) -> None:
    assert client("127.0.0.1", entry) == PEER


def test_a_chain_that_is_too_long_is_read_as_far_as_it_goes() -> None:
    chain = ",".join(["1.1.1.1"] + ["10.0.0.1"] * 10_000)
    assert client("10.0.0.0/8", chain) == ("10.0.0.1", 0)
    just = ",".join(["1.1.1.1"] + ["10.0.0.1"] * (MAX_HOPS - 1))
    assert client("10.0.0.0/8", just) == ("1.1.1.1", 0)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(addresses, min_size=1, max_size=8))
def test_whatever_the_client_wrote_before_does_not_matter(
    chain: list[IPv4Address | IPv6Address],
) -> None:
    # The last address was written by a proxy that is trusted, and is not one itself.
    text = ", ".join(map(str, chain))
    last = getattr(chain[-1], "ipv4_mapped", None) or chain[-1]
    assert Proxies("").client(PEER, [text.encode()]) == (str(last), 0)


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=5), st.booleans())
def test_whatever_comes_the_client_has_an_address(fields: list[str], trusts_all: bool) -> None:
    found = client("*" if trusts_all else "10.0.0.0/8", *fields)
    assert found is not None
    ip_address(found[0])
    assert 0 <= found[1] <= 65535


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"https"], "https"),
        ([b"HTTPS"], "https"),
        ([b"ws"], "ws"),
        ([b"http", b"https"], "https"),
        ([b"https", b"javascript"], None),
        ([b"https, http"], None),
        ([b""], None),
        ([b"\xff"], None),
    ],
)
def test_a_scheme_is_one_of_http_or_none(fields: list[bytes], expected: str | None) -> None:
    assert forwarded_scheme(fields) == expected
