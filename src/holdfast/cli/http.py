"""The options of `serve` and `develop` about HTTP, by the names of `HttpLimits`.

Private. `config.py` knows the reasons of the defaults.
"""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.config import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")

DEFAULTS = HttpLimits()
NAMES = tuple(field.name for field in fields(HttpLimits))
SECONDS = click.FloatRange(min=0, max=24 * 3600)


def http_options(command: F) -> F:
    """Add the options; the command gets them as one argument, `http`."""

    @wraps(command)
    def collected(*args: Any, **options: Any) -> object:
        limits = HttpLimits(**{name: options.pop(name) for name in NAMES})
        return command(*args, http=limits, **options)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # click passes arguments by name


def check_addresses(_: click.Context, __: click.Parameter, addresses: str) -> str:
    """Refuse what is neither address nor network, before any process is started."""
    for name in filter(None, map(str.strip, addresses.split(","))):
        try:
            if name != "*":
                ip_network(name, strict=False)
        except ValueError:
            raise click.BadParameter(f"{name!r} is neither an address nor a network") from None
    return addresses


def _limit(name: str, kind: click.ParamType[Any], text: str) -> Callable[[F], F]:
    return click.option(
        f"--{name.replace('_', '-')}",
        default=getattr(DEFAULTS, name),
        show_default=True,
        type=kind,
        help=text,
    )


_OPTIONS = (
    _limit(
        "max_header_size",
        # Less, and no browser gets through.
        click.IntRange(min=1024, max=1024 * 1024),
        "Bytes that the request line and the header fields of a request may have; over it: 431.",
    ),
    _limit(
        "max_headers",
        click.IntRange(min=10, max=10_000),
        "Header fields that a request may have; over it: 431.",
    ),
    _limit(
        "header_timeout",
        SECONDS,
        "Seconds that a client may take for the head of a request, and pause in its body; over "
        "it: 408.  0: no limit.",
    ),
    _limit(
        "write_timeout",
        SECONDS,
        "Seconds that a client may take nothing of its response; over it, the connection is cut.  "
        "0: no limit.",
    ),
    _limit(
        "keep_alive",
        SECONDS,
        "Seconds that a connection may wait for its next request; 0: one request each.",
    ),
    _limit(
        "limit_concurrency",
        click.IntRange(min=0),
        "Requests that one worker answers at once; over it: 503.  0: no limit.",
    ),
)
