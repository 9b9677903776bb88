"""The pages of the documentation, and what their code blocks are for.

A comment before a block, invisible when the page is rendered, says how it is tested:

    <!-- test: app NAME -->                a complete application; tests/docs/stories.py has its
                                           story, or a transcript of the page is played with it
    <!-- test: app NAME = OTHER + this --> the same, of OTHER's code and this block
    <!-- test: pytest of NAME -->          a test file; pytest runs it beside application NAME
    <!-- test: file PATH -->               lies beside the applications of this page
    <!-- test: transcript of NAME -->      clients do and see this (tests/docs/transcript.py)
    <!-- test: transcript of NAME, then OTHER -->    the same; a reload brings OTHER's code
    <!-- test: output of NAME -->          the story of NAME compares this with what it sees

A Python block needs one. So does every other block, except shell commands, which are known by
their language, and pictures in a block without a language.

The blocks are found by markdown-it-py. Looked at and not taken: sybil and pytest-markdown-docs run
a block as a sequence of statements in a namespace, pytest-examples too and lints it; here a block
is a file that a server loads, and what counts comes after that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["DOCS", "ROOT", "Block", "Page", "pages", "read"]

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

COMMENT = re.compile(r"<!-- test: (.*?) -->", re.DOTALL)
MARK = re.compile(
    r"app (?P<app>[\w-]+)( = (?P<base>[\w-]+) \+ this)?"
    r"|pytest of (?P<tested>[\w-]+)"
    r"|file (?P<file>[\w./-]+)"
    r"|transcript of (?P<played>[\w-]+)(, then (?P<then>[\w-]+))?"
    r"|output of (?P<output>[\w-]+)"
)


@dataclass(frozen=True)
class Block:
    """One code block."""

    page: str
    line: int
    language: str
    mark: str
    code: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def roles(self) -> dict[str, str]:
        """The parts of its mark by name; empty if it has none, or one that makes no sense."""
        match = MARK.fullmatch(self.mark)
        return {k: v for k, v in match.groupdict().items() if v} if match else {}


@dataclass(frozen=True)
class Page:
    """One page, with what is needed to run its applications."""

    name: str
    text: str
    blocks: list[Block] = field(default_factory=list)

    def with_role(self, role: str) -> list[Block]:
        return [block for block in self.blocks if role in block.roles]

    def block(self, role: str, value: str) -> Block:
        """Return the one block that has this role."""
        (found,) = [block for block in self.with_role(role) if block.roles[role] == value]
        return found

    def code(self, name: str) -> str:
        """Return the whole text of application `name`."""
        block = self.block("app", name)
        base = block.roles.get("base")
        return block.code if base is None else f"{self.code(base)}\n\n{block.code}"

    def applications(self) -> list[str]:
        """Return the names of its applications."""
        return [block.roles["app"] for block in self.with_role("app")]

    def write_files(self, directory: Path) -> None:
        for block in self.with_role("file"):
            path = directory / block.roles["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)


@cache
def pages() -> dict[str, Page]:
    """Return every page by its path."""
    files = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    names = [file.relative_to(ROOT).as_posix() for file in files]
    return {name: read(name, file.read_text()) for name, file in zip(names, files, strict=True)}


def read(name: str, text: str) -> Page:
    """Find the blocks of a page."""
    page = Page(name, text)
    mark = ""
    for token in MarkdownIt().parse(page.text):
        if token.type == "html_block" and (comment := COMMENT.fullmatch(token.content.strip())):
            mark = " ".join(comment[1].split())
        elif token.type == "fence":
            assert token.map is not None  # Only inline tokens have none.
            language = token.info.split(" ")[0]
            page.blocks.append(Block(page.name, token.map[0] + 1, language, mark, token.content))
            mark = ""
        elif token.type != "inline":
            mark = ""
    return page
