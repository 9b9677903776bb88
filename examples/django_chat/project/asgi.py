"""The chat, written for Django and Channels: its connections outlive reloads and crashes.

    cd examples/django_chat
    holdfast serve project.asgi:application

Open http://127.0.0.1:7777/ in two windows, and talk. Then run `holdfast reload`, or kill a worker.
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# Before anything that needs Django's applications.
django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from chat.consumers import Chat  # noqa: E402
from django.urls import path  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(
            URLRouter([path("ws/<str:room>", Chat.as_asgi())])
        ),
    }
)
