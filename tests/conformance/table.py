"""The table of hosts in the README: made of what the suite has found out.

A run of all stories on all hosts ends with a look whether the README says the same; `scripts/hosts`
writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.conformance.hosts import HOSTS
from tests.flow.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["README", "Results", "is_complete", "render", "replace_table", "table_in"]

README: Path = ROOT / "README.md"

BEGIN, END = "<!-- hosts -->\n", "<!-- /hosts -->"

# By promise and host: "" for a promise that is kept, else the reason why not.
Results: TypeAlias = "dict[str, dict[str, str]]"


def is_complete(results: Results) -> bool:
    """Tell whether every host was put through every story."""
    names = {host.name for host in HOSTS}
    return bool(results) and all(row.keys() == names for row in results.values())


def render(results: Results) -> str:
    """Return the table and its footnotes, as Markdown."""
    notes: list[str] = []
    rows = [
        "| | " + " | ".join(host.title for host in HOSTS) + " |",
        "|---" * (len(HOSTS) + 1) + "|",
    ]
    for text, row in results.items():
        cells = []
        for host in HOSTS:
            reason = row[host.name]
            if reason and reason not in notes:
                notes.append(reason)
            cells.append(f"– ({notes.index(reason) + 1})" if reason else "✓")
        rows.append(f"| {text} | " + " | ".join(cells) + " |")
    numbered = [f"{number}. {reason}" for number, reason in enumerate(notes, 1)]
    return "\n".join([*rows, "", *numbered]) + "\n"


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
