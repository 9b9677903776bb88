"""What the site needs beside its tools: a hook and an extension, both named in mkdocs.yml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import griffe

from holdfast.config import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

# "For hosts: …", "For the kit: …": a member that is public in Python, and not for applications.
NOT_FOR_APPLICATIONS = re.compile(r"For [^:\n]{1,30}: ")
MADE_BY_APPLICATIONS = re.compile(r"^ *(Args|Raises):$", re.MULTILINE)
RFC = re.compile(r"RFC\s(\d+)(?:,?\ssection\s([\d.]*\d))?")

SETTINGS = "<!-- settings -->"


class ForApplications(griffe.Extension):
    """Has the reference show what an application may use, and link the RFCs that are cited."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Leave out what is for hosts, and how to make objects that applications are handed."""
        for name, member in list(cls.members.items()):
            if not member.is_alias and NOT_FOR_APPLICATIONS.match(text_of(member)):
                del cls.members[name]
        if not cls.name.startswith("_") and not MADE_BY_APPLICATIONS.search(text_of(cls)):
            cls.members.pop("__init__", None)

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = RFC.sub(linked, obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Show the values of defaults, not the names of constants."""
        for function in functions_in(pkg):
            for parameter in function.parameters:
                if isinstance(parameter.default, griffe.ExprName):
                    parameter.default = value_of(parameter.default)


def functions_in(within: griffe.Object) -> Iterator[griffe.Function]:
    for member in within.members.values():
        if isinstance(member, griffe.Function):
            yield member
        elif isinstance(member, griffe.Module | griffe.Class):
            yield from functions_in(member)


def value_of(name: griffe.ExprName) -> str | griffe.Expr:
    try:
        constant = name.resolved
    except AttributeError:
        return name  # griffe cannot tell: a name within a class.
    is_constant = isinstance(constant, griffe.Attribute) and constant.value is not None
    return constant.value if is_constant else name  # type: ignore[union-attr]


def text_of(described: griffe.Object | griffe.Alias) -> str:
    return described.docstring.value if described.docstring else ""


def linked(cited: re.Match[str]) -> str:
    section = f"#section-{cited[2]}" if cited[2] else ""
    return f"[{cited[0]}](https://www.rfc-editor.org/rfc/rfc{cited[1]}{section})"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """For mkdocs: put the table of settings into the page that has a place for it."""
    if SETTINGS not in markdown:
        return markdown
    head = ("| setting | unit | default | allowed | reason |", "|---|---|---|---|---|")
    return markdown.replace(SETTINGS, "\n".join((*head, *settings())))


def settings() -> Iterator[str]:
    """Yield a row for each setting of a server."""
    for row in rows():
        yield "| `{}` | {} | {} | {} | {} |".format(*(each.replace("|", "\\|") for each in row))
