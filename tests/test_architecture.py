"""The packages, and which of them may import which.

The checks are functions over (path, source) pairs, so that they can be tried on planted violations
too: a check that catches nothing looks as if all was well. `scripts/coverage` takes its
list of pure files from here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TESTS = Path(__file__).parent
# Found by place and not by import: imports can be checked while the package does not even import.
ROOT = TESTS.parent / "src" / "holdfast"

# A package may import itself and the packages, or single files of packages, listed here. Nothing
# else.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "setting": set(),
    # framing: what is a pattern of origins.
    "config": {"framing", "setting"},
    "web": {"errors"},
    # framing.close_codes, which imports nothing: the one list of what a connection may close with.
    "core": {"errors", "framing.close_codes", "web"},
    "framing": set(),
    # core: what a connection's metadata is.
    "wire": {"core", "errors"},
    "ledger": {"config", "errors", "framing", "wire"},
    # wire: what supervisor, keeper and workers say on their control links.
    "process": {"errors", "wire"},
    "keeper": {"config", "errors", "framing", "ledger", "process", "wire"},
    # framing: is this request a handshake, and what is its key.
    "http": {"config", "core", "errors", "framing", "web", "worker"},
    "endpoints": {"core", "errors", "framing", "http", "web", "wire", "worker"},
    "worker": {
        "config", "core", "endpoints", "errors", "framing", "http", "process", "web", "wire",
    },
    # Keeper and worker joined in one process: used by the three below.
    "inprocess": {"config", "core", "errors", "http", "keeper", "ledger", "wire", "worker"},
    # supervisor: its control socket, since `holdfast status` and `stop` are answered here as well.
    "direct": {
        "config", "framing", "http", "inprocess", "keeper", "ledger", "supervisor", "wire",
        "worker",
    },
    "asgi": {
        "config", "core", "errors", "framing", "http", "inprocess", "keeper", "ledger", "web",
        "wire", "worker",
    },
    # config, setting: what `ServiceWorker.asgi` takes.
    "app": {"asgi", "config", "core", "setting"},
    "testing": {
        "app", "config", "core", "endpoints", "errors", "framing", "http", "inprocess", "keeper",
        "ledger", "web", "wire", "worker",
    },
    "supervisor": {"config", "errors", "framing.close_codes", "process", "setting", "wire"},
    # process: how a log is written.
    "cli": {"config", "direct", "process", "setting", "supervisor", "wire"},
    "__main__": {"cli"},
    "__init__": {"app", "core", "errors", "web"},
}  # fmt: skip

# Pure code runs without a loop, a clock or a socket: whole packages, and single files elsewhere.
PURE_PACKAGES = {"errors", "setting", "config", "web", "core", "wire", "framing", "ledger"}
PURE_FILES = {
    "endpoints/boxes.py",
    "endpoints/protocol.py",
    "endpoints/record.py",
    "endpoints/stages.py",
    "http/forwarded.py",
    "http/head.py",
    "http/limits.py",
    "http/paths.py",
    "http/reader.py",
    "http/response.py",
    "keeper/admission.py",
    "keeper/keepalive.py",
    "keeper/rates.py",
    "keeper/read_scheduler.py",
    "process/log.py",
    "supervisor/back_off.py",
    "supervisor/commands.py",
    "supervisor/plan.py",
    "supervisor/policy.py",
    "supervisor/reload.py",
    "supervisor/serving.py",
    "supervisor/stage.py",
    "supervisor/status.py",
    "supervisor/workers.py",
}
IO_MODULES = {
    "asyncio", "multiprocessing", "os", "selectors", "signal", "socket", "ssl", "subprocess",
    "threading", "time",
}  # fmt: skip

# What pure code may use beside the standard library, and why. `core` and `web` have no entry:
# they run wherever Python does, in a Durable Object too.
THIRD_PARTY = {
    # Unmasking in pure Python is about 100 times slower on large payloads. Only that function: the
    # rest of websockets brings its own idea of a connection.
    "framing": ("websockets.*.apply_mask",),
    # On the hot path, a Struct costs about 0.4 µs to make where a frozen dataclass costs 2.7.
    "wire": ("msgspec", "msgspec.*"),
    "ledger": ("msgspec", "msgspec.*"),
    "keeper": ("msgspec", "msgspec.*"),
    # llhttp: a parser, without I/O.
    "http": ("httptools.*",),
}

# The keeper never runs application code.
NOT_FOR_KEEPER = {"core.dispatch", "core.registration", "core.scope"}

# What no pure code may load, not even through somebody else (`http.client` loads `socket`).
EVENT_LOOP = {"asyncio", "socket", "ssl"}

SourceFile = tuple[str, str]  # path below src/holdfast, source


# -- the package as it stands


def package_files() -> list[SourceFile]:
    return [
        (file.relative_to(ROOT).as_posix(), file.read_text()) for file in sorted(ROOT.rglob("*.py"))
    ]


def package_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def is_pure(path: str) -> bool:
    return package_of(path) in PURE_PACKAGES or path in PURE_FILES


def pure_files() -> list[str]:
    """Return the pure files that have something in them to test, as paths below src/holdfast."""
    return [
        path for path, _ in package_files() if is_pure(path) and not path.endswith("__init__.py")
    ]


def own_test_file(path: str) -> str:
    """Return where the tests of a source file are: ledger/mailbox.py → ledger/test_mailbox.py."""
    file = Path(path)
    return file.with_name(f"test_{file.name}").as_posix()


# -- the checks: files in, violations out


def imports(files: Iterable[SourceFile]) -> Iterator[tuple[str, str]]:
    """Yield (path, imported name) for every import, wherever in the file it is."""
    for path, source in files:
        for node in ast.walk(ast.parse(source, path)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield path, alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    # One leading dot or more: a relative import, which is never allowed.
                    yield path, "." * node.level + f"{node.module or ''}.{alias.name}"


def forbidden_imports(files: Iterable[SourceFile]) -> list[str]:
    return [
        f"{path} imports {name}"
        for path, name in imports(files)
        if not is_allowed(package_of(path), name)
    ]


def is_allowed(package: str, name: str) -> bool:
    if name.startswith("."):
        return False  # absolute imports only: they can be read without counting dots
    top, _, rest = name.partition(".")
    if top != "holdfast":
        return True
    # Empty for `import holdfast`, a public name for `from holdfast import Response`: the façade is
    # for users, and nothing inside the package may go through it.
    target = rest.partition(".")[0]
    allowed = {package, *ALLOWED.get(package, set())}
    return target in ALLOWED and any(f"{rest}.".startswith(f"{each}.") for each in allowed)


def impure_imports(files: Iterable[SourceFile]) -> list[str]:
    # The façade counts as pure here: whoever imports a pure file, imports the façade first.
    pure = [(path, source) for path, source in files if is_pure(path) or path == "__init__.py"]
    return [
        f"{path} imports {name}"
        for path, name in imports(pure)
        if not is_pure_import(package_of(path), name)
    ]


def is_pure_import(package: str, name: str) -> bool:
    top = name.split(".")[0]
    if top in IO_MODULES:
        return False
    if top == "holdfast" or top in sys.stdlib_module_names:
        return True
    return any(fnmatchcase(name, pattern) for pattern in THIRD_PARTY.get(package, ()))


def application_code_in_keeper(files: Iterable[SourceFile]) -> list[str]:
    return [
        f"{path} imports {name}"
        for path, name in imports(files)
        if package_of(path) in {"keeper", "ledger", "wire"}
        and ".".join(name.split(".")[1:3]) in NOT_FOR_KEEPER
    ]


def unlisted_packages(files: Iterable[SourceFile]) -> list[str]:
    return sorted({package_of(path) for path, _ in files} - ALLOWED.keys())


def loaded_event_loop(source_root: Path, paths: Iterable[str]) -> set[str]:
    """Import the files in a fresh interpreter and return what they loaded that runs or does I/O."""
    names = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in paths]
    # A stand-in plays `websockets`, whose __init__ loads `socket` only to find its own version:
    # the price of one C function. Nothing else may hide behind it.
    code = f"""
import sys
from types import ModuleType

for name in ("websockets", "websockets.speedups", "websockets.utils", "websockets.frames"):
    sys.modules[name] = stand_in = ModuleType(name)
    stand_in.apply_mask = lambda data, mask: data
sys.path.insert(0, {str(source_root)!r})
for name in {names!r}:
    __import__("holdfast." + name)
print(*({EVENT_LOOP!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# -- all is well


def assert_none(violations: list[str]) -> None:
    # All of them, one per line: pytest would abbreviate the list.
    assert not violations, "\n" + "\n".join(violations)


def test_packages_import_only_what_is_allowed() -> None:
    assert_none(forbidden_imports(package_files()))


def test_every_package_is_listed() -> None:
    assert_none(unlisted_packages(package_files()))


def test_pure_files_import_no_io_and_nothing_third_party() -> None:
    assert_none(impure_imports(package_files()))


def test_keeper_does_not_know_how_to_run_application_code() -> None:
    assert_none(application_code_in_keeper(package_files()))


def test_pure_code_loads_no_event_loop_even_indirectly() -> None:
    assert loaded_event_loop(ROOT.parent, pure_files()) == set()


def test_every_pure_file_on_the_list_exists() -> None:
    assert_none([path for path in sorted(PURE_FILES) if not (ROOT / path).exists()])


def test_every_pure_file_has_its_own_test_file() -> None:
    assert_none([path for path in pure_files() if not (TESTS / own_test_file(path)).exists()])


# -- the checks catch what they are for


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/actions.py", "from holdfast.wire.codec import encode"),
        ("core/actions.py", "from holdfast.framing.frames import encode_close"),
        ("keeper/process.py", "from holdfast.worker.inbox import Inbox"),
        ("keeper/process.py", "import holdfast.worker"),
        ("keeper/process.py", "from holdfast import worker"),
        ("supervisor/process.py", "from holdfast.keeper.process import main"),
        ("core/scope.py", "def asgi():\n    from holdfast.asgi.application import Application"),
        ("direct.py", "from holdfast.endpoints.runner import EndpointRunner"),
        ("direct.py", "def late():\n    from holdfast.endpoints.task import EndpointTask"),
        ("worker/inbox.py", "import holdfast"),
        ("worker/inbox.py", "from holdfast import Response"),
        ("worker/inbox.py", "from . import loader"),
        ("worker/inbox.py", "from ..keeper.ledger import Ledger"),
        ("newpackage/thing.py", "from holdfast.errors import HoldfastError"),
        ("__init__.py", "from holdfast.asgi.application import Application"),
    ],
)
def test_a_forbidden_import_is_noticed(path: str, source: str) -> None:
    assert forbidden_imports([(path, source)]) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ledger/mailbox.py", "import asyncio"),
        ("ledger/ledger.py", "from time import monotonic"),
        ("core/events.py", "import msgspec"),
        ("core/events.py", "import os.path"),
        ("config.py", "from pathlib import Path\nimport click"),
        ("web/url.py", "import msgspec"),
        ("framing/decoder.py", "from websockets.frames import Frame"),
        ("framing/decoder.py", "import websockets"),
        ("wire/stream.py", "import socket"),
        ("wire/codec.py", "import msgspecific"),
        ("supervisor/policy.py", "if TYPE_CHECKING:\n    from asyncio import Task"),
        ("__init__.py", "import asyncio"),
    ],
)
def test_an_impure_import_is_noticed(path: str, source: str) -> None:
    assert impure_imports([(path, source)]) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ledger/ledger.py", "from holdfast.core.dispatch import dispatch"),
        ("keeper/process.py", "from holdfast.core import scope"),
        ("wire/messages.py", "import holdfast.core.registration"),
    ],
)
def test_application_code_in_the_keeper_is_noticed(path: str, source: str) -> None:
    assert application_code_in_keeper([(path, source)]) != []


def test_an_unlisted_package_is_noticed() -> None:
    assert unlisted_packages([("adapters/asgi.py", ""), ("core/events.py", "")]) == ["adapters"]


@pytest.mark.parametrize(
    ("facade", "core"),
    [
        ("", "import http.client"),  # loads `socket`, and so did email.utils before Python 3.13
        ("import asyncio", ""),
    ],
)
def test_an_event_loop_that_is_loaded_indirectly_is_noticed(
    tmp_path: Path, facade: str, core: str
) -> None:
    plant(tmp_path, {"__init__.py": facade, "core/__init__.py": "", "web/request.py": core})
    assert loaded_event_loop(tmp_path, ["web/request.py"]) != set()


def test_what_is_allowed_is_not_called_a_violation(tmp_path: Path) -> None:
    allowed = {
        "__init__.py": "from holdfast.web.request import Request",
        "core/__init__.py": "",
        "web/request.py": "import json\nclass Request: ...",
        "core/connection.py": "from holdfast.framing.close_codes import NORMAL",
        "framing/__init__.py": "",
        "framing/close_codes.py": "NORMAL = 1000",
        "framing/frames.py": "import struct, zlib\nfrom websockets.speedups import apply_mask",
        "wire/__init__.py": "",
        "wire/messages.py": "import msgspec\nfrom msgspec import Struct",
        "keeper/__init__.py": "",
        "ledger/mailbox.py": "import msgspec\nfrom holdfast.wire.messages import Struct",
        "keeper/sockets.py": "import asyncio, socket, websockets, uvloop",
    }
    files = list(allowed.items())
    assert (
        forbidden_imports(files) + impure_imports(files) + application_code_in_keeper(files) == []
    )
    plant(tmp_path, allowed)
    assert loaded_event_loop(tmp_path, [path for path in allowed if is_pure(path)]) == set()


def plant(root: Path, files: dict[str, str]) -> None:
    for path, source in files.items():
        file = root / "holdfast" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
