"""`holdfast serve --direct`, and the options that mean nothing then.

Private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    import socket

    from holdfast.config import ServerSettings

# All that is about having several workers, or one in the place of another.
MEANINGLESS = (
    "min_workers", "idle_timeout", "spares", "start_timeout", "max_events", "max_rss",
)  # fmt: skip

direct_option = click.option(
    "--direct",
    is_flag=True,
    help="Run everything in this one process: it cannot reload, and connections end with it.",
)


def check_direct(workers: int) -> None:
    """Refuse options of the command line that contradict --direct.

    Raises:
        UsageError: says which.
    """
    context = click.get_current_context()
    if workers != 1 and _is_given(context, "workers"):
        raise click.UsageError(f"--direct is one process: leave out --workers {workers}")
    for option in context.command.params:
        if option.name in MEANINGLESS and _is_given(context, option.name):
            raise click.UsageError(
                f"{option.opts[0]} is about replacing workers, and with --direct there are none"
            )


def serve_directly(settings: ServerSettings, listener: socket.socket) -> int:
    """Run the server; return the exit status.

    Raises:
        NoServer: there can be no control socket.
    """
    # Only now: it brings the whole server along, which `holdfast status` has no use for.
    from holdfast.direct import serve

    return serve(settings, listener)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT
