"""What may be mounted where. No application is run here."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from holdfast.core.mounts import Mount, asgi_version, make_mount, with_mount


async def asgi3(scope: Any, receive: Any, send: Any) -> None: ...


def asgi2(scope: Any) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


def wrapped(*args: Any) -> Any: ...


def nothing() -> None: ...


class Instance3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Instance2:
    def __call__(self, scope: Any) -> Any: ...


class Awaited:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


class Called:
    def __init__(self, scope: Any) -> None: ...


# --- what is an application ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "version"),
    [
        (asgi3, 3),
        (Instance3(), 3),
        (Instance3().__call__, 3),
        (Awaited, 3),
        (partial(asgi3), 3),
        (wrapped, 3),
        (lambda scope, receive, send: asgi3(scope, receive, send), 3),
        (asgi2, 2),
        (Instance2(), 2),
        (Called, 2),
        # Of C, without a signature.
        (vars, 3),
    ],
)
def test_the_version_of_asgi_is_told_from_how_it_is_called(app: Any, version: int) -> None:
    assert asgi_version(app) == version


@pytest.mark.parametrize("app", [wsgi, nothing])
def test_what_is_called_otherwise_is_no_application(app: Any) -> None:
    with pytest.raises(TypeError, match=rf"{app.__name__} does not take \(scope, .*WSGI"):
        asgi_version(app)


def test_non_application_is_named_by_its_class() -> None:
    class Flask:
        def __call__(self, environ: Any, start_response: Any) -> Any: ...

    with pytest.raises(TypeError, match="Flask does not take"):
        asgi_version(Flask())


@pytest.mark.parametrize(
    ("app", "path", "on_worker_exit", "problem"),
    [
        ("app", "/", "resume", "is callable; str is not"),
        (wsgi, "/", "resume", "WSGI"),
        (asgi3, b"/", "resume", "a path is a str, not bytes"),
        (asgi3, "api", "resume", "begins with a slash"),
        (asgi3, "/api?x", "resume", "has no query"),
        (asgi3, "/api#x", "resume", "has no query"),
        (asgi3, "/", "keep", "on_worker_exit is 'resume' or 'close', not 'keep'"),
        (asgi3, "/", None, "not None"),
        (asgi3, "/", {"/ws": "drop"}, "not 'drop'"),
        (asgi3, "/", {"ws": "close"}, "begins with a slash"),
    ],
)
def test_what_makes_no_sense_is_said(
    app: Any, path: Any, on_worker_exit: Any, problem: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        make_mount(app, path, on_worker_exit)


# --- whose path it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "request_path", "expected"),
    [
        ("/", "/", True),
        ("/", "/anything", True),
        ("/", "*", True),
        ("/api", "/api", True),
        ("/api", "/api/", True),
        ("/api/", "/api/x", True),
        ("/api", "/apis", False),
        ("/api", "/", False),
        ("/a/b", "/a", False),
    ],
)
def test_a_mount_has_the_paths_below_its_own(path: str, request_path: str, expected: bool) -> None:
    assert make_mount(asgi3, path, "resume").has(request_path) is expected


def test_the_longest_path_comes_first() -> None:
    mounts: tuple[Mount, ...] = ()
    for path in ("/", "/a/b", "/a", "/c"):
        mounts = with_mount(mounts, make_mount(asgi3, path, "resume"))
    assert [mount.path for mount in mounts] == ["/a/b", "/a", "/c", ""]


@pytest.mark.parametrize(("first", "second"), [("/", "/"), ("/api", "/api/")])
def test_one_path_has_one_application(first: str, second: str) -> None:
    mounts = with_mount((), make_mount(asgi3, first, "resume"))
    with pytest.raises(ValueError, match=f"another application is mounted at '{first}'"):
        with_mount(mounts, make_mount(asgi2, second, "resume"))


# --- what becomes of WebSockets -----------------------------------------------------------------


@pytest.mark.parametrize(("on_worker_exit", "expected"), [("resume", False), ("close", True)])
def test_one_policy_is_for_all_paths(on_worker_exit: str, expected: bool) -> None:
    mount = make_mount(asgi3, "/api", on_worker_exit)
    assert mount.closes("/api") is expected
    assert mount.closes("/api/ws") is expected


def test_the_policy_of_the_longest_path_counts() -> None:
    policies = {"/": "close", "/chat": "resume", "/chat/trade": "close"}
    mount = make_mount(asgi3, "/api", policies)
    assert [path for path in ("/api", "/api/chat/x", "/api/chat/trade/1", "/api/chats")
            if mount.closes(path)] == ["/api", "/api/chat/trade/1", "/api/chats"]  # fmt: skip


def test_a_path_without_a_policy_is_resumed() -> None:
    mount = make_mount(asgi3, "/", {"/trade": "close"})
    assert not mount.closes("/chat")
    assert mount.closes("/trade")
