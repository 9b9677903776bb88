"""THE ROPES. What supervisor, keeper and workers have in common as processes.

The control link between the supervisor and each process, and the rule that no process outlives
the supervisor. Shell. Private. Doors: wire.
"""
