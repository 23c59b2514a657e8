"""Published benchmarks of trained networks, read as tables over our spaces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nas.search.tabular import Table
from search_spaces import registry
from search_spaces.errors import InputError
from search_spaces.named import hint

# Knob columns of each benchmark, in the order of our space's knobs after the resolution; the
# numbers in them are our options' numbers.
_KNOBS = {"nasbench201": "op_e", "nasbench_macro": "b"}
_ABOUT = {"arch_idx", "std", "params", "flops"}
SPACES = tuple(_KNOBS)


def load_table(data: Path, space: str, accuracy: Path | None = None) -> Table:
    """All accuracies of a benchmark, in percent.

    Args:
        data: folder with the benchmarks' folders.
        space: `nasbench201` or `nasbench_macro`.
        accuracy: another file of accuracies for the same architectures, by `arch_idx`.

    Returns:
        every numeric column of the accuracy file as a metric.

    Raises:
        InputError: an unknown space, or files that are not there.
    """
    if space not in _KNOBS:
        raise InputError(f"--space {space!r}: {hint(space, SPACES)}")
    folder = data / space
    try:
        if space == "nasbench201":
            archs = pd.read_parquet(folder / "archs.parquet")
            frame = archs.merge(
                pd.read_parquet(accuracy or folder / "accuracy.parquet"), on="arch_idx"
            )
            metrics = [c for c in frame.columns if c not in archs.columns]
        else:
            frame = pd.read_parquet(accuracy or folder / "nasbench_macro.parquet")
            metrics = [c for c in frame.columns if "acc" in c]
    except FileNotFoundError as error:
        raise InputError(f"--data {data}: {error.filename} is not there") from None
    prefix = _KNOBS[space]
    knobs = [c for c in frame.columns if c.startswith(prefix) and c[len(prefix) :].isdigit()]
    choices = frame[knobs].to_numpy(np.int64)
    made = registry.create(space)
    none = np.zeros((len(choices), len(made.knobs) - len(knobs)), np.int64)
    columns = {name: frame[name].to_numpy(float) for name in metrics}
    return Table(made, np.concatenate([none, choices], axis=1), columns, np.ones(len(frame)))


def chosen(there: Sequence[str], wanted: str | None, option: str) -> list[str]:
    """Names of a comma-separated list, all where it is not given or `all`.

    Raises:
        InputError: a name that is not there.
    """
    if wanted in (None, "all"):
        return list(there)
    names = str(wanted).split(",")
    problems = [
        f"{option}: no {name!r}; {hint(name, there)}" for name in names if name not in there
    ]
    if problems:
        raise InputError(problems)
    return names
