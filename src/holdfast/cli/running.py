"""Commands for a server that runs: `holdfast reload`, `status` and `stop`.

Shell. Private.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from holdfast.cli.options import SettingOption
from holdfast.config import ServerSettings
from holdfast.setting import records
from holdfast.supervisor.control_socket import NoServer, ask

if TYPE_CHECKING:
    from typing import Any, NoReturn

STATUS_TIMEOUT = 10.0  # seconds


def port_option() -> SettingOption:
    """Make the option that says which server is meant."""
    (port,) = (each for each in records(ServerSettings) if each.name == "port")
    # 0 is a question, not an answer.
    return SettingOption(
        replace(port, unit=port.unit._replace(least=1), help="Port of the server.")
    )


@click.command("reload", params=[port_option()])
def reload_command(port: int) -> None:
    """Replace the code of the server on PORT; no connection closes.

    Exits with 1, and shows the traceback, if the new code does not start; the old code goes on
    serving then.
    """
    answer = _ask(port, "reload", None)
    if not answer["ok"]:
        click.echo(answer["traceback"], nl=False, err=True)
        fail(f"the new code was not started, the old code goes on: {answer['summary']}")
    click.echo(f"generation {answer['generation']} serves")


@click.command("status", params=[port_option()])
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status_command(port: int, as_json: bool) -> None:
    """Show the processes of the server on PORT and what they have done."""
    status = _ask(port, "status", STATUS_TIMEOUT)
    click.echo(json.dumps(status, indent=2) if as_json else _table(status))


@click.command("stop", params=[port_option()])
def stop_command(port: int) -> None:
    """Stop the server on PORT: finish what is in hand, close every connection with 1001."""
    _ask(port, "stop", None)
    click.echo("stopped")


def fail(message: str) -> NoReturn:
    click.echo(f"holdfast: {message}", err=True)
    sys.exit(1)


def _ask(port: int, command: str, timeout: float | None) -> Any:
    try:
        return ask(port, {"command": command}, timeout)
    except NoServer as error:
        fail(str(error))


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
