"""From a run's folder to what its report shows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hw_profiles.estimate import BoundTable
from hw_profiles.intervals import Z_90
from hw_profiles.table import LatencyTable
from nas.results.run import Results
from nas.store import RESOLVED
from nas.ui.data import Comparison, Network, Number, Progress, ReportData, TableFacts

if TYPE_CHECKING:
    from pandas import DataFrame, Series

# A browser draws this many points at ease.
_MOST_POINTS = 4000


def gather(
    results: Results,
    tables: Sequence[TableFacts] = (),
    curves: Sequence[Progress] = (),
) -> ReportData:
    """All that the run's folder knows, with what only the caller can add.

    Args:
        results: the run; its search must have started, its verification need not have.
        tables: facts of the devices' tables, from `table_facts`.
        curves: hypervolume of the search and of random search, from `nas.ui.data.progress`.
    """
    searched = results.trials("search")
    columns = [objective.column for objective in results.config.objectives]
    shown = np.unique(
        np.linspace(0, len(searched) - 1, min(_MOST_POINTS, len(searched))).astype(int)
    )
    verified = results.trials("front")
    networks = _networks(results, searched, verified)
    metrics = {path.parent.name for path in (results.folder / "predictors").glob("*/report.json")}
    reports = {name: results.fit_report(name) for name in sorted(metrics)}
    # Those of earlier releases lack what the report shows of them.
    reports = {name: report for name, report in reports.items() if "held_out" in report}
    return ReportData(
        name=results.config.name,
        objectives=results.config.objectives,
        networks=networks,
        evaluated={name: searched[name].to_numpy(float)[shown] for name in columns},
        n_evaluated=len(searched),
        comparisons=_verified(networks),
        predictors=reports,
        held_out={name: _held_out(results, name, report) for name, report in reports.items()},
        tables=tables,
        progress=curves,
        seconds={
            stage: facts["seconds"] for stage, facts in results.stages.items() if "seconds" in facts
        },
        environment=results.environment,
        config=(results.folder / RESOLVED).read_text(),
        constraints=results.config.constraints,
    )


def table_facts(table: LatencyTable, bound: BoundTable) -> TableFacts:
    """What a table knows of the space that it is bound to."""
    missing = bound.missing
    return TableFacts(
        device=table.device,
        needed=len(bound.keys),
        measured=len(bound.keys) - len(missing) - int(bound.units.interpolated.sum()),
        networks=len(table.networks_of(bound.space)),
        missing=missing,
        provenance=[
            {
                "host": session.host,
                "processor": session.cpu,
                "threads": session.threads,
                "runtime": session.runtime,
                "date": session.date,
                "disturbed by other work": session.noisy,
            }
            for session in table.sessions
        ],
        source=bound.source,
        interpolated=int(bound.units.interpolated.sum()),
        interpolation_error=bound.units.error,
    )


def _networks(results: Results, searched: "DataFrame", verified: "DataFrame") -> list[Network]:
    front = results.pareto()
    trials = [*front.index, *(trial for trial in verified.index if trial not in front.index)]
    networks = []
    for trial in trials:
        row = searched.loc[trial] if trial in searched.index else verified.loc[trial]
        networks.append(
            Network(
                int(trial),
                results.space.decode(np.array(row["arch"])),
                _numbers(searched.loc[trial]) if trial in searched.index else {},
                _numbers(verified.loc[trial]) if trial in verified.index else {},
            )
        )
    return networks


def _held_out(results: Results, metric: str, report: Mapping[str, Any]) -> Comparison:
    """Held-out labels of a predictor, named by the trials that were labelled."""
    found = {name: np.array(values) for name, values in report["held_out"].items()}
    trials = results.trials("label").index[found["rows"]]
    half = Z_90 * found["std"]
    return Comparison(
        metric,
        "networks that it had not seen",
        found["mean"],
        found["label"],
        found["mean"] - half,
        found["mean"] + half,
        [f"network {trial}" for trial in trials],
    )


def _numbers(row: "Series") -> dict[str, Number]:
    values: dict[str, Any] = row.to_dict()
    nan = float("nan")
    return {
        name: Number(
            float(value),
            values[f"{name}.source"],
            float(values.get(f"{name}.lower", nan)),
            float(values.get(f"{name}.upper", nan)),
        )
        for name, value in values.items()
        if f"{name}.source" in values and np.isfinite(value)
    }


def _verified(networks: Sequence[Network]) -> list[Comparison]:
    columns = dict.fromkeys(
        column
        for network in networks
        for column, number in network.measured.items()
        if column in network.predicted
        # What both stages merely counted would lie on the diagonal by construction.
        and number.source != network.predicted[column].source
    )
    comparisons = []
    for column in columns:
        both = [n for n in networks if column in n.measured and column in n.predicted]
        predicted = [network.predicted[column] for network in both]
        comparisons.append(
            Comparison(
                column,
                "verified networks",
                np.array([number.value for number in predicted]),
                np.array([network.measured[column].value for network in both]),
                np.array([number.lower for number in predicted]),
                np.array([number.upper for number in predicted]),
                [f"network {network.trial}" for network in both],
                both[0].measured[column].source,
            )
        )
    return comparisons
