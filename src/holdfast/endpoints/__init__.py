"""WebSocket endpoints of mounted ASGI applications, over sockets that the keeper holds."""
