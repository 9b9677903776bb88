from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from holdfast.web.files import FileBody, entity_tag, guess_type, is_unchanged
from holdfast.web.headers import Headers

NOON = 1_700_000_000


def parse_date(text: str) -> int | None:
    """Dates in these tests are numbers."""
    return int(text) if text.isdigit() else None


def unchanged(**headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return is_unchanged(Headers(named), 'W/"a-1"', NOON, parse_date)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("site.min.css", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("NOTES.TXT", "text/plain; charset=utf-8"),
        ("data.json", "application/json"),
        ("logo.svg", "image/svg+xml"),
        ("photo.JPG", "image/jpeg"),
        ("font.woff2", "font/woff2"),
        ("module.wasm", "application/wasm"),
        # Not what is inside: that would need a Content-Encoding too.
        ("page.html.gz", "application/gzip"),
        ("thing.unknown", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("dir.html/file", "application/octet-stream"),
    ],
)
def test_the_suffix_tells_the_type(name: str, content_type: str) -> None:
    assert guess_type(PurePosixPath("static") / name) == content_type


def test_a_file_is_named_and_nothing_more() -> None:
    body = FileBody(PurePosixPath("a/b"), None)
    assert (body.path, body.root) == (PurePosixPath("a/b"), None)


def test_the_tag_of_a_file_changes_with_its_time_and_its_size() -> None:
    tags = {entity_tag(1, 1), entity_tag(2, 1), entity_tag(1, 2), entity_tag(17, 255)}
    assert len(tags) == 4
    assert entity_tag(17, 255) == 'W/"11-ff"'


def test_a_request_without_conditions_gets_the_file() -> None:
    assert not unchanged()


@pytest.mark.parametrize("tags", ['W/"a-1"', '"a-1"', '"x", W/"a-1"', '"a-1" , "x"', "*", " * "])
def test_a_tag_that_matches_confirms_the_copy(tags: str) -> None:
    # RFC 9110 section 13.1.2: the comparison is weak.
    assert unchanged(if_none_match=tags)


@pytest.mark.parametrize("tags", ['W/"a-2"', '"x", "y"', "", "a-1", '"*"'])
def test_a_tag_that_does_not_match_gets_the_file(tags: str) -> None:
    assert not unchanged(if_none_match=tags)


def test_tags_count_more_than_dates() -> None:
    # RFC 9110 section 13.1.3.
    assert not unchanged(if_none_match='"x"', if_modified_since=str(NOON))
    assert unchanged(if_none_match='"a-1"', if_modified_since="0")


@pytest.mark.parametrize(("date", "is_same"), [(-1, False), (0, True), (1, True)])
def test_fresh_copy_is_confirmed(date: int, is_same: bool) -> None:
    assert unchanged(if_modified_since=str(NOON + date)) is is_same


def test_a_date_that_is_none_does_not_count() -> None:
    # RFC 9110 section 13.1.3.
    assert not unchanged(if_modified_since="yesterday")
