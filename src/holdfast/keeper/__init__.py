"""The keeper process: it holds the sockets of all WebSocket connections.

The keeper never runs application code. Bytes from clients, batches from workers and file
descriptors come in; frames to clients and deliveries to workers go out. What it decides is in
`ledger`.
"""
