"""A search space as commands take it: a name, an experiment file, or a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from search_spaces.space import Archs, SearchSpace


def find_space(
    name: str, overrides: list[str] | tuple[str, ...]
) -> "tuple[SearchSpace, Archs | None]":
    """A space by name with `key=value` parameters, that of an experiment file, or that of a run.

    Returns:
        The space, and the verified networks of a run.
    """
    from search_spaces import registry

    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        from nas.config import load_any

        return load_any(Path(name), overrides).space.create(), None
    from nas.store import is_run

    if is_run(Path(name)):
        import numpy as np

        from nas.results.run import open_run

        run = open_run(name)
        front = run.trials("front")
        return run.space, np.array(front["arch"].tolist(), int) if len(front) else None
    from ruamel.yaml import YAML, YAMLError

    parameters = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: must be KEY=VALUE")
        try:
            parameters[key] = YAML(typ="safe").load(value)
        except YAMLError:
            raise InputError(f"--set {text}: {value!r} is not valid YAML") from None
    return registry.create(name, **parameters), None
