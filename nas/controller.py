"""A run from beginning to end: the line from one YAML file to a verified front.

Every stage leaves its result in the run's folder before it counts as done, and reads what earlier
stages left there. A run that was killed goes on with the first stage that is not done, inside it
where it stopped, and ends in the same result.
"""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from hw_profiles.profile import profile, spread_archs
from hw_profiles.table import open_table, unquiet
from nas.config.schema import Experiment
from nas.deploy import export_trial
from nas.distributed import evaluator_pool
from nas.explore import Explorer
from nas.export.checked import CARD_FILE
from nas.labelled import no_better_than_guessing
from nas.log import Log
from nas.plan import proxy_hours, untrained, untrained_words
from nas.results.run import open_run
from nas.store import RunStore
from nas.trials import Batch
from nas.ui.data import progress
from nas.ui.gather import gather, table_facts
from nas.ui.report import render_front, render_report
from nas.verify import agreement, verified_front, verify
from nas.workbench import Workbench, make_evaluator, shared
from predictors import registry as predictors
from predictors.design import spread_labels
from search_spaces.errors import RunError
from search_spaces.files import write_json, write_text

# Architectures among which each one to label is chosen.
_CANDIDATES = 10
_LABEL_BATCH = 16
STAGES = ("profile", "train", "label", "fit", "search", "verify", "export", "report")


def run(experiment: Experiment, store: RunStore, log: Log, workers: int = 0) -> None:
    """Do what is left of a run.

    Args:
        experiment: what to do.
        store: the run's folder, new or to be continued.
        log: told what happens.
        workers: processes that evaluate sub-networks; 0 for this one.

    Raises:
        InputError: the data, a device or a constraint does not fit; nothing that was done is lost.
    """
    controller = Controller(Workbench(experiment, store.folder), store, log, workers)
    for name in STAGES:
        controller.stage(name)


class Controller:
    """The stages of a run, in the order in which they stand here."""

    def __init__(self, bench: Workbench, store: RunStore, log: Log, workers: int) -> None:
        self.bench = bench
        self.experiment = bench.experiment
        self.store = store
        self.log = log
        self.workers = workers

    def stage(self, name: str) -> None:
        """Do a stage unless it was done before."""
        if self.store.done(name):
            self.log(f"{name}: done before")
            return
        began = time.monotonic()
        work: Callable[[], dict[str, Any] | None] = getattr(self, name)
        facts = work() or {}
        seconds = time.monotonic() - began
        self.store.mark_done(name, seconds=round(seconds, 1), **facts)
        told = ", ".join(f"{key} {_shown(value)}" for key, value in facts.items())
        self.log(f"{name}: done in {seconds:.1f} s{': ' if told else ''}{told}")

    def profile(self) -> dict[str, Any]:
        """Measure what the devices' tables lack, and refuse bounds that nothing can meet."""
        space, data = self.bench.space, self.bench.data
        images = f"{len(data.train)} training and {len(data.validation)} validation images"
        self.log(f"data: {data.name}, {images}")
        self.log(f"space: {space.name}, {Decimal(space.size()):.3g} architectures")
        if networks := untrained(self.experiment, space):
            self.log(untrained_words(networks, proxy_hours(self.experiment, networks)))
        for name, device in self.bench.devices.items():

            def watch(done: int, total: int, eta_s: float, what: str, name: str = name) -> None:
                self.log.progress(f"profile {name}", done, total, f"{eta_s:.0f} s left, {what}")

            table = open_table(device)
            # Whoever asked for a transfer has no time to measure every block.
            if device.runner is not None and table.transferred(space) is None:
                table = profile(space, device, seed=self.experiment.seed, progress=watch)
            for warning in (*table.warnings, *unquiet(table)):
                self.log(warning)
            table.save(self.bench.table_path(name))
        wanted = (*self.experiment.objectives, *self.experiment.constraints)
        costs = self.bench.costs
        named = str(self.store.folder)
        costs.check_covered(self.bench.devices, named, self.experiment.allow_interpolation)
        for line in costs.interpolated():
            self.log(line)
        costs.check_known(wanted, named)
        costs.check_reachable(self.experiment.constraints)
        return {"blocks": max(len(table.keys) for table in costs.tables.values())}

    def train(self) -> dict[str, Any]:
        """Train the super-network, from its newest checkpoint on."""
        self.bench.trainer.run(
            self.bench.checkpoints,
            lambda done, total, note: self.log.progress("train, epochs", done, total, note),
        )
        return {"epochs": self.experiment.supernet.epochs}

    def label(self) -> dict[str, Any]:
        """Evaluate sub-networks on the validation images, for the predictor to learn from."""
        wanted = self.experiment.predictors.accuracy.samples
        none = np.zeros((0, len(self.bench.space.knobs)), int)
        blocks, seed = self.bench.executors.blocks, self.experiment.seed
        # Networks that only run otherwise, in patches, are as accurate: one of them is labelled.
        computed = self.bench.space.computed(spread_archs(blocks, _CANDIDATES * wanted, seed, none))
        candidates = computed[np.sort(np.unique(computed, axis=0, return_index=True)[1])]
        wanted = min(wanted, len(candidates))
        archs = candidates[spread_labels(self.bench.space, candidates, wanted, seed)]
        done = len(self.store.trials("label"))
        with evaluator_pool(make_evaluator, shared(self.bench), self.workers) as pool:
            for first in range(done, len(archs), _LABEL_BATCH):
                part = archs[first : first + _LABEL_BATCH]
                columns = {**pool.evaluate(part), **self.bench.costs.evaluate(part)}
                sources = {"accuracy": "measured", **self.bench.costs.sources()}
                self.store.append(Batch("label", part, columns, sources))
                self.log.progress("evaluate sub-networks", first + len(part), len(archs))
        best = float(np.max(self.store.trials("label")["accuracy"].to_numpy()))
        if warning := no_better_than_guessing(best, self.bench.data.validation.labels):
            self.log(warning)
        return {"sub-networks": len(archs), "best accuracy": round(best, 4)}

    def fit(self) -> dict[str, Any]:
        """Fit the accuracy predictor, and test it on networks that it has not seen."""
        config = self.experiment.predictors.accuracy
        blocks = self.bench.executors.blocks
        predictor = predictors.create(
            config.type,
            self.bench.space,
            self.experiment.seed,
            macs=lambda archs: blocks.total(blocks.macs, archs),
            holdout=config.holdout,
            **config.training,
            **self.bench.extra_features,
        )
        table = self.store.trials("label")
        report = predictor.fit(np.array(table["arch"].tolist()), table["accuracy"].to_numpy())
        predictor.save(self.bench.predictor_folder)
        write_json(self.bench.predictor_folder / "report.json", report.to_dict())
        self.log(report.table())
        return {"kendall": round(report.model.kendall, 3)}

    def search(self) -> dict[str, Any]:
        """Search with estimates, and random search beside it for comparison."""
        explorer = self._explorer()
        proxies = self.bench.proxies
        if proxies is not None and proxies.seconds is not None:
            networks = untrained(self.experiment, self.bench.space)
            self.log(untrained_words(networks, networks * proxies.seconds / 3600))
        explorer.run(self.experiment.search.type, "search")
        explorer.run("random", "random")
        return explorer.facts()

    def verify(self) -> dict[str, Any]:
        """Measure and test networks spread over the front."""
        archs = self._explorer().front(self.experiment.verify.top)
        verify(self.bench, archs, self.store, self.log)
        results = open_run(self.store.folder)
        front = verified_front(results)
        if front.empty:
            raise RunError(
                "no verified network meets the constraints, though estimates said so: "
                "loosen them by the size of the error in the report"
            )
        self.store.write_pareto(front, by=self.experiment.objectives[0].column)
        return {"verified": len(archs), "on the front": len(front), **agreement(results)}

    def export(self) -> dict[str, Any]:
        """Write the most accurate verified networks as files that were checked."""
        front = open_run(self.store.folder).pareto(stage="front")
        front = front.sort_values("accuracy", ascending=False)
        accuracies = {}
        for trial in front.index[: self.experiment.export.top]:
            target = self.experiment.export.to
            folder = self.store.folder / "exports" / str(trial) / target
            if not folder.exists():
                report = export_trial(self.store.folder, int(trial), target)
                error, accuracy = report.numerics.max_relative_error, report.accuracy
                self.log(
                    f"export: {report.model}, within {error:.1e} of JAX, right on "
                    f"{accuracy.value:.2%} of the test images (JAX {accuracy.reference:.2%})"
                )
            # Of one that was written before the run was stopped, too.
            card = json.loads((folder / CARD_FILE).read_text())
            accuracies[str(trial)] = card["test_accuracy"]["value"]
        return {"test_accuracy": accuracies}

    def report(self) -> None:
        """Write `report.html` and `pareto.html`."""
        explorer = self._explorer()
        names = {"search": self.experiment.search.type, "random": "random search"}
        curves = [
            progress(name, *explorer.told(stage), explorer.reference(), explorer.views.values())
            for stage, name in names.items()
        ]
        costs = self.bench.costs
        facts = [table_facts(t, costs.tables[name]) for name, t in self.bench.tables.items()]
        data = gather(open_run(self.store.folder), facts, curves=curves)
        write_text(self.store.folder / "report.html", render_report(data))
        write_text(self.store.folder / "pareto.html", render_front(data))

    def _explorer(self) -> Explorer:
        bench = self.bench
        return Explorer(self.experiment, bench.costs, bench.predictor, self.store, self.log)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
