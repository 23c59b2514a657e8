"""What measures: one file a runner, named in `registry`."""
