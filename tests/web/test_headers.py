from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.web.headers import Headers, is_token

NAMES = st.sampled_from(["a", "A", "Accept", "x-one", "X-ONE"])
CONTROLS = "".join(map(chr, {*range(32), 127} - {9}))
VALUES = st.text(st.characters(codec="latin-1", exclude_characters=CONTROLS)).map(
    lambda text: text.strip(" \t")
)
CHANGES = st.lists(st.tuples(st.sampled_from(["set", "append", "delete"]), NAMES, VALUES))


def test_names_are_found_in_any_case() -> None:
    headers = Headers({"Content-Type": "text/html"})
    assert headers.get("content-type") == "text/html"
    assert headers["CONTENT-TYPE"] == "text/html"
    assert "Content-type" in headers
    assert headers.has("cOnTeNt-TyPe")


def test_without_arguments_there_are_no_fields() -> None:
    headers = Headers()
    assert headers.items() == []
    assert len(headers) == 0


def test_pairs_keep_their_order_and_their_repetitions() -> None:
    headers = Headers([("B", "1"), ("a", "2"), ("b", "3")])
    assert headers.items() == [("b", "1"), ("a", "2"), ("b", "3")]


def test_several_values_are_joined_with_commas() -> None:
    headers = Headers([("accept", "text/html"), ("accept", "text/plain")])
    assert headers.get("accept") == "text/html, text/plain"
    assert headers.get_all("accept") == ["text/html", "text/plain"]


def test_cookies_are_never_joined() -> None:
    headers = Headers([("Set-Cookie", "a=1; Expires=Thu, 01 Jan"), ("Set-Cookie", "b=2")])
    assert headers.get_set_cookie() == ["a=1; Expires=Thu, 01 Jan", "b=2"]
    assert headers.get("set-cookie") == "a=1; Expires=Thu, 01 Jan"


def test_an_absent_field_gives_the_default() -> None:
    headers = Headers()
    assert headers.get("accept") is None
    assert headers.get("accept", "*/*") == "*/*"
    assert headers.get_all("accept") == []


def test_an_empty_value_is_not_an_absent_one() -> None:
    assert Headers({"accept": ""}).get("accept", "*/*") == ""


def test_indexing_an_absent_field_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="accept"):
        Headers()["accept"]


def test_iterating_gives_each_name_once_as_a_mapping_would() -> None:
    headers = Headers([("B", "1"), ("a", "2"), ("b", "3")])
    assert list(headers) == headers.keys() == ["b", "a"]
    assert len(headers) == 2
    assert dict(headers) == {"b": "1, 3", "a": "2"}


def test_set_replaces_all_values_in_the_place_of_the_first() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("c", "3"), ("b", "4")])
    headers.set("B", "5")
    assert headers.items() == [("a", "1"), ("b", "5"), ("c", "3")]


def test_set_appends_a_new_name() -> None:
    headers = Headers({"a": "1"})
    headers.set("b", "2")
    assert headers.items() == [("a", "1"), ("b", "2")]


def test_append_keeps_what_is_there() -> None:
    headers = Headers({"a": "1"})
    headers.append("A", "2")
    assert headers.get_all("a") == ["1", "2"]


def test_delete_removes_all_values_and_does_not_mind_their_absence() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("A", "3")])
    headers.delete("A")
    headers.delete("never-there")
    assert headers.items() == [("b", "2")]


@pytest.mark.parametrize("name", [5, None, b"a", ["a"]])
def test_asking_by_what_is_no_text_is_refused(name: Any) -> None:
    headers = Headers({"a": "1"})
    asking: list[Any] = [
        headers.get,
        headers.get_all,
        headers.has,
        headers.delete,
        headers.__getitem__,
    ]
    for ask in asking:
        with pytest.raises(TypeError, match=f"^a header name is a str, not {type(name).__name__}$"):
            ask(name)
    assert name not in headers
    assert headers.items() == [("a", "1")]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "é", "\u212a"])
def test_a_name_that_is_not_a_token_is_refused_and_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header name") as caught:
        Headers({name: "1"})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "\ra", "a\0", "a\x1b", "\x7f"])
def test_a_value_that_could_split_the_message_is_refused(value: str) -> None:
    headers = Headers()
    with pytest.raises(ValueError, match="'x-user' contains a control character"):
        headers.append("x-user", value)
    assert headers.items() == []


def test_a_value_outside_latin_1_is_refused() -> None:
    with pytest.raises(ValueError, match="'x-user' has a character outside latin-1"):
        Headers({"x-user": "\u20ac"})


def test_a_value_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="header 'x-count' is a str, not int"):
        Headers().set("x-count", 1)  # type: ignore[arg-type]


def test_a_name_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a header name is a str, not bytes"):
        Headers([(b"x-count", "1")])  # type: ignore[list-item]


@pytest.mark.parametrize("init", [5, "ab", b"ab", object(), True])
def test_headers_from_other_types_are_refused(init: Any) -> None:
    with pytest.raises(TypeError, match=f"pairs of name and value, not {type(init).__name__}$"):
        Headers(init)


@pytest.mark.parametrize("field", ["ab", "secret", 5, None, ("a",), ("a", "secret", "c"), {1, 2}])
def test_malformed_pair_is_refused_without_quoting_it(field: Any) -> None:
    # Two letters are no pair either, though they can be unpacked.
    with pytest.raises(TypeError, match=r"^a header is a pair of name and value") as caught:
        Headers([("a", "1"), field])
    assert "secret" not in str(caught.value)


def test_a_field_may_be_a_list_of_two() -> None:
    assert Headers([["a", "1"]]).items() == [("a", "1")]  # type: ignore[list-item]


def test_blanks_around_a_value_are_stripped() -> None:
    assert Headers({"a": " \t1 2\t "}).get("a") == "1 2"


def test_asking_for_what_cannot_be_a_name_finds_nothing() -> None:
    headers = Headers({"k": "1"})
    assert not headers.has("\u212a")  # the Kelvin sign, "k" in lower case
    assert headers.get("a b") is None
    assert 1 not in headers


def test_raw_is_what_asgi_wants() -> None:
    assert Headers({"X-Name": "J\xf6rg"}).raw == [(b"x-name", b"J\xf6rg")]


def test_fields_from_the_wire_are_decoded_as_latin_1() -> None:
    headers = Headers.from_raw([(b"x-name", b"J\xf6rg"), (b"a", b"1")])
    assert headers.get("X-Name") == "J\xf6rg"
    assert headers.items() == [("x-name", "J\xf6rg"), ("a", "1")]


def test_changes_do_not_reach_given_lists() -> None:
    given = [(b"a", b"1")]
    headers = Headers.from_raw(given)
    taken = headers.raw
    headers.append("b", "2")
    headers.set("a", "3")
    assert given == taken == [(b"a", b"1")]


def test_a_copy_and_its_original_change_apart() -> None:
    original = Headers({"a": "1"})
    for copy in (original.copy(), Headers(original)):
        copy.set("a", "2")
    assert original.get("a") == "1"


def test_equality_looks_at_the_order_within_a_name_only() -> None:
    assert Headers([("a", "1"), ("b", "2")]) == Headers([("B", "2"), ("A", "1")])
    assert Headers([("a", "1"), ("a", "2")]) != Headers([("a", "2"), ("a", "1")])
    assert Headers() != {}


def test_repr_shows_the_fields() -> None:
    assert repr(Headers({"A": "1"})) == "Headers([('a', '1')])"


def test_tokens_are_told_from_other_text() -> None:
    assert is_token("M-SEARCH")
    assert not is_token("GET ")
    assert not is_token("")


@pytest.mark.parametrize("value", [5, None, b"GET"])
def test_what_is_no_text_is_no_token(value: Any) -> None:
    assert not is_token(value)


def change_list(model: list[tuple[str, str]], change: str, name: str, value: str) -> None:
    """What Headers do, on a plain list."""
    places = [place for place, pair in enumerate(model) if pair[0] == name]
    if change == "append" or (change == "set" and not places):
        model.append((name, value))
        return
    for place in reversed(places):
        del model[place]
    if change == "set":
        model.insert(places[0], (name, value))


@given(CHANGES)
def test_changes_match_a_plain_list(
    changes: list[tuple[str, str, str]],
) -> None:
    headers, model = Headers(), list[tuple[str, str]]()
    for change, name, value in changes:
        arguments = (name,) if change == "delete" else (name, value)
        getattr(headers, change)(*arguments)
        change_list(model, change, name.lower(), value)
    assert headers.items() == model
