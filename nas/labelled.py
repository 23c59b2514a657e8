"""Labelled architectures of a file or of a run, for predictors to learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from hw_profiles.latencies import read_frame
from nas.config.direct import DirectExperiment
from nas.results.run import numeric, open_run
from predictors.base import MacsOf
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.named import hint
from search_spaces.space import Archs, SearchSpace


@dataclass(frozen=True)
class Labelled:
    """Architectures and what was found of them.

    Args:
        space: where they come from.
        archs: a row a label.
        y: the labels, finite.
    """

    space: SearchSpace
    archs: Archs
    y: Float64[np.ndarray, " n"]

    @property
    def macs(self) -> MacsOf | None:
        """MACs of architectures; None where the space draws no networks."""
        if not self.space.has_networks:
            return None
        blocks = BlockMap(self.space)
        return lambda archs: blocks.total(blocks.macs, archs)


def of_run(run: Path, metric: str) -> Labelled:
    """What a run evaluated for its predictor; all it tried, where its evaluator is the user's own.

    Raises:
        InputError: no such run, no such column, or nothing was evaluated yet.
    """
    results = open_run(run)
    stage = "search" if isinstance(results.config, DirectExperiment) else "label"
    trials = results.trials(stage)
    if trials.empty:
        raise InputError(f"{run}: the run has evaluated nothing in its {stage} stage (yet)")
    columns = numeric(trials)
    if metric not in columns:
        raise InputError(f"--metric: {run} has no {metric!r}; {hint(metric, columns)}")
    return _known(results.space, np.array(trials["arch"].tolist(), int), columns[metric])


def no_better_than_guessing(best: float, labels: Int[np.ndarray, " n"]) -> str | None:
    """What to say where even the best sub-network may have learned nothing.

    Args:
        best: its share of right answers.
        labels: of the images that it was asked about.
    """
    guessed = np.bincount(labels).max() / len(labels)
    # Two standard errors: what a network that knows nothing may reach by luck.
    if best > guessed + 2 * np.sqrt(guessed * (1 - guessed) / len(labels)):
        return None
    return (
        f"the best sub-network is right on {best:.1%} of the validation images, and naming the "
        f"most frequent class alone on {guessed:.1%}: the super-network has learned next to "
        "nothing; it may need more supernet.epochs, a smaller supernet.batch, or labels that fit "
        "the images"
    )


def of_file(space: SearchSpace, file: Path, metric: str) -> Labelled:
    """Rows of a CSV or parquet file whose columns are named like the space's knobs.

    Knobs that an architecture does not read may be empty; rows without a label are left out.

    Raises:
        InputError: the file can't be read, a column is missing, or a choice is unknown.
    """
    frame = read_frame(file)
    if metric not in frame:
        raise InputError(f"--metric: {file} has no column {metric!r}; {hint(metric, frame)}")
    try:
        y = frame[metric].to_numpy(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"--metric: {file}: column {metric!r} holds more than numbers") from None
    return _known(space, encoded(space, frame.to_dict("list"), str(file)), y)


def encoded(space: SearchSpace, columns: Mapping[str, Sequence[Any]], where: str) -> Archs:
    """Canonical architectures from columns named like the knobs; one with one option needs none.

    Args:
        space: the space.
        columns: an option a row; empty (NaN) where the knob is not read.
        where: how errors call the columns' origin.

    Raises:
        InputError: a knob without a column, an option that it does not have, or a missing one.
    """
    rows = max(map(len, columns.values()), default=0)
    fixed = {knob.name: knob.options * rows for knob in space.knobs if len(knob.options) == 1}
    columns = fixed | dict(columns)
    missing = [knob.name for knob in space.knobs if knob.name not in columns]
    if missing:
        raise InputError(
            f"{where}: no column {missing[0]!r}; columns must be named like the knobs of "
            f"{space.name}: nas spaces {space.name}"
        )
    archs = []
    for knob in space.knobs:
        place = {_text(option): number for number, option in enumerate(knob.options)}
        texts = map(_text, columns[knob.name])
        found = [-1 if text == "nan" else place.get(text, -2) for text in texts]
        if -2 in found:
            strange = columns[knob.name][found.index(-2)]
            raise InputError(
                f"{where}: {knob.name} is {strange!r} there; the space has {list(knob.options)}"
            )
        archs.append(found)
    entries = np.array(archs, int).T
    out = space.canonical(np.maximum(entries, 0))
    empty = np.argwhere((entries < 0) & space.active(out))
    if len(empty):
        row, knob = map(int, empty[0])
        raise InputError(f"{where}: row {row + 1} has no {space.knobs[knob].name}, and reads it")
    return out


def _text(option: Any) -> str:
    """An option as files have it: a text that looks like a number is read as one."""
    return f"{option:g}" if isinstance(option, float) else str(option)


def _known(space: SearchSpace, archs: Archs, y: Float64[np.ndarray, " n"]) -> Labelled:
    rows = np.isfinite(y)
    return Labelled(space, archs[rows], y[rows])
