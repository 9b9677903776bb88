"""BOTH UNDER ONE ROOF: keeper and worker joined in one process, without links.

`holdfast serve --direct`, and any ASGI server that serves an application. Enters: sockets, or ASGI
scopes. Leaves: what they answer. Doors: core, config, wire, framing, keeper, worker, hosts,
and of the supervisor its control socket.
"""
