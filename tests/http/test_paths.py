from __future__ import annotations

from typing import Any

import pytest

from holdfast.http.paths import split_path


def scope(path: str, raw_path: bytes | None = None, root_path: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"path": path}
    if raw_path is not None:
        made["raw_path"] = raw_path
    if root_path is not None:
        made["root_path"] = root_path
    return made


def test_path_of_an_application_that_is_not_mounted_is_as_it_came() -> None:
    assert split_path(scope("/a b", b"/a%20b")) == (b"/a%20b", "")
    assert split_path(scope("/a b", b"/a%20b", "")) == (b"/a%20b", "")


def test_path_without_a_raw_one_is_encoded() -> None:
    assert split_path(scope("/grüße/a b")) == (b"/gr%C3%BC%C3%9Fe/a%20b", "")


@pytest.mark.parametrize("root", ["/chat", "/chat/"])
def test_root_is_taken_off_in_front(root: str) -> None:
    assert split_path(scope("/chat/room", b"/chat/room", root)) == (b"/room", "/chat")


def test_root_alone_is_a_slash() -> None:
    assert split_path(scope("/chat", b"/chat", "/chat")) == (b"/", "/chat")


def test_root_that_is_not_in_the_path_is_none() -> None:
    # Hypercorn tells the path as it came, behind a proxy that takes the root off.
    assert split_path(scope("/room", b"/room", "/chat")) == (b"/room", "")
    assert split_path(scope("/chatter", b"/chatter", "/chat")) == (b"/chatter", "")


def test_root_that_was_written_in_another_way_is_found_in_the_decoded_path() -> None:
    raw = b"/%63hat/%72oom"
    assert split_path(scope("/chat/room", raw, "/chat")) == (b"/room", "/chat")


def test_root_is_encoded_too() -> None:
    assert split_path(scope("/a b/c d", b"/a%20b/c%20d", "/a b")) == (b"/c%20d", "/a%20b")
