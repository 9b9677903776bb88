from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path, PurePath

import pytest

from holdfast.http import files
from holdfast.http.files import CHUNK, read_file, respond_with_file
from holdfast.web.files import FileBody
from holdfast.web.request import Request
from holdfast.web.response import Response

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
SECONDS = 1_700_000_000


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A file in a root beside which there is a secret."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    file = root / "page.html"
    file.write_text("<p>hello")
    os.utime(file, ns=(SECONDS * 10**9 + 5, SECONDS * 10**9 + 5))
    return file


def respond(response: Response, method: str = "GET", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("http://a/x", method=method, headers=named)
    file = response.body
    assert isinstance(file, FileBody)
    return asyncio.run(respond_with_file(response, file, request))


def content(response: Response) -> bytes:
    async def read() -> bytes:
        return b"".join([chunk async for chunk in response.iter_bytes()])

    return asyncio.run(read())


def in_root(page: Path, path: str) -> Response:
    return respond(Response.file(path, root=page.parent))


def read(path: Path | str, root: Path | None = None) -> bytes:
    async def all_of_it() -> bytes:
        return b"".join([chunk async for chunk in read_file(FileBody(PurePath(path), root))])

    return asyncio.run(all_of_it())


# -- what is sent


def test_a_file_is_sent_with_its_type_length_tag_and_date(page: Path) -> None:
    response = respond(Response.file(page))
    assert response.status == 200
    assert dict(response.headers) == {
        "content-type": "text/html; charset=utf-8",
        "etag": 'W/"17979cfe362a0005-8"',
        "last-modified": DATE,
        "content-length": "8",
    }
    assert content(response) == b"<p>hello"


def test_headers_and_status_of_the_application_count(page: Path) -> None:
    headers = {"etag": '"v1"', "last-modified": "never", "content-type": "a/b", "x-a": "1"}
    response = respond(Response.file(page, status=404, headers=headers))
    assert response.status == 404
    assert dict(response.headers) == headers | {"content-length": "8"}


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_files_of_any_size_are_sent_whole(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    response = respond(Response.file(tmp_path / "f"))
    assert response.headers["content-length"] == str(size)
    assert content(response) == data
    assert read(tmp_path / "f") == data


def test_growing_file_keeps_its_stated_length(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"a" * (CHUNK + 1))
    response = respond(Response.file(file))
    with file.open("ab") as growing:
        growing.write(b"b")
    assert content(response) == b"a" * (CHUNK + 1)


def test_shrinking_file_fails_the_response(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"a" * (CHUNK + 1))
    response = respond(Response.file(file))
    os.truncate(file, CHUNK)
    with pytest.raises(OSError, match="became shorter"):
        content(response)


def test_head_opens_the_file_and_sends_nothing_of_it(page: Path) -> None:
    for size in (8, 3 * CHUNK):
        page.write_bytes(b"a" * size)
        response = respond(Response.file(page), "HEAD")
        assert response.body is None
        assert dict(response.raw_headers())[b"content-length"] == b"%d" % size


def test_descriptors_are_closed(page: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    page.with_name("big").write_bytes(b"a" * (CHUNK + 1))
    before = count()
    for _ in range(3):
        respond(Response.file(page))
        respond(Response.file(page), "HEAD")
        respond(Response.file(page), if_none_match="*")
        respond(Response.file(page.parent))
        content(respond(Response.file(page.with_name("big"))))
    assert count() == before


def test_a_reader_that_leaves_early_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"a" * (CHUNK + 1))
    opened = files._OpenFile(FileBody(tmp_path / "big", None))

    async def read_one() -> None:
        chunks = opened.read_all()
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(read_one())
    with pytest.raises(ValueError, match="closed file"):
        opened.read(1)


# -- what the client has already (RFC 9110 section 13)


def test_a_copy_with_the_same_tag_is_confirmed(page: Path) -> None:
    etag = respond(Response.file(page)).headers["etag"]
    kept = {"cache-control": "max-age=60", "vary": "cookie", "content-language": "de"}
    for method in ("GET", "HEAD"):
        response = respond(Response.file(page, headers=kept), method, if_none_match=etag)
        assert response.status == 304
        assert dict(response.raw_headers()) == {
            b"cache-control": b"max-age=60",
            b"vary": b"cookie",
            b"etag": etag.encode(),
            b"last-modified": DATE.encode(),
        }


def test_a_copy_with_another_tag_is_replaced(page: Path) -> None:
    etag = respond(Response.file(page)).headers["etag"]
    page.write_text("<p>hell0")
    assert respond(Response.file(page), if_none_match=etag).status == 200


@pytest.mark.parametrize(
    "date",
    [
        DATE,
        "Tuesday, 14-Nov-23 22:13:20 GMT",  # RFC 850
        "Tue Nov 14 22:13:20 2023",  # asctime
        "Tue, 14 Nov 2023 22:13:21 GMT",
        "Tue, 14 Nov 2023 22:13:20 -0000",
    ],
)
def test_a_copy_of_the_same_date_is_confirmed(page: Path, date: str) -> None:
    # The file's own time has nanoseconds more.
    assert respond(Response.file(page), if_modified_since=date).status == 304


@pytest.mark.parametrize("date", ["Tue, 14 Nov 2023 22:13:19 GMT", "yesterday", "", "0", "1 2 3 4"])
def test_a_copy_of_another_date_is_replaced(page: Path, date: str) -> None:
    assert respond(Response.file(page), if_modified_since=date).status == 200


def test_only_successful_get_is_conditional(page: Path) -> None:
    # RFC 9110 section 13.2.1.
    assert respond(Response.file(page), "POST", if_none_match="*").status == 200
    assert respond(Response.file(page, status=404), if_none_match="*").status == 404


# -- what is not there


def test_missing_file_is_404_and_logged(page: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    response = respond(Response.file(page.with_name("gone")))
    assert (response.status, content(response)) == (404, b"Not Found")
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage().startswith("GET '/x': 404, cannot open '")


@pytest.mark.parametrize("path", ["sub", ".", "", "page.html/x", "a" * 300, "a\0b", "missing"])
def test_what_is_no_file_is_404(page: Path, path: str) -> None:
    assert in_root(page, path).status == 404
    assert respond(Response.file(page.parent / path)).status == 404


def test_pipe_or_socket_is_404(page: Path) -> None:
    os.mkfifo(page.with_name("pipe"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(page.with_name("socket")))
        assert in_root(page, "pipe").status == in_root(page, "socket").status == 404


def test_a_file_that_may_not_be_read_is_404(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, who may read everything
    assert respond(Response.file(page)).status == 404


def test_a_file_that_cannot_be_read_for_another_reason_is_an_error(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        respond(Response.file(page))


# -- what lies outside


@pytest.fixture
def links(page: Path) -> Path:
    root = page.parent
    (root / "out").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "in").symlink_to("page.html")
    (root / "loop").symlink_to("loop")
    (root.parent / "rootling").mkdir()
    (root.parent / "rootling" / "x").write_text("secret")
    return root


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "sub/../../secret",
        "sub/../../root/../secret",
        "/etc/passwd",
        "out",
        "up/secret",
        "../rootling/x",
        "loop",
        "..",
        "",
    ],
)
def test_nothing_outside_of_the_root_is_sent(links: Path, path: str) -> None:
    assert respond(Response.file(path, root=links)).status == 404
    with pytest.raises(FileNotFoundError):
        read(path, links)


@pytest.mark.parametrize("path", ["page.html", "sub/../page.html", "in", "../root/page.html"])
def test_what_leads_into_the_root_is_sent(links: Path, path: str) -> None:
    response = respond(Response.file(path, root=links))
    assert content(response) == b"<p>hello"
    assert read(path, links) == b"<p>hello"


def test_an_absolute_path_may_lie_inside_of_the_root(page: Path) -> None:
    assert content(respond(Response.file(page, root=page.parent))) == b"<p>hello"


def test_a_root_may_itself_be_reached_by_a_link(page: Path) -> None:
    link = page.parent.parent / "link"
    link.symlink_to("root")
    assert content(respond(Response.file("page.html", root=link))) == b"<p>hello"
    assert respond(Response.file("../secret", root=link)).status == 404


def test_all_files_may_be_inside_of_the_root(page: Path) -> None:
    assert content(respond(Response.file(str(page)[1:], root="/"))) == b"<p>hello"
