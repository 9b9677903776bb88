"""OTHER HOUSES the same core can live in, and the HTTP side of our own.

Enters: ASGI scopes. Leaves: responses; events dispatched by core. Doors: core, config, broadcast,
framing, wire.
"""
