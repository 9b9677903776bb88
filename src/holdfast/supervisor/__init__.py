"""THE LANDLORD. Starts, replaces, drains and stops processes; imports none of them.

Enters: signals, commands of the command line, the ends of processes. Leaves: processes and what
they are told over their control links. No data passes through. Private. Doors: config, wire,
links.
"""
