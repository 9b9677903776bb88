"""Nothing that a record quotes is taken for a record, and no terminal obeys it."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.process.log import RecordFormatter, log_to_stderr


def formatted(message: str, *, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("holdfast", logging.ERROR, "", 0, "%s", (message,), exc_info)
    return RecordFormatter().format(record)


def test_a_record_tells_its_level_and_who_wrote_it() -> None:
    assert formatted("all is lost") == "ERROR holdfast: all is lost"


def test_further_lines_are_indented() -> None:
    assert formatted("a\nb\n\nc") == "ERROR holdfast: a\n    b\n    \n    c"


def test_the_text_of_an_exception_looks_like_no_record() -> None:
    text = formatted("it failed", error=ValueError("no\nERROR holdfast: forged"))
    assert text == ("ERROR holdfast: it failed\n    ValueError: no\n    ERROR holdfast: forged")


def test_text_of_all_languages_stays_as_it_is() -> None:
    assert formatted("grüße, привет, 你好 🙂\tok") == "ERROR holdfast: grüße, привет, 你好 🙂\tok"


@pytest.mark.parametrize(
    ("quoted", "seen"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\r", "\\r"),
        ("\x00", "\\x00"),
        ("\x7f", "\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("\x85", "\\x85"),
        ("\u2028", "\\u2028"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_text_is_escaped(quoted: str, seen: str) -> None:
    assert formatted(f"a{quoted}b") == f"ERROR holdfast: a{seen}b"


@given(st.text())
def test_a_record_has_one_line_that_begins_one_and_can_be_printed(message: str) -> None:
    first, *others = formatted(message).splitlines()
    assert first.startswith("ERROR holdfast: ")
    assert all(line.startswith("    ") for line in others)
    assert "".join((first, *others)).replace("\t", "").isprintable()


def test_a_process_writes_so_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "root", root)
    log_to_stderr()
    assert sys.stderr is not sys.__stderr__
    root.info("hello\nERROR root: forged")
    root.debug("not this")
    assert capsys.readouterr().err == "INFO root: hello\n    ERROR root: forged\n"
