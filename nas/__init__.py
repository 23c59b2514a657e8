"""Hardware-aware neural architecture search, from one YAML file to a verified network."""
