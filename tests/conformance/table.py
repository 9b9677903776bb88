"""The table in docs/hosts.md: made of what the suite has found out.

A run of all stories on all hosts ends with a look whether the page says the same; `scripts/hosts`
writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.conformance.hosts import HOSTS
from tests.flow.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PAGE", "Results", "is_complete", "render", "replace_table", "table_in"]

PAGE: Path = ROOT / "docs/hosts.md"

BEGIN, END = "<!-- hosts -->\n", "<!-- /hosts -->"

# By promise and host: "" for a promise that is kept, else the reason why not.
Results: TypeAlias = "dict[str, dict[str, str]]"


def is_complete(results: Results) -> bool:
    """Tell whether every host was put through every story."""
    names = {host.name for host in HOSTS}
    return bool(results) and all(row.keys() == names for row in results.values())


def render(results: Results) -> str:
    """Return the table as Markdown: where hosts differ, a row each; with their reasons below."""
    common = [text for text, row in results.items() if not any(row.values())]
    notes: list[str] = []
    titles = ["", *(host.title for host in HOSTS)]
    lines = [_row(titles), "|---" * len(titles) + "|"]
    for text, row in results.items():
        if text not in common:
            lines.append(_row([text, *(_cell(row[host.name], notes) for host in HOSTS)]))
    lines.append(_row([f"{len(common)} more, below", *("✓" for _ in HOSTS)]))
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    lines += ["", "Kept by all:", "", *(f"- {text}" for text in common)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(reason: str, notes: list[str]) -> str:
    """Return a check mark, or the number of the note with the reason."""
    if not reason:
        return "✓"
    if reason not in notes:
        notes.append(reason)
    return f"– {notes.index(reason) + 1}"


def table_in(page: str) -> str:
    """Return the table of a page.

    Raises:
        ValueError: the page has no place for one.
    """
    _, begin, rest = page.partition(BEGIN)
    table, end, _ = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN.strip()} … {END}")
    return table


def replace_table(page: str, table: str) -> str:
    """Return the page with another table."""
    return page.replace(f"{BEGIN}{table_in(page)}{END}", f"{BEGIN}{table}{END}")
