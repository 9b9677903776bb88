from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.head import SPECIAL, Special, check_special, split_target
from holdfast.http.limits import BAD_REQUEST, UNKNOWN_CODING, Refused

HOST = (b"host", b"a")
NOTHING = Special(expects_100=False, chain=None, scheme=None)


def status(version: str, *fields: tuple[bytes, bytes]) -> int:
    try:
        check_special(version, fields)
    except Refused as error:
        return error.refusal.status
    return 200


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "10.1"])
def test_only_two_versions_are_spoken(version: str) -> None:
    # RFC 9112 section 2.3.
    with pytest.raises(Refused, match=f"HTTP/{version}"):
        check_special(version, [HOST])
    assert check_special("1.1", [HOST]) == check_special("1.0", [HOST]) == NOTHING


@pytest.mark.parametrize(
    ("version", "hosts", "expected"),
    [("1.1", 0, 400), ("1.1", 1, 200), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
def test_there_is_one_host(version: str, hosts: int, expected: int) -> None:
    assert status(version, *[HOST] * hosts) == expected


@pytest.mark.parametrize(
    ("codings", "expected"),
    [
        ([b"chunked"], 200),
        ([b"Chunked"], 200),
        ([b"gzip, chunked"], 501),
        ([b"gzip,\tchunked"], 501),
        ([b"gzip"], 400),
        ([b"chunked, gzip"], 400),
        ([b"xchunked"], 400),
        ([b",chunked"], 400),
        ([b"chunked,"], 400),
        ([b""], 400),
        ([b"chunked", b"chunked"], 400),
        ([b"identity", b"chunked"], 400),
    ],
)
def test_the_only_coding_is_chunked(codings: list[bytes], expected: int) -> None:
    fields = [(b"transfer-encoding", coding) for coding in codings]
    assert status("1.1", HOST, *fields) == expected
    assert status("1.0", HOST, *fields) == 400


def test_a_refusal_is_one_of_those_that_are_known() -> None:
    with pytest.raises(Refused) as caught:
        check_special("1.1", [HOST, (b"transfer-encoding", b"gzip, chunked")])
    assert caught.value.refusal == UNKNOWN_CODING
    with pytest.raises(Refused) as caught:
        check_special("1.1", [])
    assert caught.value.refusal == BAD_REQUEST.because("0 Host fields")


@pytest.mark.parametrize(
    ("version", "values", "expected"),
    [
        ("1.1", [b"100-continue"], True),
        ("1.1", [b"100-Continue"], True),
        ("1.1", [b"something", b"100-continue"], True),
        ("1.1", [b"something"], False),
        ("1.0", [b"100-continue"], False),
    ],
)
def test_one_expectation_is_known(version: str, values: list[bytes], expected: bool) -> None:
    special = check_special(version, [HOST, *((b"expect", value) for value in values)])
    assert special.expects_100 is expected


def test_what_proxies_say_comes_in_its_order() -> None:
    fields = [
        HOST,
        (b"x-forwarded-for", b"a"),
        (b"x-forwarded-proto", b"c"),
        (b"x-forwarded-for", b"b"),
    ]
    assert check_special("1.1", fields) == Special(False, [b"a", b"b"], [b"c"])


@given(
    st.sampled_from(["0.9", "1.0", "1.1", "2.0"]),
    st.lists(st.tuples(st.sampled_from([b"host", *sorted(SPECIAL)]), st.binary(max_size=20))),
)
def test_whatever_they_are_they_are_used_or_refused(
    version: str, fields: list[tuple[bytes, bytes]]
) -> None:
    assert status(version, *fields) in (200, 400, 501)


# --- targets


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://b", b"b", b"/"),
        (b"http://b/", b"b", b"/"),
        (b"http://b/x/y?z", b"b", b"/x/y?z"),
        (b"http://b?x", b"b", b"/?x"),
        (b"HTTPS://b:81/x", b"b:81", b"/x"),
        (b"http://[::1]:81/x", b"[::1]:81", b"/x"),
        (b"http://b//x", b"b", b"//x"),
    ],
)
def test_a_target_may_name_the_host(target: bytes, host: bytes, path: bytes) -> None:
    assert split_target(b"GET", target) == (host, path)


def test_options_may_be_for_the_whole_server() -> None:
    # RFC 9110 section 9.3.7.
    assert split_target(b"OPTIONS", b"*") == (None, b"*")


@pytest.mark.parametrize(
    "target",
    [
        b"*", b"a:80", b"x", b"?x", b"ftp://b/x", b"http:b", b"http:/b", b"http:///x", b"http://",
        b"http://u@b/", b"http://u:p@b/", b"http://b:/", b"http://b:x/", b"http://b:65536/",
        b"http://b:999999/", b"http://[::1/", b"http://[x]/", b"http://b]/", b"/x#y", b"http://b#y",
        b"http://b/x#y", b"http://b?x#y",
    ],
)  # fmt: skip
def test_other_targets_are_refused(target: bytes) -> None:
    with pytest.raises(Refused, match="the target"):
        split_target(b"GET", target)


@given(st.binary())
def test_whatever_the_target_a_path_is_a_path(target: bytes) -> None:
    for before in (b"", b"http://", b"http://a/"):
        try:
            host, path = split_target(b"GET", before + target)
        except Refused:
            continue
        assert path.startswith(b"/")
        assert b"#" not in path
        assert host
        assert b"@" not in host
        assert b"/" not in host
