"""What a keeper knows of connections and workers, and what it decides.

Pure: facts in, commands out.
"""
