"""One consumer per connection, as in the tutorial of Channels."""

from urllib.parse import parse_qs

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from holdfast import BroadcastChannel

LONGEST_TEXT = 2000  # characters


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        """Run for a new connection, and again in each worker that takes it over."""
        self.room = self.scope["url_route"]["kwargs"]["room"]
        names = parse_qs(self.scope["query_string"].decode()).get("name")
        if not names:
            await self.close()
            return
        self.name = names[0][:30]
        await self.accept()
        kept = self.scope["extensions"]["holdfast"]
        # In the place of a channel layer: what is published in the room reaches the client without
        # this worker.
        kept["connection"].subscribe(self.room)
        if not kept["resumed"]:
            await self.send_json({"kind": "welcome", "text": f"Welcome, {self.name}."})
            self.tell("join")

    async def receive_json(self, content):
        text = str(content.get("text", "")).strip()[:LONGEST_TEXT]
        if text:
            self.tell("say", text)

    async def disconnect(self, code):
        """Run when the client leaves, and not when only the worker goes."""
        if hasattr(self, "name"):
            self.tell("leave")

    def tell(self, kind, text=""):
        BroadcastChannel(self.room).post_message({"kind": kind, "name": self.name, "text": text})
