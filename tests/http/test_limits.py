from __future__ import annotations

from dataclasses import fields, replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import HttpLimits
from holdfast.http.limits import (
    BAD_REQUEST,
    BODY_TIMEOUT,
    FIELDS_TOO_LARGE,
    HEADER_TIMEOUT,
    LINGER,
    OVERLOADED,
    PIPELINE_FULL,
    TARGET_TOO_LONG,
    TOO_MANY_FIELDS,
    UNKNOWN_CODING,
    HttpCounts,
    Phase,
    Refusal,
    Refused,
    Vigil,
    framing_excess,
    seconds,
)

REFUSALS = (
    BAD_REQUEST,
    BODY_TIMEOUT,
    FIELDS_TOO_LARGE,
    HEADER_TIMEOUT,
    OVERLOADED,
    PIPELINE_FULL,
    TARGET_TOO_LONG,
    TOO_MANY_FIELDS,
    UNKNOWN_CODING,
)

# --- time


def test_each_phase_has_its_own_time() -> None:
    limits = HttpLimits(header_timeout=1, write_timeout=2, keep_alive=3)
    assert {phase: seconds(limits, phase) for phase in Phase} == {
        Phase.IDLE: 3,
        Phase.HEAD: 1,
        Phase.BODY: 1,
        Phase.WRITING: 2,
        Phase.LINGERING: LINGER,
        Phase.BUSY: inf,
    }


def test_zero_is_for_ever_and_for_the_next_request_never() -> None:
    limits = HttpLimits(header_timeout=0, write_timeout=0, keep_alive=0)
    assert seconds(limits, Phase.HEAD) == seconds(limits, Phase.BODY) == inf
    assert seconds(limits, Phase.WRITING) == inf
    assert seconds(limits, Phase.IDLE) == 0


def test_a_vigil_tells_since_when_nothing_has_moved() -> None:
    vigil = Vigil()
    assert vigil.look(Phase.BODY, 1, 10.0) == 0
    assert vigil.look(Phase.BODY, 1, 11.0) == 1.0
    assert vigil.look(Phase.BODY, 1, 12.5) == 2.5


@pytest.mark.parametrize(("phase", "progress"), [(Phase.BODY, 2), (Phase.HEAD, 1)])
def test_a_vigil_begins_again_when_something_has_moved(phase: Phase, progress: int) -> None:
    vigil = Vigil()
    vigil.look(Phase.BODY, 1, 10.0)
    assert vigil.look(phase, progress, 15.0) == 0
    assert vigil.look(phase, progress, 16.0) == 1.0


@given(st.lists(st.tuples(st.sampled_from(Phase), st.integers(0, 2)), min_size=1))
def test_a_vigil_is_as_old_as_the_last_looks_that_were_the_same(
    looks: list[tuple[Phase, int]],
) -> None:
    vigil = Vigil()
    for now, (phase, progress) in enumerate(looks):
        same = 0
        while same < now and looks[now - same - 1] == (phase, progress):
            same += 1
        assert vigil.look(phase, progress, float(now)) == same


# --- counts


def test_counts_say_what_is_new() -> None:
    counts = HttpCounts()
    assert counts.since(HttpCounts()) == {}
    counts.count("bad_requests")
    before = replace(counts)
    assert counts.since(before) == {}
    counts.count("bad_requests")
    counts.count("bad_requests")
    counts.count("max_body")
    assert counts.since(before) == {"bad_requests": 2, "max_body": 1}
    assert counts.since(HttpCounts()) == {"bad_requests": 3, "max_body": 1}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_each_refusal_has_a_counter(refusal: Refusal) -> None:
    assert refusal.counter in {field.name for field in fields(HttpCounts)}


# --- refusals


def test_a_refusal_says_no_more_than_its_status() -> None:
    response = BAD_REQUEST.because("two Host fields").encode(b"date: today\r\n")
    assert response == (
        b"HTTP/1.1 400 Bad Request\r\n"
        b"date: today\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: 11\r\n"
        b"connection: close\r\n\r\n"
        b"Bad Request"
    )


def test_who_is_one_too_many_is_told_when_to_come_again() -> None:
    # RFC 9110 section 15.6.4.
    assert b"\r\nretry-after: 1\r\n" in OVERLOADED.encode(b"")


def test_the_answer_to_head_has_no_body() -> None:
    # RFC 9110 section 9.3.2.
    with_body = OVERLOADED.encode(b"")
    assert OVERLOADED.encode(b"", with_body=False) + b"Service Unavailable" == with_body


@pytest.mark.parametrize("refusal", REFUSALS)
def test_each_refusal_is_one_whole_response(refusal: Refusal) -> None:
    head, _, body = refusal.encode(b"").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % refusal.status)
    assert b"content-length: %d" % len(body) in head
    assert refusal.why.encode() not in head + body


def test_what_stops_the_parser_says_why() -> None:
    with pytest.raises(Refused, match="two Host fields") as caught:
        raise Refused(BAD_REQUEST.because("two Host fields"))
    assert caught.value.refusal.status == 400


# --- the framing of chunks


def test_framing_is_paid_for_by_data() -> None:
    assert framing_excess(0, size=6 * 100, body=100) == 0  # chunks of one byte
    assert framing_excess(0, size=1000, body=0) == 1000
    assert framing_excess(1000, size=1000, body=10) == 2000 - 170


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1)), max_size=50))
def test_data_alone_never_adds_up_and_pays_for_nothing_to_come(
    pieces: list[tuple[int, float]],
) -> None:
    excess = 0
    for size, share in pieces:
        body = round(size * share)
        before, excess = excess, framing_excess(excess, size, body)
        assert 0 <= excess <= before + size - body
    for _ in range(50):
        excess = framing_excess(excess, 1000, 1000)
    assert excess == 0
    assert framing_excess(excess, 500, 0) == 500
