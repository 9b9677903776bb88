"""THE DOORBELL. The command line.

Enters: arguments. Leaves: settings for the supervisor, or questions to a running one. Private.
Doors: config, direct, links, setting, supervisor.
"""
