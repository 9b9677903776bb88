"""THE CORRIDOR. What holdfast's processes say to each other. Pure.

Enters: bytes from a link. Leaves: messages, and bytes for a link. Private. Doors: core (errors,
`Metadata`). Third party: msgspec.

Two links join the keeper and each worker: the stream link carries batches of messages, the
handover link carries file descriptors. A control link joins the supervisor and each process.
"""
