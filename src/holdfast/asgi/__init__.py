"""An application under an ASGI server: its sockets, handshakes and lifespan."""
