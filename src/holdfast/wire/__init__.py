"""What holdfast's processes say to each other. Pure.

Two links join the keeper and each worker: the stream link carries batches of messages, the
handover link carries file descriptors. A control link joins the supervisor and each process.
Messages are msgspec Structs; a batch is MessagePack.
"""
