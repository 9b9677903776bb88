"""The options of `serve` and `develop` about connections, by the names of `KeeperLimits`.

Private. `config.py` knows the reasons of the defaults.
"""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.config import KeeperLimits
from holdfast.framing.origin import OriginPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")

DEFAULTS = KeeperLimits()
MIB = 1024 * 1024

NAMES = tuple(field.name for field in fields(KeeperLimits))

# Text that is answered is compared with every message, and fits a control frame's place in life.
MAX_AUTO_RESPONSE = 1024  # characters


def limit_options(command: F) -> F:
    """Add the options; the command gets them as one argument, `keeper`."""

    @wraps(command)
    def collected(*args: Any, **options: Any) -> object:
        limits = KeeperLimits(**{name: options.pop(name) for name in NAMES})
        return command(*args, keeper=limits, **options)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # click passes arguments by name


def check_origins(
    _: click.Context, __: click.Parameter, patterns: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse what is no pattern of origins, before any process is started."""
    try:
        OriginPolicy(patterns)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return patterns


def _size(name: str, text: str, *, least: int = 1) -> Callable[[F], F]:
    return click.option(
        f"--{name.replace('_', '-')}",
        default=getattr(DEFAULTS, name),
        show_default=True,
        type=click.IntRange(min=least),
        help=text,
    )


def _seconds(name: str, text: str, *, least: float = 0.0) -> Callable[[F], F]:
    return click.option(
        f"--{name.replace('_', '-')}",
        default=getattr(DEFAULTS, name),
        show_default=True,
        type=click.FloatRange(min=least, max=24 * 3600),
        help=text,
    )


def _to_bytes(_: click.Context, __: click.Parameter, mebibytes: int) -> int:
    return mebibytes * MIB


def _check_auto_response(
    _: click.Context, __: click.Parameter, pair: tuple[str, str] | None
) -> tuple[str, str] | None:
    for text in pair or ():
        if len(text) > MAX_AUTO_RESPONSE:
            raise click.BadParameter(f"a text has at most {MAX_AUTO_RESPONSE} characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise click.BadParameter(f"{text!r} is not UTF-8") from None
    return pair


_OPTIONS = (
    _size("max_message", "Bytes that one message may have; over it: close 1009."),
    _size("max_outbound", "Bytes that may wait for a client that does not read."),
    click.option(
        "--slow-consumer",
        default=DEFAULTS.slow_consumer,
        show_default=True,
        type=click.Choice(["close", "drop"]),
        help="What to do when a publication goes over --max-outbound: close the client with 1008, "
        "or drop the publication for it. What is sent to it alone closes it in any case.",
    ),
    _size("mailbox_messages", "Messages of one connection that may wait for a worker."),
    _size("mailbox_bytes", "Bytes of messages of one connection that may wait for a worker."),
    _seconds("ping_interval", "Ping a client after so many seconds of silence; 0 for never."),
    _seconds("pong_timeout", "Seconds that it may take to answer; then 1006.", least=0.25),
    _seconds("close_timeout", "Seconds that a client may take to answer a close frame."),
    _seconds(
        "close_spread",
        "Seconds over which connections close whose endpoint is not begun again elsewhere.",
    ),
    _size("max_attempts", "Workers that one message may kill before it is put aside."),
    _size(
        "max_connections",
        "WebSocket connections; over it: 503.  0: as many as there may be descriptors.",
        least=0,
    ),
    _size(
        "max_connections_per_address",
        "WebSocket connections of one address (IPv6: of its /64); over it: 429.  0: no limit.",
        least=0,
    ),
    _size("max_handshakes", "WebSockets opened per second; over it: 503.  0: no limit.", least=0),
    _size(
        "max_message_rate",
        "Messages and control frames per second and connection; more is read later.  0: no limit.",
        least=0,
    ),
    _size(
        "max_byte_rate",
        "Bytes per second and connection; more is read later.  0: no limit.",
        least=0,
    ),
    click.option(
        "--max-memory",
        default=DEFAULTS.max_memory // MIB,
        show_default=True,
        type=click.IntRange(min=0),
        callback=_to_bytes,
        help="MiB of memory of the keeper; near it: 503 for new connections, and those that hold "
        "most of it are closed.  0: no limit.",
    ),
    click.option(
        "--auto-response",
        nargs=2,
        metavar="REQUEST RESPONSE",
        callback=_check_auto_response,
        help="Answer this text message with that one, at once and without a worker.",
    ),
    click.option(
        "--compress", is_flag=True, help="Offer permessage-deflate: less traffic for more CPU."
    ),
)
