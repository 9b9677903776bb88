from __future__ import annotations

from holdfast.ledger.counts import Counts


def test_nothing_has_happened_at_first() -> None:
    counts = Counts()
    assert {name: getattr(counts, name) for name in Counts.__slots__} == {
        "accepted": 0,
        "pauses": 0,
        "quarantined": 0,
        "redeliveries": 0,
    }
