"""What supervisor, keeper and workers have in common as processes."""
