"""Every code block of the documentation does what its page says. How: tests/docs/pages.py.

I-R5-5: an example that nobody runs need not work.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import pytest

from holdfast.cli.main import main
from tests.docs.pages import DOCS, ROOT, Block, pages
from tests.docs.stories import APPLICATION, STORIES, Stage
from tests.docs.transcript import play
from tests.flow.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.pages import Page
    from tests.docs.stories import Story

BLOCKS = [block for page in pages().values() for block in page.blocks]
APPLICATIONS = [(page.name, name) for page in pages().values() for name in page.applications()]
TRANSCRIPTS = [block for block in BLOCKS if "played" in block.roles]
PYTEST_FILES = [block for block in BLOCKS if "tested" in block.roles]

SHELL = {"console", "sh"}
PICTURES = {""}

# Nothing here runs these: what a page's own script does is told in few lines.
SHOWN = {"javascript"}

# A line of prose; rows of tables and lines of code cannot be broken.
LONGEST_LINE = 130
LONG_LINES = {"README.md", "docs/flow.md"}  # the paths in the latter are long


def by_id(block: Block) -> str:
    return block.id


@contextmanager
def stage(page: Page, name: str, directory: Path) -> Iterator[Stage]:
    page.write_files(directory)
    (directory / APPLICATION).write_text(page.code(name))
    with Server.start(APPLICATION, cwd=directory) as server:
        yield Stage(page, directory, server)


@pytest.mark.parametrize("block", BLOCKS, ids=by_id)
def test_block_says_how_it_is_tested(block: Block) -> None:
    if block.mark:
        assert block.roles, f"{block.mark!r} is no such comment; tests/docs/pages.py lists them"
    else:
        assert block.language in SHELL | PICTURES | SHOWN, (
            f"a block of {block.language} with no comment"
        )


@pytest.mark.parametrize(("page", "name"), APPLICATIONS, ids=map(":".join, APPLICATIONS))
def test_application_is_put_to_the_test(page: str, name: str) -> None:
    played = [block.roles for block in pages()[page].with_role("played")]
    acts = {role.get(key) for role in played for key in ("played", "then")}
    tested = {block.roles["tested"] for block in pages()[page].with_role("tested")}
    told = {(page, name) for page, name, _ in STORIES}
    assert (page, name) in told or name in acts | tested


@pytest.mark.parametrize(
    ("page", "name", "story"),
    STORIES,
    ids=[f"{page}:{name}:{s.__name__}" for page, name, s in STORIES],
)
def test_story_is_true(page: str, name: str, story: Story, tmp_path: Path) -> None:
    with stage(pages()[page], name, tmp_path) as ready:
        story(ready)


@pytest.mark.parametrize("block", TRANSCRIPTS, ids=by_id)
def test_clients_see_what_the_transcript_shows(block: Block, tmp_path: Path) -> None:
    page = pages()[block.page]
    following = block.roles.get("then", block.roles["played"])
    with stage(page, block.roles["played"], tmp_path) as ready:
        play(block.code, ready.server, lambda: ready.save(page.code(following)))


@pytest.mark.parametrize("block", PYTEST_FILES, ids=by_id)
def test_the_tests_on_the_page_pass(block: Block, tmp_path: Path) -> None:
    page = pages()[block.page]
    page.write_files(tmp_path)
    (tmp_path / APPLICATION).write_text(page.code(block.roles["tested"]))
    (tmp_path / "test_chat.py").write_text(block.code)
    # By name, since it may not be installed as a plugin; and not twice, if it is.
    plugins = ["-p", "no:cacheprovider", "-p", "no:holdfast", "-p", "holdfast.testing.plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "test_chat.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


# --- commands -----------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    """Yield (page, command) for each `holdfast …` in shell blocks and in the text."""
    for page in pages().values():
        for block in page.blocks:
            if block.language in SHELL | PICTURES:
                for line in re.findall(r"^\$ (holdfast .*)$", block.code, re.MULTILINE):
                    yield page.name, line
        for line in re.findall(r"`(holdfast [a-z]+[^`]*)`", page.text):
            yield page.name, line


COMMANDS = sorted(set(commands()))


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=map(": ".join, COMMANDS))
def test_command_exists(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = main.commands[name]
    try:
        command.make_context(f"holdfast {name}", arguments)
    except click.MissingParameter:
        assert "`" + line + "`" in pages()[page].text, "only the text may leave out arguments"


@pytest.mark.parametrize("page", sorted(pages()))
def test_options_exist(page: str) -> None:
    known = {"--help", "--version"} | {
        option for command in main.commands.values() for it in command.params for option in it.opts
    }
    named = set(re.findall(r"`(--[a-z-]+)", pages()[page].text))
    assert named - known == set()


def test_options_have_the_defaults_that_the_text_says() -> None:
    defaults = {
        option: it.default
        for command in main.commands.values()
        for it in command.params
        for option in it.opts
    }
    said = []
    for page in pages().values():
        text = " ".join(page.text.split())
        said += re.findall(r"(\d+) s[^`.;]{0,12}`(--[a-z-]+)`", text)
        said += [
            (n, option) for option, n in re.findall(r"`(--[a-z-]+)`[^`.;\d]{1,4}(\d+) s\b", text)
        ]
    assert len(said) > 5
    assert [(n, option) for n, option in said if float(n) != defaults[option]] == []


# --- the text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(pages().keys() - LONG_LINES))
def test_lines_are_not_too_long(page: str) -> None:
    lines = pages()[page].text.splitlines()
    too_long = [line for line in lines if len(line) > LONGEST_LINE and not line.startswith("|")]
    assert too_long == []


def test_links_lead_somewhere() -> None:
    broken = []
    for page in pages().values():
        for target in re.findall(r"\]\(([^)\s]+)\)", page.text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = ((ROOT / page.name).parent / path).resolve() if path else ROOT / page.name
            if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = {DOCS / "index.md"}
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting |= links_between_pages(page) - reached
    assert set(DOCS.rglob("*.md")) - reached == set()


def links_between_pages(page: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
    return {(page.parent / target).resolve() for target in targets}


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings as the site makes them, and of what it describes."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    described = re.findall(r"^::: (.*)$", text, re.MULTILINE)
    return {re.sub(r"[- ]+", "-", heading) for heading in plain} | set(described)
