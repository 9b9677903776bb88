"""A headless Chromium for tests, driven through chromedriver (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from tests.flow.server import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Browser", "Page", "missing_programs"]

# The key under which a reference to an element travels ("web element identifier").
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# No sandbox: Chromium refuses to run as root with it. The pages are our own.
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip

TIMEOUT = 30.0  # seconds; a browser's start on a busy machine takes a few


def missing_programs() -> str:
    """Name what is not installed; empty if all is there."""
    return ", ".join(name for name in ("chromium", "chromedriver") if not shutil.which(name))


class Browser:
    """One browser with a profile of its own. Make it with `Browser.start`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._path = ""
        self._pages: list[Page] = []

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Browser]:
        """Run a browser until the block ends."""
        # The browser's last helpers may still be writing when its profile is removed.
        with tempfile.TemporaryDirectory(
            prefix="holdfast-browser-", ignore_cleanup_errors=True
        ) as directory:
            log = Path(directory) / "chromedriver.log"
            with log.open("wb") as output:
                driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=output)
            try:
                browser = cls(_port(driver, log))
                browser._open(f"{directory}/profile")
                try:
                    yield browser
                finally:
                    browser.call("DELETE", "")
            finally:
                driver.terminate()
                driver.wait(TIMEOUT)

    def _open(self, profile: str) -> None:
        options = {
            "binary": shutil.which("chromium"),
            "args": [*ARGUMENTS, f"--user-data-dir={profile}"],
        }
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        answer = self.call("POST", "/session", {"capabilities": wanted})
        self._path = f"/session/{answer['sessionId']}"

    def open_page(self, url: str) -> Page:
        """Open `url` in a new tab."""
        page = Page(self, self.call("POST", "/window/new", {"type": "tab"})["handle"])
        self._pages.append(page)
        page.call("POST", "/url", {"url": url})
        return page

    def close_pages(self) -> None:
        while self._pages:
            self._pages.pop().call("DELETE", "/window")
        # The empty tab that the browser came with stays, and the browser with it.
        self.call("POST", "/window", {"handle": self.call("GET", "/window/handles")[0]})

    def call(self, method: str, path: str, parameters: object = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        body = json.dumps(parameters or {}) if method == "POST" else None
        try:
            connection.request(method, self._path + path, body)
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{method} {path}: {value['error']}: {value['message']}")
        return value


class Page:
    """One tab."""

    def __init__(self, browser: Browser, handle: str) -> None:
        self._browser = browser
        self._handle = handle

    def call(self, method: str, path: str, parameters: object = None) -> Any:
        self._browser.call("POST", "/window", {"handle": self._handle})
        return self._browser.call(method, path, parameters)

    def run(self, script: str, *arguments: object) -> Any:
        """Run the body of a function in the page and return what it returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": arguments})

    def wait_until(self, expression: str, *arguments: object, timeout: float = TIMEOUT) -> None:
        """Wait until an expression in the page is true."""
        script = f"return Boolean({expression})"
        wait_for(lambda: self.run(script, *arguments), f"{expression} {arguments}", timeout)

    def type(self, selector: str, text: str) -> None:
        """Type into an element, key by key; "\\ue007" is Enter."""
        self.call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        self.call("POST", f"/element/{self._find(selector)}/click")

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size; a phone also has touch and a finer screen."""
        metrics = {
            "width": width,
            "height": height,
            "mobile": phone,
            "deviceScaleFactor": 2 if phone else 1,
        }
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def devtools(self, command: str, **parameters: object) -> Any:
        """Chromium's own protocol, for what WebDriver has no word for."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def take_screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def _find(self, selector: str) -> str:
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])


def _port(driver: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port that chromedriver has chosen, when it listens there."""

    def started() -> re.Match[str] | None:
        assert driver.poll() is None, log.read_text()
        return re.search(r"started successfully on port (\d+)", log.read_text())

    return int(wait_for(started, "chromedriver listens", TIMEOUT)[1])
