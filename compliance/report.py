"""What the suite found, and what of it counts against the server.

Pure. The suite gives each case two results: how the server behaved, and how it closed. Its words
are kept: a case is OK, INFORMATIONAL (there is no right answer), NON-STRICT (allowed, but not what
the RFC would like), FAILED, or UNIMPLEMENTED (no permessage-deflate was agreed on).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["SECTIONS", "Case", "is_fault", "patterns", "read_case", "table", "to_json", "verdict"]

# The suite has neither a section 8 nor a section 11.
SECTIONS: Final = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "close",
    9: "limits",
    10: "frames in pieces",
    12: "permessage-deflate",
    13: "permessage-deflate, parameters",
}

# What sections 12 and 13 compress differs in nothing but size and number of the messages: these
# are the large ones, nine tenths of the time of both.
_LARGE: Final = tuple(
    f"{section}.{group}.{case}"
    for section, groups in ((12, 5), (13, 7))
    for group in range(1, groups + 1)
    for case in (6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18)
)

_MARKUP: Final = re.compile(r"</?[a-z]+>")

_COLUMNS: Final = ("ok", "informational", "non-strict", "unclean close", "failed")


@dataclass(frozen=True, slots=True)
class Case:
    """One case of the suite, and how it went."""

    id: str
    behavior: str
    close: str
    milliseconds: int
    description: str
    expectation: str
    result: str
    close_result: str
    close_code: int | None
    expected: str
    received: str


def patterns(cases: str, *, compress: bool, quick: bool) -> tuple[list[str], list[str]]:
    """Return which cases to run, and which of them not, in the words of the suite.

    `cases` has commas between them, as in "1.*,6.4.1"; empty for all that make sense.
    """
    wanted = [each.strip() for each in cases.split(",") if each.strip()]
    if not wanted:
        wanted = [f"{section}.*" for section in SECTIONS if section <= 10 or compress]
    return wanted, list(_LARGE) if quick else []


def read_case(case: str, summary: Mapping[str, Any], details: Mapping[str, Any]) -> Case:
    """Make a Case of an entry of the suite's index and of the case's own file."""
    return Case(
        id=case,
        behavior=summary["behavior"],
        close=summary["behaviorClose"],
        milliseconds=summary["duration"],
        description=_line(details["description"]),
        expectation=_line(details["expectation"]),
        result=_line(details["result"]),
        close_result=_line(details["resultClose"]),
        close_code=summary["remoteCloseCode"],
        expected=_short(details["expected"]),
        received=_short(details["received"]),
    )


def verdict(case: Case) -> str:
    """Return the name of the column in which the case counts."""
    if case.behavior not in ("OK", "INFORMATIONAL", "NON-STRICT"):
        return "failed"
    if case.close not in ("OK", "INFORMATIONAL"):
        return "unclean close"
    return case.behavior.lower()


def is_fault(case: Case) -> bool:
    """True if the case counts against the server."""
    # Sections 12 and 13 are about an extension: what is allowed there will do.
    is_strict = verdict(case) != "non-strict" or section_of(case.id) > 10
    return not is_strict or verdict(case) in ("failed", "unclean close")


def section_of(case: str) -> int:
    return int(case.partition(".")[0])


def table(cases: Iterable[Case]) -> str:
    """Return the counts per section, and every case that counts against the server."""
    counts: dict[int, Counter[str]] = {}
    faults = []
    for case in cases:
        counts.setdefault(section_of(case.id), Counter())[verdict(case)] += 1
        if is_fault(case):
            faults.append(case)
    total = sum(counts.values(), Counter())
    lines = ["section                              cases" + "".join(f"  {c}" for c in _COLUMNS)]
    lines += [_row(f"{n:2} {SECTIONS.get(n, '')}", counts[n]) for n in sorted(counts)]
    lines.append(_row("all", total))
    for case in faults:
        lines += ["", *_describe(case)]
    return "\n".join(lines)


def to_json(cases: Iterable[Case]) -> list[dict[str, Any]]:
    return [asdict(case) | {"verdict": verdict(case)} for case in cases]


def _row(name: str, counts: Counter[str]) -> str:
    cells = "".join(f"  {counts[column]:>{len(column)}}" for column in _COLUMNS)
    return f"{name:36} {counts.total():5}{cells}"


def _describe(case: Case) -> list[str]:
    return [
        f"{verdict(case).upper()} {case.id}: {case.behavior}, close {case.close} "
        f"(code {case.close_code}), {case.milliseconds} ms",
        f"    what:     {case.description}",
        f"    wanted:   {case.expectation}",
        f"    behavior: {case.result}",
        f"    close:    {case.close_result}",
        f"    expected: {case.expected}",
        f"    received: {case.received}",
    ]


def _line(text: str) -> str:
    # Descriptions have line breaks and HTML in them.
    return " ".join(_MARKUP.sub(" ", text).split())


def _short(value: object, limit: int = 400) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + " …"
