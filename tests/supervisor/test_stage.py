from __future__ import annotations

import pytest

from holdfast.supervisor.stage import STAGES, ServerFact, ServerStage, ServerStages

STOPPING = {
    ServerStage.FAILED,
    ServerStage.CLOSING,
    ServerStage.DRAINING,
    ServerStage.STOPPED,
}


def at(stage: ServerStage) -> ServerStages:
    server = ServerStages()
    server.stage = stage
    return server


def after(*facts: ServerFact) -> ServerStage:
    server = ServerStages()
    for fact in facts:
        server.tell(fact)
    return server.stage


@pytest.mark.parametrize(("stage", "fact"), [(s, f) for s in ServerStage for f in ServerFact])
def test_facts_outside_the_table_change_nothing(stage: ServerStage, fact: ServerFact) -> None:
    server = at(stage)
    assert server.tell(fact) == ((stage, fact) in STAGES)
    assert server.stage is STAGES.get((stage, fact), stage)


@pytest.mark.parametrize("stage", ServerStage)
def test_predicates_name_their_stages(stage: ServerStage) -> None:
    server = at(stage)
    assert server.is_asleep == (stage is ServerStage.ASLEEP)
    assert server.is_waking == (stage is ServerStage.WAKING)
    assert server.is_stopping == (stage in STOPPING)


def test_no_way_leads_back_from_a_stop() -> None:
    assert all(after in STOPPING for (stage, _), after in STAGES.items() if stage in STOPPING)


@pytest.mark.parametrize("stage", [stage for stage in ServerStage if stage not in STOPPING])
def test_every_running_server_can_stop(stage: ServerStage) -> None:
    server = at(stage)
    for fact in (ServerFact.STOP, ServerFact.CONNECTIONS_CLOSED, ServerFact.NO_WORKERS):
        server.tell(fact)
    assert server.stage is ServerStage.STOPPED


def test_only_a_stopping_server_ends_without_workers() -> None:
    ends = {stage for (stage, _), after in STAGES.items() if after is ServerStage.STOPPED}
    assert ends == STOPPING - {ServerStage.STOPPED}


def test_every_stage_is_reached() -> None:
    assert set(STAGES.values()) | {ServerStage.STARTING} == set(ServerStage)


def test_a_failed_generation_ends_a_new_server_only() -> None:
    assert after(ServerFact.FAILED) is ServerStage.FAILED
    assert after(ServerFact.PROMOTED, ServerFact.FAILED) is ServerStage.SERVING


def test_a_server_sleeps_wakes_and_serves() -> None:
    asleep = (ServerFact.PROMOTED, ServerFact.ALL_IDLE)
    assert after(*asleep) is ServerStage.ASLEEP
    assert after(*asleep, ServerFact.WORK_WAITS) is ServerStage.WAKING
    assert after(*asleep, ServerFact.WORK_WAITS, ServerFact.WORKER_SERVES) is ServerStage.SERVING
    assert after(*asleep, ServerFact.PROMOTED) is ServerStage.SERVING
