"""Keeper and worker in one process: the link between them in memory, and the ends of a worker.

`holdfast serve --direct`, an ASGI server and the test kit have it in common. Private. May import:
core, config, wire, hosts, keeper, worker.
"""
