"""ASGI applications under paths, as data: what is mounted where, and what its WebSockets become.

Pure. Hosts run them (`http/mounts.py`): ASGI is a matter of event loops. Here is what can be told
before: whether something is an ASGI application, and whose path a request's path is.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isclass, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

OnWorkerExit: TypeAlias = Literal["resume", "close"]

POLICIES = ("resume", "close")


class Mount(NamedTuple):
    """One application and where it is."""

    app: Callable[..., Any]
    path: str
    """What the paths of its requests begin with, without a slash at the end: "" for all."""
    closing: tuple[tuple[str, bool], ...]
    """Paths below `path`, the longest first: do their WebSockets close with their worker?"""

    def has(self, path: str) -> bool:
        """Tell whether a request of this path is the application's."""
        return _is_below(path, self.path)

    def closes(self, path: str) -> bool:
        """Tell whether a WebSocket of this path closes when its worker goes."""
        below = path[len(self.path) :]
        return next((closes for start, closes in self.closing if _is_below(below, start)), False)


def make_mount(app: object, path: object, on_worker_exit: object) -> Mount:
    """Return what `ServiceWorker.mount` was asked for.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """
    if not callable(app):
        raise TypeError(f"an ASGI application is callable; {type(app).__qualname__} is not")
    asgi_version(app)
    policies = on_worker_exit if isinstance(on_worker_exit, Mapping) else {"/": on_worker_exit}
    closing = []
    for start, policy in policies.items():
        if policy not in POLICIES:
            raise ValueError(f"on_worker_exit is 'resume' or 'close', not {policy!r}")
        closing.append((_checked_path(start), policy == "close"))
    closing.sort(key=lambda each: -len(each[0]))
    return Mount(app, _checked_path(path), tuple(closing))


def with_mount(mounts: tuple[Mount, ...], mount: Mount) -> tuple[Mount, ...]:
    """Return `mounts` with one more, in the order in which to look for a path.

    Raises:
        ValueError: something is mounted at this path.
    """
    if any(each.path == mount.path for each in mounts):
        raise ValueError(f"another application is mounted at {mount.path or '/'!r}")
    return tuple(sorted((*mounts, mount), key=lambda each: -len(each.path)))


def asgi_version(app: Callable[..., Any]) -> Literal[2, 3]:
    """Tell ASGI 3, `app(scope, receive, send)`, from ASGI 2, `app(scope)(receive, send)`.

    Raises:
        TypeError: it takes arguments as neither does.
    """
    if isclass(app):
        # As uvicorn has it: one whose instances are awaited is of ASGI 3.
        return 3 if hasattr(app, "__await__") else 2
    if iscoroutinefunction(app) or iscoroutinefunction(type(app).__call__):
        return 3
    try:
        takes = signature(app).bind
    except ValueError:
        return 3  # Of C: there is no signature to look at.
    for count in (3, 1):
        try:
            takes(*range(count))
        except TypeError:
            continue
        return 3 if count == 3 else 2
    raise TypeError(
        f"{_name(app)} does not take (scope, receive, send), as an ASGI application does; "
        "a WSGI application needs a bridge around it, such as a2wsgi"
    )


def _name(app: object) -> str:
    return getattr(app, "__qualname__", type(app).__qualname__)


def _is_below(path: str, start: str) -> bool:
    return not start or path == start or path.startswith(start + "/")


def _checked_path(path: object) -> str:
    if not isinstance(path, str):
        raise TypeError(f"a path is a str, not {type(path).__qualname__}")
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ValueError(f"a path begins with a slash and has no query: {path!r}")
    return path.rstrip("/")
