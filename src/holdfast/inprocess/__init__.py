"""Links and ends within one process: for direct mode, ASGI servers and the test kit."""
