"""What to serve: the argument that names it, and what goes with that.

Private.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def application_argument(command: F) -> F:
    """Add the argument to `command`."""

    @wraps(command)
    def named(*, application: str, factory: bool, **options: Any) -> object:
        if factory:
            application = _call(application)
        return command(application=application, **options)

    for option in (
        click.option(
            "--factory",
            is_flag=True,
            help="APPLICATION names a function that makes it: module:name, or module:name() "
            "without this option.",
        ),
        click.argument("application"),
    ):
        named = option(named)
    return named  # type: ignore[return-value]  # click passes arguments by name


def _call(application: str) -> str:
    if ":" not in application:
        raise click.UsageError("--factory needs the name of the function: module:name")
    return application if application.endswith("()") else f"{application}()"
