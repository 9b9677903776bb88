"""What `holdfast status` says of limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from holdfast.config import KeeperLimits, ServerSettings
from holdfast.supervisor.status import count_http, describe
from holdfast.wire.control import KeeperStatus

STATUS = KeeperStatus(
    connections=1,
    waiting=2,
    accepted=3,
    deliveries=4,
    redeliveries=5,
    quarantined=6,
    memory=7,
    hits={"max_message": 8},
)
SETTINGS = ServerSettings("app", max_body=100, keeper=KeeperLimits(max_message=10))


def test_status_shows_the_keepers_counts() -> None:
    shown = describe(STATUS, {}, SETTINGS)
    names = ("connections", "waiting", "accepted", "deliveries", "redeliveries", "quarantined")
    assert [shown[name] for name in (*names, "memory")] == [1, 2, 3, 4, 5, 6, 7]


def test_each_limit_of_websockets_and_of_http_is_there_with_its_hits() -> None:
    limits = describe(STATUS, {"max_body": 9}, SETTINGS)["limits"]
    assert limits["max_message"] == {"limit": 10, "hits": 8}
    assert limits["max_body"] == {"limit": 100, "hits": 9}
    assert limits["request_timeout"] == {"limit": 30.0, "hits": 0}
    assert limits["max_headers"] == {"limit": 100, "hits": 0}
    # The end of an idle connection is nothing that a limit did; others are no limits.
    assert limits.keys() & {"keep_alive", "allow_origins", "max_events"} == set()


def test_what_workers_have_counted_is_added_up() -> None:
    total: Counter[str] = Counter()
    count_http(total, {"max_body": 1, "header_timeout": 2}, SETTINGS)
    count_http(total, {"max_body": 3}, replace(SETTINGS, max_body=0))
    assert total == {"max_body": 4, "header_timeout": 2}


def test_what_is_no_limit_is_not_kept() -> None:
    # Whatever a worker says: it runs somebody else's code.
    total: Counter[str] = Counter()
    count_http(total, {"bad_requests": 5, "nonsense": 1, "max_message": 1}, SETTINGS)
    assert total == {}
