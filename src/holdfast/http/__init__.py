"""HTTP/1.1: the server's side of requests, and ASGI applications that are mounted."""
