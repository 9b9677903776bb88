"""THE BELL. Channel name → who hears it.

Enters: subscriptions and publications. Leaves: the members of a channel. Doors: core.
"""
