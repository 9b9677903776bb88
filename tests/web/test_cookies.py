from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.cookies import parse_cookies, serialize_cookie, serialize_deletion


def test_a_cookie_field_becomes_names_and_values() -> None:
    assert parse_cookies("session=abc; theme=dark") == {"session": "abc", "theme": "dark"}


def test_an_empty_field_has_no_cookies() -> None:
    assert parse_cookies("") == {}


def test_the_first_of_two_cookies_with_one_name_counts() -> None:
    assert parse_cookies("a=of /deep/path; a=of /") == {"a": "of /deep/path"}


def test_a_value_may_contain_equals_signs() -> None:
    assert parse_cookies("token=YWJj==") == {"token": "YWJj=="}


def test_blanks_around_names_and_values_do_not_count() -> None:
    assert parse_cookies(" a = 1 ;b=2;\tc=3") == {"a": "1", "b": "2", "c": "3"}


def test_what_has_no_name_is_skipped() -> None:
    assert parse_cookies("flag; =x; ;; a=1") == {"a": "1"}


def test_quotes_around_a_value_are_dropped() -> None:
    assert parse_cookies('a="1 2"; b=""; c="') == {"a": "1 2", "b": "", "c": '"'}


def test_escapes_are_decoded() -> None:
    assert parse_cookies("name=J%C3%B6rg%3B") == {"name": "J\xf6rg;"}


@pytest.mark.parametrize("value", ["100%", "%zz", "%2", "%20%", "%ff", "%u20ac"])
def test_a_malformed_escape_keeps_the_value_as_it_came(value: str) -> None:
    assert parse_cookies(f"a={value}; b=2") == {"a": value, "b": "2"}


@given(st.text())
def test_parsing_never_fails(field: str) -> None:
    parse_cookies(field)


@given(st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True), st.text(max_size=300))
def test_any_text_survives_the_round_trip(name: str, value: str) -> None:
    field = serialize_cookie(name, value, secure=True, path=None)
    assert field.isascii()
    assert field.isprintable()
    assert parse_cookies(field.partition(";")[0]) == {name: value}


def test_the_defaults_are_the_careful_ones() -> None:
    assert serialize_cookie("a", "1") == "a=1; Path=/; Secure; SameSite=Lax"


def test_every_attribute_is_written() -> None:
    expires = datetime(2030, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=1)))
    assert serialize_cookie(
        "a", "1", max_age=60, expires=expires, path="/x", domain="example.com", http_only=True
    ) == (
        "a=1; Max-Age=60; Expires=Sun, 03 Feb 2030 03:05:06 GMT; Domain=example.com; Path=/x; "
        "Secure; HttpOnly; SameSite=Lax"
    )


def test_attributes_can_be_left_out() -> None:
    field = serialize_cookie("a", "1", path=None, secure=False, same_site="strict")
    assert field == "a=1; SameSite=Strict"


def test_dates_have_two_digits_for_the_day_and_four_for_the_year() -> None:
    field = serialize_cookie("a", "1", expires=datetime(1999, 1, 1, tzinfo=UTC))
    assert "; Expires=Fri, 01 Jan 1999 00:00:00 GMT;" in field


def test_an_expiry_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' has no time zone"):
        serialize_cookie("a", "1", expires=datetime(2030, 1, 1))


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a,b", "a\r\n", "a\0", "\xe9"])
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a cookie name"):
        serialize_cookie(name, "1")


@pytest.mark.parametrize("name", [5, None, b"a"])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    words = f"^the name of a cookie is of type str, not {type(name).__name__}$"
    with pytest.raises(TypeError, match=words):
        serialize_cookie(name, "1")
    with pytest.raises(TypeError, match=words):
        serialize_deletion(name)


@pytest.mark.parametrize("value", [5, None, b"1", ["1"]])
def test_a_value_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^the value of cookie 'a' is of type str, not "):
        serialize_cookie("a", value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_age": "60"}, "the max_age of cookie 'a' is of type int, not str"),
        ({"max_age": 60.0}, "the max_age of cookie 'a' is of type int, not float"),
        ({"max_age": True}, "the max_age of cookie 'a' is of type int, not bool"),
        ({"expires": "tomorrow"}, "the expiry of cookie 'a' is of type datetime, not str"),
        ({"expires": date(2030, 1, 1)}, "the expiry of cookie 'a' is of type datetime, not date"),
        ({"path": 5}, "the path of cookie 'a' is of type str, not int"),
        ({"domain": b"a"}, "the domain of cookie 'a' is of type str, not bytes"),
    ],
)
def test_an_attribute_of_another_type_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        serialize_cookie("a", "1", **options)


@pytest.mark.parametrize(
    "expires",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_an_expiry_in_a_year_that_no_date_has_is_refused(expires: datetime) -> None:
    with pytest.raises(
        ValueError, match=r"^the expiry of cookie 'a' is in no year from 1 to 9999$"
    ):
        serialize_cookie("a", "1", expires=expires)


@pytest.mark.parametrize("attribute", ["path", "domain"])
def test_an_attribute_that_browsers_would_ignore_for_its_length_is_refused(attribute: str) -> None:
    longest: dict[str, Any] = {attribute: "/" * 1024 if attribute == "path" else "a" * 1024}
    assert serialize_cookie("a", "1", **longest)
    with pytest.raises(ValueError, match=f"^cookie 'a' cannot have the {attribute} "):
        serialize_cookie("a", "1", **{attribute: longest[attribute] + "a"})


@pytest.mark.parametrize("path", ["/\r\nX: y", "/;a", "/\0", "/\xe9", "/\x7f"])
def test_a_path_that_could_become_another_attribute_or_header_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cookie 'a' cannot have the path"):
        serialize_cookie("a", "1", path=path)


@pytest.mark.parametrize("domain", ["", "a b", "a;b", "a,b", "a\n", "\xe9.fr"])
def test_a_domain_that_is_not_a_host_name_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="cookie 'a' cannot have the domain"):
        serialize_cookie("a", "1", domain=domain)


def test_more_than_browsers_take_is_refused() -> None:
    assert serialize_cookie("abcd", "x" * 4092)
    with pytest.raises(ValueError, match="cookie 'abcd' has 4097 bytes"):
        serialize_cookie("abcd", "x" * 4093)


def test_escapes_count_towards_the_size() -> None:
    with pytest.raises(ValueError, match="has 4201 bytes"):
        serialize_cookie("a", ";" * 1400)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="the value of cookie 'a' is not valid Unicode text"):
        serialize_cookie("a", "\ud800")


@pytest.mark.parametrize("same_site", ["Lax; Domain=x", "Lax", None, 5, ["lax"]])
def test_an_unknown_same_site_is_refused(same_site: Any) -> None:
    with pytest.raises(ValueError, match=r"^cookie 'a' cannot have same_site=") as caught:
        serialize_cookie("a", "1", same_site=same_site)
    assert repr(same_site) in str(caught.value)


def test_a_cookie_for_all_sites_has_to_be_secure() -> None:
    assert serialize_cookie("a", "1", same_site="none").endswith("Secure; SameSite=None")
    with pytest.raises(ValueError, match="same_site='none' has to be secure"):
        serialize_cookie("a", "1", same_site="none", secure=False)


@pytest.mark.parametrize("name", ["__Secure-a", "__Host-a", "__host-a"])
def test_a_name_that_promises_security_has_to_be_secure(name: str) -> None:
    with pytest.raises(ValueError, match="has to be secure"):
        serialize_cookie(name, "1", secure=False)


@pytest.mark.parametrize("options", [{"path": "/x"}, {"path": None}, {"domain": "example.com"}])
def test_a_name_that_promises_one_host_has_no_domain_and_the_root_path(
    options: dict[str, Any],
) -> None:
    assert serialize_cookie("__Secure-a", "1", **options)
    with pytest.raises(ValueError, match="'__Host-a' has to have the path '/' and no domain"):
        serialize_cookie("__Host-a", "1", **options)


def test_a_deletion_is_an_expiry_at_the_epoch() -> None:
    assert serialize_deletion("a", "/x", "example.com") == (
        "a=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=example.com; Path=/x; "
        "SameSite=Lax"
    )


def test_a_deletion_is_secure_where_the_name_demands_it() -> None:
    assert "; Secure;" in serialize_deletion("__Host-a")
