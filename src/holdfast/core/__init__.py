"""THE STUDY. What an event means. Pure: Python's standard library only, no I/O.

Enters: requests, messages and closes, handed in by a host. Leaves: calls on the ports of
`core/ports.py`. Doors: none; every other room may come in here, this one visits nobody.
"""
