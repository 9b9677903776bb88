"""THE WORKSHOP. Runs application code. Owns nothing that cannot be lost; may die at any time.

Enters: requests, deliveries. Leaves: responses, acknowledgements with actions, upgraded sockets.
Private. Doors: core, config, wire, framing, hosts, links.
"""
