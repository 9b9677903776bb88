"""The options of commands, made of the records of settings.

Private. `config.py` has the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from holdfast.config import ServerSettings
from holdfast.setting import Group, records

if TYPE_CHECKING:
    from typing import Any

    from holdfast.setting import Setting


class SettingOption(click.Option):
    """The option of one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        super().__init__(
            [str(setting.flag), setting.name],
            type=_type(setting),
            default=setting.given_default,
            show_default=setting.unset or True,
            is_flag=setting.type is bool,
            multiple=setting.type == tuple[str, ...],
            nargs=2 if setting.type == tuple[str, str] else 1,
            metavar=None if setting.choices else setting.unit.name.upper(),
            help=setting.help,
            callback=self._check,
        )

    def _check(self, _: click.Context, __: click.Parameter, value: Any) -> Any:
        try:
            self.setting.kept(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        return value


def _type(setting: Setting) -> click.ParamType[Any] | None:
    if setting.choices:
        return click.Choice(setting.choices)
    bounds: Any = setting.unit.least, setting.unit.most
    if setting.type is int:
        return click.IntRange(*bounds)
    return click.FloatRange(*bounds) if setting.type is float else None


class Command(click.Command):
    """A command that lists its options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            row = each.get_help_record(ctx)
            if row and isinstance(each, click.Option):
                title = each.setting.group if isinstance(each, SettingOption) else "Options"
                sections.setdefault(title, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def options(*groups: Group) -> list[click.Parameter]:
    """Make the options of these groups, in this order."""
    settings = [each for each in records(ServerSettings) if each.flag]
    return [SettingOption(each) for group in groups for each in settings if each.group is group]


def given(context: click.Context, group: Group) -> list[str]:
    """Return the flags of the group that are on the command line."""
    return [
        each.opts[0]
        for each in context.command.params
        if isinstance(each, SettingOption)
        and each.setting.group is group
        and context.get_parameter_source(each.setting.name) is not ParameterSource.DEFAULT
    ]
