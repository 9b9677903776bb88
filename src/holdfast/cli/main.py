"""`holdfast`: arguments in, settings out.

Shell. Private. `running.py` has the commands for a server that runs.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.options import Command, given, options
from holdfast.cli.running import fail, reload_command, status_command, stop_command
from holdfast.config import ServerSettings
from holdfast.process.log import log_to_stderr
from holdfast.setting import Group, make
from holdfast.supervisor.control_socket import NoServer
from holdfast.supervisor.process import bind, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ABOUT_CLIENTS = (Group.TRUST, Group.HTTP, Group.WEBSOCKETS)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdfast")
def main() -> None:
    """A server whose WebSocket connections outlive the code that serves them."""


def application_argument() -> list[click.Parameter]:
    """Make the argument that names what to serve, and its option."""
    text = (
        "APPLICATION names a function that makes it: module:name, or module:name() without this "
        "option."
    )
    factory = click.Option(["--factory"], is_flag=True, help=text)
    return [click.Argument(["application"]), factory]


@main.command(
    "serve",
    cls=Command,
    params=[
        *application_argument(),
        click.Option(
            ["--direct"],
            is_flag=True,
            help="Run everything in this one process: it cannot reload, and connections end with "
            "it.",
        ),
        *options(Group.SERVER, Group.WORKERS, Group.REPLACING, *ABOUT_CLIENTS),
    ],
)
def serve_command(direct: bool, **values: Any) -> None:
    """Serve APPLICATION: module:name or path/to/file.py:name. Without a name, `app` is meant.

    Any ASGI application will do: FastAPI, Starlette, Django and others.

    SIGHUP or `holdfast reload` replaces its code, SIGTERM or `holdfast stop` ends it.
    """
    settings = _settings(**values)
    if direct:
        _check_direct(settings.workers)
    _serve(settings, _serve_directly if direct else _supervise)


@main.command(
    "develop",
    cls=Command,
    params=[
        *application_argument(),
        *options(Group.SERVER, Group.DEVELOPMENT, *ABOUT_CLIENTS),
    ],
)
def develop_command(**values: Any) -> None:
    """Serve APPLICATION, reload it when a file of its changes, show error details.

    APPLICATION is module:name or path/to/file.py:name; without a name, `app` is meant. Watched
    are, in and below this directory, Python files, pages, templates, styles, scripts and
    settings (.py, .html, .jinja, .css, .js, .toml and the like).

    One worker; connections stay open over every change. Not for production: clients see
    tracebacks.
    """
    settings = _settings(**values, workers=1, spares=0, develop=True, watch=(".",))
    _serve(settings, _supervise)


for command in (reload_command, status_command, stop_command):
    main.add_command(command)


def _settings(*, application: str, factory: bool, **values: Any) -> ServerSettings:
    if factory and ":" not in application:
        raise click.UsageError("--factory needs the name of the function: module:name")
    if factory and not application.endswith("()"):
        application += "()"
    return make(ServerSettings, application=application, **values)


def _check_direct(workers: int) -> None:
    """Refuse options that contradict --direct.

    Raises:
        UsageError: says which.
    """
    context = click.get_current_context()
    if workers != 1 and "--workers" in given(context, Group.WORKERS):
        raise click.UsageError(f"--direct is one process: leave out --workers {workers}")
    for flag in given(context, Group.REPLACING):
        raise click.UsageError(
            f"{flag} is about replacing workers, and with --direct there are none"
        )


def _serve_directly(settings: ServerSettings, listener: socket.socket) -> int:
    # Only now: it brings the whole server along, which `holdfast status` has no use for.
    from holdfast.direct import serve

    return serve(settings, listener)


def _supervise(settings: ServerSettings, listener: socket.socket) -> int:
    return asyncio.run(serve(settings, listener))


def _serve(settings: ServerSettings, run: Callable[[ServerSettings, socket.socket], int]) -> None:
    log_to_stderr()
    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        fail(_bind_problem(error, settings))
    # Port 0 was a question: the answer is what clients and `holdfast status` have to know.
    settings = replace(settings, port=listener.getsockname()[1])
    with listener:
        try:
            sys.exit(run(settings, listener))
        except NoServer as error:
            fail(str(error))


def _bind_problem(error: OSError, settings: ServerSettings) -> str:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is in use by another program; choose another --port, or stop that program "
            f"(`holdfast stop --port {settings.port}` if it is a holdfast)"
        )
    return f"cannot bind {where}: {error.strerror or error}"
