from __future__ import annotations

import pytest

from holdfast.web.forms import File, FormData, parse_multipart_name
from tests.core.fakes import run

PHOTO = File(b"\xff\xd8", "cat.jpg", "image/jpeg")
FORM = FormData([("tag", "a"), ("photo", PHOTO), ("tag", "b"), ("empty", "")])


def test_fields_are_found_by_name() -> None:
    assert FORM.get("tag") == FORM["tag"] == "a"
    assert FORM.get("photo") is PHOTO
    assert FORM.get_all("tag") == ["a", "b"]
    assert FORM.has("empty")
    assert "empty" in FORM


def test_missing_field_is_none_or_default() -> None:
    assert FORM.get("x") is None
    assert FORM.get("x", "default") == "default"
    assert FORM.get("x", None) is None
    assert FORM.get_all("x") == []
    assert not FORM.has("x")
    assert 5 not in FORM
    with pytest.raises(KeyError, match="x"):
        FORM["x"]


def test_fields_keep_their_order_and_names_are_given_once() -> None:
    assert FORM.items() == [("tag", "a"), ("photo", PHOTO), ("tag", "b"), ("empty", "")]
    assert list(FORM) == FORM.keys() == ["tag", "photo", "empty"]
    assert len(FORM) == 3


def test_a_list_of_fields_is_a_copy() -> None:
    FORM.items().clear()
    assert len(FORM.items()) == 4


def test_an_empty_form_has_nothing() -> None:
    assert FormData().items() == []
    assert len(FormData()) == 0


def test_a_file_can_be_read_more_than_once() -> None:
    assert (PHOTO.name, PHOTO.type, PHOTO.size) == ("cat.jpg", "image/jpeg", 2)
    assert run(PHOTO.bytes()) == run(PHOTO.bytes()) == b"\xff\xd8"


def test_the_text_of_a_file_is_utf_8_and_never_fails() -> None:
    file = File("\ufeffJ\xf6rg".encode() + b"\xff", "a.txt")
    assert file.type == "text/plain"
    assert run(file.text()) == "J\xf6rg\ufffd"


def test_forms_and_files_show_what_they_are() -> None:
    assert repr(FormData([("a", "b"), ("c", File(b"abc", "x"))])) == (
        "FormData([('a', 'b'), ('c', <File 'x', text/plain, 3 bytes>)])"
    )


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"plain", "plain"),
        ("J\xf6rg".encode(), "J\xf6rg"),
        (b"\xff", "\ufffd"),
        (b"say %22hi%22%0D%0A", 'say "hi"\r\n'),
        (b"100%25 %0a", "100%25 %0a"),
    ],
)
def test_names_are_what_the_browser_had(raw: bytes, name: str) -> None:
    assert parse_multipart_name(raw) == name
