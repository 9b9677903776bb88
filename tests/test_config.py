from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from holdfast.config import (
    AsgiSettings,
    HttpLimits,
    KeeperLimits,
    KeeperSettings,
    ServerSettings,
    WorkerSettings,
    from_json,
    rows,
    to_json,
    worker_settings,
)
from holdfast.setting import Setting, records

Settings = KeeperSettings | ServerSettings | WorkerSettings

WORKER = WorkerSettings(
    control_fd=3,
    stream_fd=4,
    handover_fd=5,
    listen_fd=6,
    worker=1,
    generation=2,
    application="chat:app",
    first=True,
)


@pytest.mark.parametrize(
    "settings",
    [
        KeeperSettings(3, 1.5, KeeperLimits(max_message=5, auto_response=("ping", "pong"))),
        ServerSettings("chät:app", port=80, watch=("src", "templates")),
        ServerSettings("chat:app", keeper=KeeperLimits(close_timeout=0.5)),
        ServerSettings("chat:app", http=HttpLimits(max_headers=50, write_timeout=0.5)),
        WORKER,
    ],
)
def test_settings_reach_another_process_unchanged(settings: Settings) -> None:
    assert from_json(type(settings), to_json(settings)) == settings


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        WORKER.worker = 2  # type: ignore[misc]


def test_an_application_is_all_a_server_needs_to_be_told() -> None:
    # The model differs: there, it is one worker.
    settings = ServerSettings("chat:app")
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 7777, 2)
    assert (settings.drain_timeout, settings.develop, settings.watch) == (30.0, False, ())


def test_what_a_client_may_take_of_the_keeper_is_limited_by_default() -> None:
    settings = KeeperLimits()
    assert settings.max_message == settings.max_outbound == settings.mailbox_bytes == 1024 * 1024
    assert settings.mailbox_messages == 64
    assert settings.close_timeout == 5.0
    assert settings.max_attempts == 3


def test_what_a_worker_may_take_is_limited_by_default() -> None:
    assert WORKER.drain_timeout == WORKER.lifecycle_timeout == WORKER.request_timeout == 30.0
    assert (WORKER.http.keep_alive, WORKER.develop) == (5.0, False)
    assert WORKER.max_body == 16 * 1024 * 1024
    assert (WORKER.http.max_header_size, WORKER.http.max_headers) == (32 * 1024, 100)
    assert (WORKER.http.header_timeout, WORKER.http.write_timeout) == (20.0, 60.0)
    assert WORKER.http.limit_concurrency == 0


def test_only_proxies_on_this_machine_are_believed_by_default() -> None:
    assert WORKER.forwarded_allow_ips == "127.0.0.1,::1"


def test_a_worker_gets_what_both_kinds_of_settings_name() -> None:
    own = {"control_fd": 3, "stream_fd": 4, "handover_fd": 5, "listen_fd": 6}
    server = ServerSettings("chat:app", max_body=5, max_events=7, develop=True)
    made = worker_settings(server, **own, worker=1, generation=2, first=True, max_events=0)
    assert (made.application, made.max_body, made.develop) == ("chat:app", 5, True)
    assert (made.control_fd, made.worker, made.first) == (3, 1, True)
    assert made.max_events == 0  # its own


def test_a_process_does_not_start_with_settings_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="colour"):
        from_json(KeeperSettings, '{"control_fd": 3, "colour": "red"}')


# -- the records

RECORDS = records(ServerSettings)


@pytest.mark.parametrize("setting", RECORDS, ids=lambda each: each.name)
def test_each_setting_has_unit_and_reasons(setting: Setting) -> None:
    assert setting.unit.name
    assert setting.help.endswith(".")
    assert setting.reason.endswith(".")


@pytest.mark.parametrize("setting", RECORDS, ids=lambda each: each.name)
def test_each_default_is_allowed(setting: Setting) -> None:
    assert setting.kept(setting.given_default) == setting.default


@pytest.mark.parametrize("kind", [WorkerSettings, AsgiSettings, KeeperLimits, HttpLimits])
def test_each_setting_has_one_record(kind: Any) -> None:
    assert set(records(kind)) <= set(RECORDS)


def test_no_two_settings_have_one_name() -> None:
    flags = [each.flag for each in RECORDS if each.flag]
    assert len(flags) == len(set(flags))
    assert len(RECORDS) == len({each.variable for each in RECORDS})


def test_each_setting_is_a_row_for_people() -> None:
    table = {name: (unit, default, bounds) for name, unit, default, bounds, _ in rows()}
    assert len(table) == len(RECORDS)
    assert table["--pong-timeout"] == ("seconds", "20", "0.25 to 86400")
    assert table["--max-memory"] == ("MiB", "1024", "at least 0")
    assert table["lifecycle_timeout"] == ("seconds", "30", "0 to 86400")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("allow_origins", ["a.example"], "'a.example' is not an origin"),
        ("forwarded_allow_ips", "10.0.0.1, localhost", "'localhost' is neither an address nor"),
        ("auto_response", ["ping", "x" * 1025], "a text has at most 1024 characters"),
        ("auto_response", ["ping", "\ud800"], "is not UTF-8"),
        ("slow_consumer", "wait", "slow_consumer is close or drop, not 'wait'"),
    ],
)
def test_an_impossible_value_is_refused(name: str, value: object, problem: str) -> None:
    (setting,) = (each for each in RECORDS if each.name == name)
    with pytest.raises(ValueError, match=problem):
        setting.kept(value)
