"""Search algorithms: ask for architectures, tell what they measure."""
