"""The options of `serve` about workers, by the names of the settings they become.

Private. `config.py` knows the reasons of the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from holdfast.config import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")

DEFAULTS = ServerSettings(application="")
SECONDS = click.FloatRange(min=0, max=24 * 3600)
MIB = 1024 * 1024


def worker_options(command: F) -> F:
    """Add the options to `command`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _to_bytes(_: click.Context, __: click.Parameter, mebibytes: int) -> int:
    return mebibytes * MIB


_OPTIONS = (
    click.option(
        "--workers",
        default=DEFAULTS.workers,
        show_default=True,
        type=click.IntRange(min=1),
        help="Worker processes.",
    ),
    click.option(
        "--min-workers",
        type=click.IntRange(min=0),
        help="Workers that stay when none has had anything to do for --idle-timeout seconds; the "
        "others come back when there is something.  [default: all]",
    ),
    click.option(
        "--idle-timeout",
        default=DEFAULTS.idle_timeout,
        show_default=True,
        type=SECONDS,
        help="Seconds without anything to do; 0 for never.",
    ),
    click.option(
        "--spare",
        "spares",
        type=click.IntRange(min=0),
        help="Workers that are loaded and wait to take the place of another.  [default: 1 with "
        "--workers 1, else 0]",
    ),
    click.option(
        "--start-timeout",
        default=DEFAULTS.start_timeout,
        show_default=True,
        type=click.FloatRange(min=1, max=24 * 3600),
        help="Seconds that a worker may take to load and start the application.",
    ),
    click.option(
        "--drain-timeout",
        default=DEFAULTS.drain_timeout,
        show_default=True,
        type=SECONDS,
        help="Seconds that a replaced worker may take to finish.",
    ),
    click.option(
        "--event-timeout",
        default=DEFAULTS.event_timeout,
        show_default=True,
        type=SECONDS,
        help="Seconds that the listeners of one WebSocket event may take, and that a worker's "
        "loop may stand; 0 for no limit.",
    ),
    click.option(
        "--max-events",
        default=DEFAULTS.max_events,
        show_default=True,
        type=click.IntRange(min=0),
        help="Replace a worker after so many events and requests; 0 for never.",
    ),
    click.option(
        "--max-rss",
        default=DEFAULTS.max_rss,
        show_default=True,
        type=click.IntRange(min=0),
        callback=_to_bytes,
        help="Replace a worker that takes so many MiB of memory; 0 for never.",
    ),
)
