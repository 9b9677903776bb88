"""Arguments in, settings out; one function per command.

Shell. Private.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import click

from holdfast.cli.application import application_argument
from holdfast.cli.direct import check_direct, direct_option, serve_directly
from holdfast.cli.http import check_addresses, http_options
from holdfast.cli.limits import check_origins, limit_options
from holdfast.cli.options import worker_options
from holdfast.config import ServerSettings
from holdfast.process.log import log_to_stderr
from holdfast.supervisor.control_socket import NoServer, ask
from holdfast.supervisor.process import bind, serve

if TYPE_CHECKING:
    import socket
    from typing import Any, NoReturn

F = TypeVar("F", bound=Callable[..., object])

PORT = click.option(
    "--port",
    default=7777,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port of the server.",
)
BIND_PORT = click.option(
    "--port",
    default=7777,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to bind; 0 for one that is free.",
)

STATUS_TIMEOUT = 10.0  # seconds

DEFAULTS = ServerSettings(application="")

# By the names of the settings they become, which know the defaults and the reasons.
REQUEST_OPTIONS = (
    click.option(
        "--max-body",
        default=DEFAULTS.max_body,
        show_default=True,
        type=click.IntRange(min=1),
        help="Bytes that the body of a request may have.",
    ),
    click.option(
        "--request-timeout",
        default=DEFAULTS.request_timeout,
        show_default=True,
        type=click.FloatRange(min=0, max=24 * 3600),
        help="Seconds that listeners may take to answer a request; 0 for no limit.",
    ),
    click.option(
        "--forwarded-allow-ips",
        default=DEFAULTS.forwarded_allow_ips,
        show_default=True,
        metavar="ADDRESSES",
        callback=check_addresses,
        help="Proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses and networks, "
        "with commas between them, or * for all.",
    ),
    click.option(
        "--allow-origin",
        "allow_origins",
        multiple=True,
        metavar="ORIGIN",
        callback=check_origins,
        help="Whose pages may open a WebSocket, beside the server's own: https://example.com, "
        "https://*.example.com, http://localhost:*, or * for all. May be given several times.",
    ),
)


def request_options(command: F) -> F:
    """Add what `serve` and `develop` have in common about requests."""
    command = http_options(command)
    for option in reversed(REQUEST_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdfast")
def main() -> None:
    """A server whose WebSocket connections outlive the code that serves them."""


@main.command("serve")
@application_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@BIND_PORT
@direct_option
@worker_options
@request_options
@limit_options
def serve_command(application: str, host: str, port: int, direct: bool, **options: Any) -> None:
    """Serve APPLICATION: module:name or path/to/file.py:name. Without a name, `app` is meant.

    Any ASGI application will do: FastAPI, Starlette, Django and others.

    SIGHUP or `holdfast reload` replaces its code, SIGTERM or `holdfast stop` ends it.
    """
    settings = ServerSettings(application, host, port, **options)
    if direct:
        check_direct(settings.workers)
        _serve(settings, serve_directly)
    else:
        _serve(settings, _supervise)


@main.command("develop")
@application_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@BIND_PORT
@click.option(
    "--watch",
    "watch_patterns",
    multiple=True,
    metavar="PATTERN",
    help="More files that reload the application when they change: '*.json', 'words/*.txt'. May "
    "be given several times.",
)
@request_options
@limit_options
def develop_command(application: str, host: str, port: int, **requests: Any) -> None:
    """Serve APPLICATION, reload it when a file of its changes, show error details.

    APPLICATION is module:name or path/to/file.py:name; without a name, `app` is meant. Watched
    are, in and below this directory, Python files, pages, templates, styles, scripts and
    settings (.py, .html, .jinja, .css, .js, .toml and the like).

    One worker; connections stay open over every change. Not for production: clients see
    tracebacks.
    """
    settings = ServerSettings(
        application, host, port, workers=1, spares=0, develop=True, watch=(".",), **requests
    )
    _serve(settings, _supervise)


@main.command("reload")
@PORT
def reload_command(port: int) -> None:
    """Replace the code of the server on PORT; no connection closes.

    Exits with 1, and shows the traceback, if the new code does not start; the old code goes on
    serving then.
    """
    answer = _ask(port, "reload", None)
    if not answer["ok"]:
        click.echo(answer["traceback"], nl=False, err=True)
        _fail(f"the new code was not started, the old code goes on: {answer['summary']}")
    click.echo(f"generation {answer['generation']} serves")


@main.command("status")
@PORT
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status_command(port: int, as_json: bool) -> None:
    """Show the processes of the server on PORT and what they have done."""
    status = _ask(port, "status", STATUS_TIMEOUT)
    click.echo(json.dumps(status, indent=2) if as_json else _table(status))


@main.command("stop")
@PORT
def stop_command(port: int) -> None:
    """Stop the server on PORT: finish what is in hand, close every connection with 1001."""
    _ask(port, "stop", None)
    click.echo("stopped")


def _supervise(settings: ServerSettings, listener: socket.socket) -> int:
    return asyncio.run(serve(settings, listener))


def _serve(settings: ServerSettings, run: Callable[[ServerSettings, socket.socket], int]) -> None:
    log_to_stderr()
    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        _fail(_bind_problem(error, settings))
    # Port 0 was a question: the answer is what clients and `holdfast status` have to know.
    settings = replace(settings, port=listener.getsockname()[1])
    with listener:
        try:
            sys.exit(run(settings, listener))
        except NoServer as error:
            _fail(str(error))


def _bind_problem(error: OSError, settings: ServerSettings) -> str:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is in use by another program; choose another --port, or stop that program "
            f"(`holdfast stop --port {settings.port}` if it is a holdfast)"
        )
    return f"cannot bind {where}: {error.strerror or error}"


def _ask(port: int, command: str, timeout: float | None) -> Any:
    try:
        return ask(port, {"command": command}, timeout)
    except NoServer as error:
        _fail(str(error))


def _table(status: dict[str, Any]) -> str:
    rows = [
        f"{status['application']} on {status['url']}, generation {status['generation']}",
        f"  supervisor    pid {status['supervisor']['pid']:<8} {status['supervisor']['state']}",
        f"  keeper        pid {status['keeper']['pid']:<8} {status['keeper']['state']}",
    ]
    rows += [
        f"  worker        pid {each['pid']:<8} {each['state']}, generation {each['generation']}"
        for each in status["workers"]
    ]
    counts = ("connections", "waiting", "accepted", "deliveries", "redeliveries", "quarantined")
    rows += [f"  {name:<13} {status[name]}" for name in counts]
    rows += [f"  {'memory':<13} {status['memory'] / 1024 / 1024:.1f} MiB (keeper)"]
    rows += [f"  {'limit':<28} {'value':>10} {'hits':>8}"]
    rows += [
        f"  {name:<28} {_value(each['limit']):>10} {each['hits']:>8}"
        for name, each in status["limits"].items()
    ]
    return "\n".join(rows)


def _value(limit: object) -> str:
    if limit in (0, None, False):
        return "-"
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _fail(message: str) -> NoReturn:
    click.echo(f"holdfast: {message}", err=True)
    sys.exit(1)
