"""The worker process: it runs application code, and may die at any time.

A worker owns nothing that cannot be lost. Requests and deliveries come in; responses,
acknowledgements with actions, and upgraded sockets go out.
"""
