"""A run, opened for reading: its trials, fronts and reports as tables."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.config.direct import DirectExperiment
from nas.config.loader import parse
from nas.config.schema import Experiment
from nas.objectives import METRICS, to_G
from nas.pareto import nondominated
from nas.results.other_devices import with_other_devices
from nas.results.where import columns_in, mask, number_column
from nas.store import CONFIG, ENVIRONMENT, RESOLVED, is_run, read_trials, stage_facts
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from pandas import DataFrame

_BOUNDS = (".source", ".lower", ".upper")


def open_run(run: str | Path) -> "Results":
    """Open a run for reading, also while it goes on.

    Args:
        run: its folder, or the name of one under `runs/`.

    Raises:
        InputError: there is no such run.
    """
    folder = Path(run)
    if not is_run(folder) and is_run("runs" / folder):
        folder = "runs" / folder
    if not is_run(folder):
        there = ", ".join(sorted(path.name for path in Path("runs").glob("*") if is_run(path)))
        raise InputError(f"{run}: there is no run here; runs: {there or 'none yet'}")
    return Results(folder)


@dataclass(frozen=True)
class Results:
    """What a run found. Every table is read anew, so a run can be watched.

    Args:
        folder: the run's folder.
    """

    folder: Path

    @cached_property
    def config(self) -> Experiment | DirectExperiment:
        """The experiment with all defaults filled in."""
        from ruamel.yaml import YAML, YAMLError

        path = self.folder / RESOLVED
        try:
            return parse(YAML(typ="safe").load(path))
        # Of text that is YAML still, but no longer a whole experiment.
        except (YAMLError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not a whole experiment: restore it, or start a new run with "
                f"{self.folder / CONFIG}"
            ) from error

    @property
    def last_stage(self) -> str:
        """The stage whose figures are those to go by: `front`, or `search` where the user's own
        evaluator measured everything.
        """
        return "search" if isinstance(self.config, DirectExperiment) else "front"

    @cached_property
    def space(self) -> SearchSpace:
        """The space that was searched."""
        return self.config.space.create()

    @property
    def environment(self) -> dict[str, Any]:
        """Where the run was made: machine, versions, commit."""
        return json.loads((self.folder / ENVIRONMENT).read_text())

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Facts of every finished stage, such as `seconds`."""
        return stage_facts(self.folder)

    def trials(self, stage: str | None = None) -> "DataFrame":
        """All networks of a stage (`label`, `search` or `front`), or of all.

        Returns:
            by trial id: `stage`, `arch`, and of every metric its number, `.source`, and `.lower`
            and `.upper` where it is known within bounds. `space.decode` puts an `arch` into words.
        """
        return read_trials(self.folder, stage)

    def pareto(
        self,
        *columns: str,
        where: str | None = None,
        stage: str = "search",
        feasible: bool = True,
    ) -> "DataFrame":
        """The networks that no other one beats.

        Args:
            columns: what they compete in; the run's objectives by default. Accuracy counts upwards,
                all else downwards, unless the run's objectives say otherwise. `latency_ms@DEVICE`
                of a device that the run does not have is estimated by that device's table.
            where: only networks that meet it: `latency_ms@cpu < 20 and macs < 1e6`.
            stage: `search` has estimates of all networks, `front` measurements of a few.
            feasible: only networks that meet the run's constraints; those with a probability by
                the intervals of that stage.

        Returns:
            `trials(stage)` of these networks with their `choices`, best in the first column first.

        Raises:
            InputError: a column that there isn't, a condition that can't be read, or a device whose
                table does not cover the run's space.
        """
        columns = columns or tuple(objective.column for objective in self.config.objectives)
        asked = (*columns, *(columns_in(where) if where else ()))
        table = with_other_devices(self, self._trials(stage), asked)
        numbers = numeric(table)
        F = np.stack(
            [number_column(name, numbers, "pareto") * -self._sign(name) for name in columns], axis=1
        )
        rows = np.isfinite(F).all(axis=1)
        if where is not None:
            rows &= mask(where, numbers)
        if feasible:
            known = [c for c in self.config.constraints if c.column in numbers]
            G = to_G(numbers, known, _intervals(table))
            rows &= (G <= 0).all(axis=1) if G.shape[1] else True
        best = np.flatnonzero(rows)[nondominated(F[rows])]
        best = best[np.argsort(F[best, 0], kind="stable")]
        front = table.iloc[best].copy()
        front.insert(2, "choices", self._choices(front))
        return front

    def front(self) -> "DataFrame":
        """The verified networks, each number as it was predicted and as it was verified.

        Returns:
            by trial id: `arch`, `choices`, and for every metric `.measured` (`.estimated` where no
            device took part), and where the search had estimated it `.predicted`, `.source` (of
            the prediction), `.lower` and `.upper`.
        """
        import pandas as pd

        measured = self._trials("front")
        predicted = self.trials("search").reindex(measured.index)
        out: dict[str, Any] = {"arch": measured["arch"], "choices": self._choices(measured)}
        for name in numeric(measured):
            estimated = set(measured[f"{name}.source"]) == {"estimated"}
            out[f"{name}.{'estimated' if estimated else 'measured'}"] = measured[name]
            if name in predicted:
                out[f"{name}.predicted"] = predicted[name]
            for suffix in _BOUNDS:
                if name + suffix in predicted:
                    out[name + suffix] = predicted[name + suffix]
        return pd.DataFrame(out, index=measured.index)

    def predictor_report(self, metric: str = "accuracy") -> "DataFrame":
        """How good the predictor is on held-out networks, beside its baselines.

        Returns:
            a row each for the model, ridge and MACs; of each figure its value, and `.lower` and
            `.upper`, the ends of its 95 % bootstrap interval.

        Raises:
            InputError: the run has no such predictor (yet).
        """
        import pandas as pd

        report = self.fit_report(metric)
        rows: dict[str, dict[str, float]] = {}
        for name in ("model", "ridge", "macs"):
            if report.get(name):
                scores = dict(report[name])
                # Runs of earlier releases have none.
                intervals = scores.pop("intervals", {})
                rows[name] = scores
                for key, (lower, upper) in intervals.items():
                    rows[name] |= {f"{key}.lower": lower, f"{key}.upper": upper}
        return pd.DataFrame.from_dict(rows, orient="index")

    def fit_report(self, metric: str = "accuracy") -> dict[str, Any]:
        """`FitReport.to_dict()` of a predictor.

        Raises:
            InputError: the run has no such predictor (yet).
        """
        path = self.folder / "predictors" / metric / "report.json"
        if not path.is_file():
            raise InputError(f"{path}: the run has no report of a predictor of {metric} (yet)")
        return json.loads(path.read_text())

    def _trials(self, stage: str) -> "DataFrame":
        table = self.trials(stage)
        if table.empty and stage != "search" and isinstance(self.config, DirectExperiment):
            raise InputError(
                f"{self.folder}: nothing is estimated where an evaluator of one's own measures, so "
                f"there is no {stage} stage: all is in its search stage"
            )
        if table.empty:
            raise InputError(f"{self.folder}: the run has no trials of its {stage} stage (yet)")
        return table

    def _choices(self, table: "DataFrame") -> list[dict[str, Any]]:
        return [self.space.decode(np.array(arch)) for arch in table["arch"]]

    def _sign(self, column: str) -> float:
        """1 for what is to be large, -1 for what is to be small."""
        for objective in self.config.objectives:
            if objective.column == column:
                return 1.0 if objective.goal == "max" else -1.0
        name = column.partition("@")[0]
        # Also that on the test set, and in 8 bits.
        if "accuracy" in name:
            name = "accuracy"
        return 1.0 if name in METRICS and METRICS[name].goal == "max" else -1.0


def numeric(table: "DataFrame") -> dict[str, Any]:
    """The metrics of a table of trials, without their sources and bounds."""
    return {
        name: table[name].to_numpy(np.float64)
        for name in table.columns
        if name not in ("stage", "arch", "choices") and not name.endswith(_BOUNDS)
    }


def _intervals(table: "DataFrame") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Bounds of the metrics that have them."""
    ends = (".lower", ".upper")
    return {
        name: (table[name + ends[0]].to_numpy(float), table[name + ends[1]].to_numpy(float))
        for name in numeric(table)
        if all(name + end in table for end in ends)
    }
