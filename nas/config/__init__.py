"""The experiment file: its models, and the loader that reports every problem at once."""
