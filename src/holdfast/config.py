"""The settings: each one, with its default, bounds and reason, is written here and nowhere else.

Pure. Each process gets its settings as JSON in an argument. Seconds are floats, sizes are bytes.
"""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, asdict, dataclass, fields
from ipaddress import ip_network
from typing import TYPE_CHECKING

from holdfast.framing.origin import OriginPolicy
from holdfast.setting import Group, Unit, read, records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MIB = 1024 * 1024

SECONDS = Unit("seconds", most=24 * 3600)
BYTES = Unit("bytes", least=1)
MEBIBYTES = Unit("MiB", scale=MIB)
PROCESSES = Unit("processes")
CONNECTIONS = Unit("connections")

# Every message is compared with it; a sign of life is no longer.
MAX_AUTO_RESPONSE = 1024  # characters


def check_addresses(addresses: str) -> None:
    """Refuse what is neither address nor network."""
    for name in filter(None, map(str.strip, addresses.split(","))):
        try:
            if name != "*":
                ip_network(name, strict=False)
        except ValueError:
            raise ValueError(f"{name!r} is neither an address nor a network") from None


def check_auto_response(pair: tuple[str, str]) -> None:
    """Refuse what would cost something to compare with every message, or cannot be sent."""
    for text in pair:
        if len(text) > MAX_AUTO_RESPONSE:
            raise ValueError(f"a text has at most {MAX_AUTO_RESPONSE} characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """What clients may take of the keeper, and how long they may be silent."""

    max_message: int = Group.WEBSOCKETS.setting(
        1 * MIB,
        BYTES,
        help="Bytes that one message may have; over it: close 1009.",
        reason="Over all fragments of a message. uvicorn takes 16 MiB, Cloudflare 1 MiB.",
    )
    max_outbound: int = Group.WEBSOCKETS.setting(
        1 * MIB,
        BYTES,
        help="Bytes that may wait for a client that does not read.",
        reason="When more is sent to it then, it is closed with 1008. What one event sends may be "
        "longer. uWebSockets drops at 64 KiB by default, Bun at 16 MiB.",
    )
    slow_consumer: str = Group.WEBSOCKETS.setting(
        "close",
        Unit("action"),
        choices=("close", "drop"),
        help="What to do when a publication goes over --max-outbound: close the client with 1008, "
        "or drop the publication for it. What is sent to it alone closes it in any case.",
        reason="A client that is closed comes back and knows that it missed something.",
    )
    mailbox_messages: int = Group.WEBSOCKETS.setting(
        64,
        Unit("messages", least=1),
        help="Messages of one connection that may wait for a worker.",
        reason="Over it the connection is not read: TCP slows the client down. websockets: 16.",
    )
    mailbox_bytes: int = Group.WEBSOCKETS.setting(
        1 * MIB,
        BYTES,
        help="Bytes of messages of one connection that may wait for a worker.",
        reason="As for --mailbox-messages; one message of the largest size fits.",
    )
    ping_interval: float = Group.WEBSOCKETS.setting(
        25.0,
        SECONDS,
        help="Ping a client after so many seconds of silence; 0 for never.",
        reason="nginx and AWS cut silent connections after 60 s, some mobile networks after 30 s.",
    )
    pong_timeout: float = Group.WEBSOCKETS.setting(
        20.0,
        SECONDS._replace(least=0.25),
        help="Seconds that a client may take to answer a ping; then 1006.",
        reason="Phoenix and websockets wait 20 s too.",
    )
    close_timeout: float = Group.WEBSOCKETS.setting(
        5.0,
        SECONDS,
        help="Seconds that a client may take to answer a close frame.",
        reason="Clients that are there answer at once; a stop waits for the others.",
    )
    close_spread: float = Group.WEBSOCKETS.setting(
        5.0,
        SECONDS,
        help="Seconds over which connections close whose endpoint is not begun again elsewhere.",
        reason="Their clients come again, and should not all come at once.",
    )
    max_attempts: int = Group.WEBSOCKETS.setting(
        3,
        Unit("attempts", least=1),
        help="Workers that one message may kill before it is put aside.",
        reason="A worker may die of something else, hardly three times. RabbitMQ: 20.",
    )
    max_connections: int = Group.WEBSOCKETS.setting(
        0,
        CONNECTIONS,
        help="WebSocket connections; over it: 503.  0: as many as there may be descriptors.",
        reason="--max-memory is met first.",
    )
    max_connections_per_address: int = Group.WEBSOCKETS.setting(
        0,
        CONNECTIONS,
        help="WebSocket connections of one address (IPv6: of its /64); over it: 429.  0: no limit.",
        reason="Behind a proxy that is not trusted all have one address. A /64 is one customer's.",
    )
    max_handshakes: int = Group.WEBSOCKETS.setting(
        0,
        Unit("connections/s"),
        help="WebSockets opened per second; over it: 503.  0: no limit.",
        reason="The application knows what is too many.",
    )
    max_message_rate: int = Group.WEBSOCKETS.setting(
        0,
        Unit("messages/s"),
        help="Messages and control frames per second and connection; more is read later.  0: no "
        "limit.",
        reason="The application knows what is too many. TCP slows the client down.",
    )
    max_byte_rate: int = Group.WEBSOCKETS.setting(
        0,
        Unit("bytes/s"),
        help="Bytes per second and connection; more is read later.  0: no limit.",
        reason="As for --max-message-rate.",
    )
    max_memory: int = Group.WEBSOCKETS.setting(
        1024 * MIB,
        MEBIBYTES,
        help="MiB of memory of the keeper; near it: 503 for new connections, and those that hold "
        "most of it are closed.  0: no limit.",
        reason="1 GiB is enough for some 500,000 idle connections.",
    )
    auto_response: tuple[str, str] | None = Group.WEBSOCKETS.setting(
        None,
        Unit("request response"),
        check=check_auto_response,
        help="Answer this text message with that one, at once and without a worker.",
        reason="For clients that cannot send ping frames, as browsers cannot. So has Cloudflare.",
    )
    compress: bool = Group.WEBSOCKETS.setting(
        False,
        Unit("yes or no"),
        help="Offer permessage-deflate: less traffic for more CPU.",
        reason="Short messages gain nothing. uvicorn compresses, ws and Bun do not.",
    )


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients may ask of a worker over HTTP, and how long they may take."""

    max_header_size: int = Group.HTTP.setting(
        32 * 1024,
        # With less, no browser gets through.
        BYTES._replace(least=1024, most=1 * MIB),
        help="Bytes of the request line and the header fields of a request; over it: 431.",
        reason="A request line that is too long alone: 414. Node takes 16 KiB, nginx and Kestrel "
        "32 KiB, uvicorn with httptools anything.",
    )
    max_headers: int = Group.HTTP.setting(
        100,
        Unit("fields", least=10, most=10_000),
        help="Header fields that a request may have; over it: 431.",
        reason="Each costs more memory than it has bytes. gunicorn, hyper and Kestrel: 100, too.",
    )
    header_timeout: float = Group.HTTP.setting(
        20.0,
        SECONDS,
        help="Seconds that a client may take for the head of a request, and pause in its body; "
        "over it: 408.  0: no limit.",
        reason="From the opening of the connection, or from the first byte of a further request. "
        "Apache has 20 s for both, Node and nginx 60 s, uvicorn waits for ever.",
    )
    write_timeout: float = Group.HTTP.setting(
        60.0,
        SECONDS,
        help="Seconds that a client may take nothing of its response; over it, the connection is "
        "cut.  0: no limit.",
        reason="nginx and Apache have 60 s too, uvicorn waits for ever.",
    )
    keep_alive: float = Group.HTTP.setting(
        5.0,
        SECONDS,
        is_counted=False,
        help="Seconds that a connection may wait for its next request; 0: one request each.",
        reason="uvicorn's and Node's default is 5 s as well.",
    )
    limit_concurrency: int = Group.HTTP.setting(
        0,
        Unit("requests"),
        help="Requests that one worker answers at once; over it: 503.  0: no limit.",
        reason="Handshakes included. The application knows what is too many. uvicorn: 0, too.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSettings:
    """What an application is served with, wherever it is."""

    develop: bool = False
    drain_timeout: float = Group.WORKERS.setting(
        30.0,
        SECONDS,
        help="Seconds that a replaced worker may take to finish.",
        reason="Kubernetes kills 30 s after SIGTERM. gunicorn waits 30 s too, uvicorn for ever.",
    )
    event_timeout: float = Group.WORKERS.setting(
        60.0,
        SECONDS,
        help="Seconds that the listeners of one WebSocket event may take, and that a worker's "
        "loop may stand; 0 for no limit.",
        reason="Then listeners are cancelled, and a worker whose loop stands is killed: other "
        "messages wait behind them. uvicorn waits for ever.",
    )
    lifecycle_timeout: float = Group.WORKERS.setting(
        30.0,
        SECONDS,
        flag=None,
        help="Seconds that install and activate may take.",
        reason="Browsers give a service worker minutes; a deploy should know sooner.",
    )
    max_body: int = Group.HTTP.setting(
        16 * MIB,
        BYTES,
        help="Bytes that the body of a request may have; over it: 413.",
        reason="Most applications read it into memory, once per request that runs. A photograph "
        "from a telephone fits, with room to spare. nginx and aiohttp take 1 MiB, Bun 128 MiB, "
        "uvicorn anything.",
    )
    request_timeout: float = Group.HTTP.setting(
        30.0,
        SECONDS,
        help="Seconds that listeners may take to answer a request; 0 for no limit.",
        reason="Reading its body included. Proxies and browsers wait 60 s and more: by then "
        "nobody knows why.",
    )
    allow_origins: tuple[str, ...] = Group.TRUST.setting(
        (),
        Unit("origin"),
        flag="--allow-origin",
        check=OriginPolicy,
        help="Whose pages may open a WebSocket, beside the server's own: https://example.com, "
        "https://*.example.com, http://localhost:*, or * for all. May be given several times.",
        reason="Browsers send cookies along whosever page it is (RFC 6455 section 10.2). uvicorn "
        "lets every page in.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsgiSettings(ApplicationSettings):
    """What an application reads that somebody else's server serves."""

    # Of these, only what is about messages: connections, and their memory, are the server's.
    keeper: KeeperLimits = KeeperLimits(max_memory=0)


@dataclass(frozen=True, slots=True)
class ProcessSettings(ApplicationSettings):
    """What the supervisor and the worker processes read."""

    application: str
    _: KW_ONLY
    idle_timeout: float = Group.REPLACING.setting(
        60.0,
        SECONDS,
        help="Seconds without anything to do; then workers over --min-workers leave. 0: never.",
        reason="Long enough that a pause between two visitors costs no process start.",
    )
    max_events: int = Group.REPLACING.setting(
        0,
        Unit("events"),
        help="Replace a worker after so many events and requests; 0 for never.",
        reason="A leak is better mended. gunicorn's and uvicorn's default is never, too.",
    )
    max_rss: int = Group.REPLACING.setting(
        0,
        MEBIBYTES,
        help="Replace a worker that takes so many MiB of memory; 0 for never.",
        reason="The application knows what is too much.",
    )
    forwarded_allow_ips: str = Group.TRUST.setting(
        "127.0.0.1,::1",
        Unit("addresses"),
        check=check_addresses,
        help="Proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses and networks, "
        "with commas between them, or * for all.",
        reason="Proxies on this machine, as with uvicorn.",
    )
    http: HttpLimits = HttpLimits()


@dataclass(frozen=True, slots=True)
class ServerSettings(ProcessSettings):
    """What the supervisor reads."""

    host: str = Group.SERVER.setting(
        "127.0.0.1",
        Unit("address"),
        help="Address to bind.",
        reason="What is tried out is for this machine alone, as with uvicorn.",
    )
    port: int = Group.SERVER.setting(
        7777,
        Unit("port", most=65535),
        help="Port to bind; 0 for one that is free.",
        reason="None of those that other development servers take: 3000, 5173, 8000, 8080, 8787.",
    )
    _: KW_ONLY
    workers: int = Group.WORKERS.setting(
        2,
        PROCESSES._replace(least=1),
        help="Worker processes.",
        reason="When one dies, the other takes over at once. uvicorn and gunicorn: 1.",
    )
    min_workers: int | None = Group.REPLACING.setting(
        None,
        PROCESSES,
        unset="all",
        help="Workers that stay when none has had anything to do for --idle-timeout seconds; the "
        "others come back when there is something.",
        reason="Whoever comes first after a pause would wait for a process to start.",
    )
    spares: int | None = Group.REPLACING.setting(
        None,
        PROCESSES,
        flag="--spare",
        unset="1 with --workers 1, else 0",
        help="Workers that are loaded and wait to take the place of another.",
        reason="When the only worker dies, everybody waits for a process to start.",
    )
    start_timeout: float = Group.REPLACING.setting(
        120.0,
        SECONDS._replace(least=1),
        help="Seconds that a worker may take to load and start the application.",
        reason="Some applications load models. gunicorn gives 30 s.",
    )
    watch_patterns: tuple[str, ...] = Group.DEVELOPMENT.setting(
        (),
        Unit("pattern"),
        flag="--watch",
        help="More files that reload the application when they change: '*.json', 'words/*.txt'. "
        "May be given several times.",
        reason="supervisor/watch.py knows by itself what most applications are made of.",
    )
    watch: tuple[str, ...] = ()  # directories
    keeper: KeeperLimits = KeeperLimits()


@dataclass(frozen=True, slots=True)
class WorkerSettings(ProcessSettings):
    """What a worker reads."""

    _: KW_ONLY
    control_fd: int
    stream_fd: int
    handover_fd: int
    listen_fd: int  # -1: accept nothing
    worker: int
    generation: int
    # The first worker of a generation runs install and activate.
    first: bool
    # A spare takes nothing before it is told to serve.
    spare: bool = False


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What the keeper reads."""

    control_fd: int
    event_timeout: float
    limits: KeeperLimits = KeeperLimits()


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield flag, unit, default, bounds and reason of each setting, for people."""
    for each in records(ServerSettings):
        name = each.flag or each.name
        yield name, each.unit.name, each.shown_default, each.bounds, each.reason


def worker_settings(server: ServerSettings | AsgiSettings, **own: Any) -> WorkerSettings:
    """Make the settings of a worker: what both kinds know by one name, and what is its `own`."""
    known = {each.name for each in fields(ProcessSettings)} & {each.name for each in fields(server)}
    shared = {name: getattr(server, name) for name in known}
    return WorkerSettings(**(shared | own))


def to_json(settings: ServerSettings | KeeperSettings | WorkerSettings) -> str:
    return json.dumps(asdict(settings))


def from_json(kind: type[Any], text: str) -> Any:
    """Make settings of `kind`; for the processes that holdfast starts itself."""
    return read(kind, json.loads(text))
