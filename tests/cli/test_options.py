"""The options of the command line are those of the records, and the texts of `--help`."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import holdfast
from holdfast.cli.main import main
from holdfast.cli.options import SettingOption
from holdfast.config import ServerSettings
from holdfast.setting import Group, records

CLI = Path(holdfast.__file__).parent / "cli"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="holdfast", terminal_width=200)


def options_of(command: str) -> list[click.Option]:
    return [each for each in main.commands[command].params if isinstance(each, click.Option)]


def settings_of(command: str) -> set[str]:
    return {each.name or "" for each in options_of(command) if isinstance(each, SettingOption)}


def test_each_flag_is_an_option_with_its_default() -> None:
    made = {
        each.opts[0]: each.default
        for name in ("serve", "develop")
        for each in options_of(name)
        if isinstance(each, SettingOption)
    }
    flags = {each.flag: each.given_default for each in records(ServerSettings) if each.flag}
    assert made == flags


@pytest.mark.parametrize("file", sorted(CLI.glob("*.py")), ids=lambda file: file.name)
def test_the_command_line_has_no_default(file: Path) -> None:
    tree = ast.walk(ast.parse(file.read_text()))
    named = [
        keyword.value
        for node in tree
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "default"
    ]
    assert [each for each in named if not isinstance(each, ast.Attribute)] == []


def test_develop_has_no_options_about_workers() -> None:
    about = {each.name for each in records(ServerSettings) if each.group is Group.WORKERS}
    assert about & settings_of("develop") == set()
    assert settings_of("develop") - settings_of("serve") == {"watch_patterns"}


@pytest.mark.parametrize("command", ["serve", "develop"])
def test_help_is_in_groups(command: str) -> None:
    shown = run(command, "--help").output
    groups = {each.setting.group for each in options_of(command) if isinstance(each, SettingOption)}
    assert all(f"\n{group}:\n" in shown for group in groups)
    assert all(shown.count(f"  {each.opts[0]} ") == 1 for each in options_of(command))


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("--ping-interval SECONDS", "[default: 25.0; 0<=x<=86400]"),
        ("--max-memory MIB", "[default: 1024; x>=0]"),
        ("--spare PROCESSES", "[default: (1 with --workers 1, else 0); x>=0]"),
        ("--slow-consumer [close|drop]", "[default: close]"),
        ("--auto-response REQUEST RESPONSE", "at once and without a worker."),
        ("--compress ", "Offer permessage-deflate"),
    ],
)
def test_help_says_unit_default_and_bounds(line: str, about: str) -> None:
    _, _, shown = " ".join(run("serve", "--help").output.split()).partition(line)
    assert about in shown[:250]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--max-message 0", "Invalid value for '--max-message': 0 is not in the range x>=1."),
        ("--workers two", "Invalid value for '--workers': 'two' is not a valid integer range."),
        ("--slow-consumer wait", "'wait' is not one of 'close', 'drop'."),
        ("--allow-origin a.example", "Invalid value for '--allow-origin': 'a.example' is not"),
        ("--forwarded-allow-ips x", "'x' is neither an address nor a network"),
        ("--auto-response a " + "b" * 1025, "a text has at most 1024 characters"),
        ("--factory", "--factory needs the name of the function: module:name"),
        ("--colour red", "No such option"),
    ],
)
def test_a_bad_option_is_named(arguments: str, problem: str) -> None:
    result = run("serve", "app", *arguments.split())
    assert result.exit_code == 2
    assert problem in result.output


@pytest.mark.parametrize("command", ["reload", "status", "stop"])
def test_a_running_server_has_no_port_0(command: str) -> None:
    assert "0 is not in the range 1<=x<=65535" in run(command, "--port", "0").output
