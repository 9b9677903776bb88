"""What an event means to an application: scope, events, dispatch, connections and channels.

Pure: Python's standard library only. A host hands requests, messages and closes in, and implements
the ports of `core/ports.py`.
"""
