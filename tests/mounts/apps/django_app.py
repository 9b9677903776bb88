"""A Django project in one file, with a chat over Channels and its in-memory layer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.http import HttpRequest

if not settings.configured:
    settings.configure(
        SECRET_KEY="for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["channels"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    )
    django.setup()


asked = asyncio.Event()
"""Set by each request for `hello`; a stream waits for one."""


async def hello(request: HttpRequest) -> HttpResponse:
    asked.set()
    return JsonResponse({"hello": "world"})


def echo(request: HttpRequest) -> HttpResponse:
    """Run in a thread, as Django does with plain functions."""
    return HttpResponse(request.body)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def count() -> AsyncIterator[bytes]:
        asked.clear()
        yield b"0\n"
        await asked.wait()
        yield b"1\n"

    return StreamingHttpResponse(count())


def url(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.build_absolute_uri(reverse("hello")))


def pid(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("broken on purpose")


class Echo(WebsocketConsumer):  # type: ignore[misc]  # Channels is not typed.
    """A plain one, which runs in threads."""

    def connect(self) -> None:
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=f"{text_data}!")


class Chat(AsyncWebsocketConsumer):  # type: ignore[misc]
    """The chat of the Channels tutorial."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str) -> None:
        message = {"type": "chat.message", "message": json.loads(text_data)["message"]}
        await self.channel_layer.group_send(self.room, message)

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


urlpatterns = [
    path("hello", hello, name="hello"),
    path("echo", echo),
    path("stream", stream),
    path("url", url),
    path("pid", pid),
    path("broken", broken),
]

sys.modules.setdefault(settings.ROOT_URLCONF, sys.modules[__name__])

app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter(
            [path("ws", Echo.as_asgi()), path("chat/<str:room>", Chat.as_asgi())]
        ),
    }
)
