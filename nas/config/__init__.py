"""The experiment file: its models, and the loader that reports every problem at once."""

from nas.config.loader import load, to_yaml
from nas.config.schema import Experiment

__all__ = ["Experiment", "load", "to_yaml"]
