from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from compliance import report

if TYPE_CHECKING:
    from compliance.report import Case

SUMMARY: dict[str, Any] = {
    "behavior": "OK",
    "behaviorClose": "OK",
    "duration": 3,
    "remoteCloseCode": 1000,
    "reportfile": "holdfast_case_1_1_1.json",
}
DETAILS: dict[str, Any] = {
    "description": "Send text message<br>with payload <b>0</b> < 1.",
    "expectation": "Receive\n echo.",
    "result": "Actual events match at least one expected.",
    "resultClose": "Connection was properly closed",
    "expected": {"OK": [["message", "", False]]},
    "received": [["message", "", False]],
}


def case(number: str = "1.1.1", behavior: str = "OK", close: str = "OK") -> Case:
    summary = SUMMARY | {"behavior": behavior, "behaviorClose": close}
    return report.read_case(number, summary, DETAILS)


def test_a_description_is_one_line_without_markup() -> None:
    assert case().description == "Send text message with payload 0 < 1."
    assert case().expectation == "Receive echo."


def test_what_was_received_is_cut_when_it_is_long() -> None:
    long = report.read_case("9.1.1", SUMMARY, DETAILS | {"received": ["x" * 10_000]})
    assert len(long.received) < 500


@pytest.mark.parametrize(
    ("behavior", "close", "verdict"),
    [
        ("OK", "OK", "ok"),
        ("INFORMATIONAL", "INFORMATIONAL", "informational"),
        ("NON-STRICT", "OK", "non-strict"),
        ("OK", "UNCLEAN", "unclean close"),
        ("OK", "WRONG CODE", "unclean close"),
        ("OK", "FAILED BY CLIENT", "unclean close"),
        ("OK", "FAILED", "unclean close"),
        ("NON-STRICT", "UNCLEAN", "unclean close"),
        ("FAILED", "OK", "failed"),
        ("UNIMPLEMENTED", "OK", "failed"),
        ("a word of a later version", "OK", "failed"),
    ],
)
def test_a_case_counts_once_and_for_the_worst(behavior: str, close: str, verdict: str) -> None:
    assert report.verdict(case("1.1.1", behavior, close)) == verdict


@pytest.mark.parametrize(
    ("number", "behavior", "close", "is_fault"),
    [
        ("1.1.1", "OK", "OK", False),
        ("7.1.6", "INFORMATIONAL", "INFORMATIONAL", False),
        ("10.1.1", "NON-STRICT", "OK", True),
        ("12.1.1", "NON-STRICT", "OK", False),
        ("12.1.1", "UNIMPLEMENTED", "OK", True),
        ("13.1.1", "OK", "UNCLEAN", True),
    ],
)
def test_only_in_the_protocol_itself_does_it_count_not_to_be_strict(
    number: str, behavior: str, close: str, is_fault: bool
) -> None:
    assert report.is_fault(case(number, behavior, close)) is is_fault


def test_the_table_counts_per_section_and_in_all() -> None:
    cases = [case("1.1.1"), case("1.1.2"), case("3.2", "NON-STRICT"), case("9.1.1", "FAILED")]
    head, framing, reserved, limits, everything, *_ = report.table(cases).splitlines()
    assert head.split()[:4] == ["section", "cases", "ok", "informational"]
    assert framing.split() == ["1", "framing", "2", "2", "0", "0", "0", "0"]
    assert reserved.split()[-6:] == ["1", "0", "0", "1", "0", "0"]
    assert limits.split()[-6:] == ["1", "0", "0", "0", "0", "1"]
    assert everything.split() == ["all", "4", "2", "0", "1", "0", "1"]


def test_the_table_describes_what_counts_against_the_server_and_nothing_else() -> None:
    text = report.table([case("1.1.1"), case("3.2", "NON-STRICT")])
    assert "NON-STRICT 3.2: NON-STRICT, close OK (code 1000), 3 ms" in text
    assert "Send text message with payload 0 < 1." in text
    assert "1.1.1" not in text


def test_a_section_of_a_later_version_is_counted_too() -> None:
    assert "14 " in report.table([case("14.1")])


def test_compression_is_tested_only_where_it_is_served() -> None:
    plain, _ = report.patterns("", compress=False, quick=False)
    compressed, _ = report.patterns("", compress=True, quick=False)
    assert plain == ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
    assert compressed == [*plain, "12.*", "13.*"]


def test_some_cases_may_be_chosen() -> None:
    chosen, _ = report.patterns("6.*, 7.5.1", compress=True, quick=False)
    assert chosen == ["6.*", "7.5.1"]


def test_a_quick_run_leaves_out_large_compressed_messages() -> None:
    _, nothing = report.patterns("", compress=True, quick=False)
    _, excluded = report.patterns("", compress=True, quick=True)
    assert nothing == []
    assert len(excluded) == len(set(excluded)) == 12 * 12
    assert all(each.startswith(("12.", "13.")) for each in excluded)


def test_everything_can_be_written_as_json() -> None:
    (entry,) = json.loads(json.dumps(report.to_json([case("3.2", "NON-STRICT")])))
    assert (entry["id"], entry["verdict"]) == ("3.2", "non-strict")
