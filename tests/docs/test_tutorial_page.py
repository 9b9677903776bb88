"""The tutorial's page in a real browser: step 7, as a reader sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import pages
from tests.docs.stories import APPLICATION
from tests.flow.browser import Browser, Page, missing_programs
from tests.flow.server import Server

if TYPE_CHECKING:
    from pathlib import Path

if missing := missing_programs():
    pytest.skip(f"not installed: {missing}", allow_module_level=True)

LOG = 'document.querySelector("#log").textContent'
ENTER = "\ue007"


def shows(page: Page, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    page.wait_until(f"{LOG} === arguments[0]", text)


@pytest.mark.timeout(120)
def test_both_windows_stay_connected_over_a_reload(tmp_path: Path) -> None:
    tutorial = pages()["docs/tutorial.md"]
    tutorial.write_files(tmp_path)
    application = tmp_path / APPLICATION
    application.write_text(tutorial.code("lobby"))
    with Browser.start() as browser, Server.start(APPLICATION, cwd=tmp_path) as server:
        ann = browser.open_page(f"{server.url}/?name=Ann")
        shows(ann, "[connected]", "Welcome, Ann.")
        bob = browser.open_page(f"{server.url}/?name=Bob")
        ann.type("#text", "old code" + ENTER)
        shows(bob, "[connected]", "Welcome, Bob.", "Ann: old code (1)")
        application.write_text(tutorial.code("says"))
        assert server.reload().returncode == 0
        for pid in server.worker_pids():
            server.kill_worker(pid)
        ann.type("#text", "new code" + ENTER)
        seen = ["Ann: old code (1)", "Ann says, as message 2: new code"]
        shows(bob, "[connected]", "Welcome, Bob.", *seen)
        shows(ann, "[connected]", "Welcome, Ann.", "Bob joined", *seen)
        server.process.terminate()
        # What the others hear of it when the server itself ends depends on who goes first.
        for page in (ann, bob):
            page.wait_until(f'{LOG}.endsWith("[closed: 1001]\\n")')
