"""THE GATEHOUSE. Holds the sockets of all WebSocket connections. Never runs application code.

Enters: bytes from clients, batches from workers, file descriptors. Leaves: frames to clients,
deliveries to workers. Private. Doors: core (values only), config, wire, framing, broadcast.
"""
