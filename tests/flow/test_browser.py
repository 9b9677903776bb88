"""The chat example in a real browser: pages that stay connected whatever happens behind them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.flow.browser import Browser, Page, missing_programs
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if missing := missing_programs():
    pytest.skip(f"not installed: {missing}", allow_module_level=True)

CHAT = ROOT / "examples/chat/app.py"
COUNTER = ROOT / "examples/counter/app.py"

ENTER = "\ue007"
WORKERS = 2

# What has been said, as the page shows it: "Ada: hello".
SAID = """[...document.querySelectorAll("#log > :not(.news)")].map(
    (line) => `${line.querySelector("b").textContent}: ${line.querySelector("p").textContent}`)"""
NEWS = '[...document.querySelectorAll("#log .news")].map((line) => line.textContent)'


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    with Browser.start() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    yield shared_browser
    # Or their scripts would go on looking for a server on a port that may soon be another's.
    shared_browser.close_pages()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server.start(CHAT, workers=WORKERS) as server:
        yield server


def join(browser: Browser, server: Server, name: str, room: str = "lobby") -> Page:
    page = browser.open_page(f"{server.url}/?room={room}")
    page.type("#name", name + ENTER)
    page.wait_until('document.querySelector("#state").textContent === "Connected"')
    page.wait_until(f"{NEWS}.includes(arguments[0])", f"{name} joined")
    return page


def say(page: Page, text: str) -> None:
    page.type("#text", text + ENTER)


def hear(page: Page, line: str) -> None:
    page.wait_until(f"{SAID}.includes(arguments[0])", line)


def workers_seen(page: Page) -> int:
    return int(page.run('return document.querySelector("#workers").textContent'))


def test_both_pages_see_who_comes_what_is_said_and_who_goes(
    browser: Browser, server: Server
) -> None:
    ada, bob = join(browser, server, "Ada"), join(browser, server, "Bob")
    ada.wait_until(f"{NEWS}.includes('Bob joined')")
    say(ada, "hello Bob")
    hear(bob, "Ada: hello Bob")
    hear(ada, "Ada: hello Bob")
    say(bob, "hello Ada")
    hear(ada, "Bob: hello Ada")
    bob.click("#leave")
    ada.wait_until(f"{NEWS}.includes('Bob left')")


def test_nothing_is_heard_in_another_room(browser: Browser, server: Server) -> None:
    ada, eve = join(browser, server, "Ada", "tea"), join(browser, server, "Eve", "coffee")
    say(eve, "anybody here?")
    hear(eve, "Eve: anybody here?")
    say(ada, "nobody but me")
    hear(ada, "Ada: nobody but me")
    assert ada.run(f"return {SAID}") == ["Ada: nobody but me"]
    assert ada.run(f"return {NEWS}")[1:] == ["Ada joined"]


def test_markup_is_shown_as_text(browser: Browser, server: Server) -> None:
    markup = "<img src=x onerror=\"document.title='run'\"><b>bold</b>"
    ada, bob = join(browser, server, "<i>Ada"), join(browser, server, "Bob")
    say(ada, markup)
    hear(bob, f"<i>Ada: {markup}")
    assert bob.run('return document.querySelectorAll("#log img, #log i, #log p b").length') == 0
    assert bob.run("return document.title") == "lobby · holdfast chat"


def test_pages_stay_connected_while_workers_are_killed_and_code_is_replaced(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    ada, bob = join(browser, server, "Ada"), join(browser, server, "Bob")
    for page in (ada, bob):
        page.run("window.firstSocket = socket")
    say(ada, "Is this the server I have heard so much about?")
    hear(bob, "Ada: Is this the server I have heard so much about?")

    victims = server.worker_pids()
    assert len(victims) == WORKERS
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    # No worker is there. Both say something anyway.
    say(ada, "It is. I have just killed all of its workers.")
    say(bob, "Really? I did not notice.")
    for page in (ada, bob):
        hear(page, "Ada: It is. I have just killed all of its workers.")
        hear(page, "Bob: Really? I did not notice.")
    wait_for(lambda: len(server.worker_pids()) == WORKERS, "the workers are replaced")

    generation = server.status()["generation"]
    reloaded = server.reload()
    assert reloaded.returncode == 0, reloaded.stderr
    assert server.status()["generation"] > generation
    say(bob, "So what about a deploy?")
    say(ada, "Behind us.")

    for page in (ada, bob):
        hear(page, "Bob: So what about a deploy?")
        hear(page, "Ada: Behind us.")
        assert len(page.run(f"return {SAID}")) == 5
        assert page.run("return socket === window.firstSocket && socket.readyState") == 1
        assert page.run('return document.querySelector("#reconnects").textContent') == "0"
        assert workers_seen(page) >= 3  # before, between and after
        assert page.run(f"return {NEWS}.filter((line) => line.endsWith('left')).length") == 0
    photograph(ada, tmp_path)


def test_reconnect_is_counted(browser: Browser, server: Server) -> None:
    # The 0 above means something only if it can become 1.
    ada = join(browser, server, "Ada")
    ada.run("socket.close()")
    ada.wait_until('document.querySelector("#reconnects").textContent === "1"')
    say(ada, "here I am again")
    hear(ada, "Ada: here I am again")


def test_count_goes_on_after_a_crash_and_a_reload(browser: Browser) -> None:
    with Server.start(COUNTER, workers=WORKERS) as server:
        page = browser.open_page(server.url)

        def press_until(count: int) -> str:
            page.wait_until('!document.querySelector("#press").disabled')
            page.click("#press")
            page.wait_until('document.querySelector("#count").textContent == arguments[0]', count)
            return str(page.run('return document.querySelector("#worker").textContent'))

        said = {press_until(1)}
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        said.add(press_until(2))
        assert server.reload().returncode == 0
        said.add(press_until(3))
        assert len(said) == 3  # by three workers, but
        assert len({line.partition(".")[0] for line in said}) == 1  # connected since the same time


def photograph(page: Page, directory: Path) -> None:
    """Take pictures for the eye, and check what is measurable: nothing is cut off."""
    for name, width, height in (("desktop", 1280, 800), ("phone", 390, 844)):
        page.resize(width, height, phone=name == "phone")
        page.wait_until("innerWidth === arguments[0]", width)
        page.take_screenshot(directory / f"{name}.png")
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.run("return document.querySelector('#say').getBoundingClientRect().bottom") <= (
            height
        )
        assert page.run("return document.querySelector('#log p').getBoundingClientRect().top") > 0
