"""What a client sent before it broke the protocol is answered before the connection fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flow.raw import PING, TEXT, RawClient, client_frame
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.flow.conftest import Story

LIMITS = ROOT / "tests/flow/apps/limits.py"

RESERVED_BIT = b"\xa1\x80\0\0\0\0"  # an empty text with RSV2: 1002
UNKNOWN_OPCODE = b"\x85\x80\0\0\0\0"


@pytest.mark.parametrize("violation", [RESERVED_BIT, UNKNOWN_OPCODE])
def test_a_message_before_a_violation_is_answered_first(
    shared_story: Story, violation: bytes
) -> None:
    # Autobahn 3.2 to 3.4, 4.1.3 to 4.1.5, 4.2.3 to 4.2.5, 5.15.
    with RawClient(shared_story.server.port) as client:
        client.open("/echo")
        client.send(client_frame("before") + violation + client_frame(b"", PING))
        frame = client.receive_frame()
        assert (frame.opcode, frame.payload) == (TEXT, b"before")
        assert client.receive_frame().close_code == 1002


def test_a_violation_waits_for_an_answer_no_longer_than_a_close_would(tmp_path: Path) -> None:
    env = {"JOURNAL": str(tmp_path / "journal")}
    with (
        Server.start(LIMITS, "--close-timeout", "0.5", workers=1, env=env) as server,
        RawClient(server.port) as client,
    ):
        client.open("/hang")
        client.send(client_frame("never answered") + RESERVED_BIT)
        assert client.receive_frame().close_code == 1002


def test_the_close_event_has_the_code_of_the_violation(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with Server.start(LIMITS, workers=1, env={"JOURNAL": str(journal)}) as server:
        with RawClient(server.port) as client:
            client.open("/echo")
            client.send(client_frame("before") + RESERVED_BIT)
            client.receive_rest()
        wait_for(lambda: journal.exists() and "/echo 1002 " in journal.read_text(), "it is told")
