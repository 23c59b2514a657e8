"""The experiment file: its models, and the loader that reports every problem at once."""

from nas.config.direct import DirectExperiment
from nas.config.loader import load, load_any, located, to_yaml
from nas.config.schema import Experiment

__all__ = ["DirectExperiment", "Experiment", "load", "load_any", "located", "to_yaml"]
