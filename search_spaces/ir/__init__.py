"""The graph: nodes, builder, passes and interpreters."""
