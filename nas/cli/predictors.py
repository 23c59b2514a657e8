"""`nas fit-predictor` and `nas compare`: predictors of any metric, from labels of any origin."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.check import Overrides
from nas.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from nas.labelled import Labelled
    from predictors.base import Predictor

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A run, or a CSV or parquet file: columns named like the space's knobs, and labels.",
    ),
]
Space = Annotated[
    str,
    typer.Option(
        metavar="SPACE",
        help="Of a file: a space by name, an experiment file with one in it, or a run.",
    ),
]
Metric = Annotated[str, typer.Option(metavar="COLUMN", help="The column of the labels.")]
Seed = Annotated[int, typer.Option(min=0)]
# A comparison fits each predictor five times: what takes minutes then has to be asked for.
_SLOW = ("graph_transformer",)


def fit_predictor(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New folder for the fitted predictor.")
    ],
    space: Space = "",
    metric: Metric = "accuracy",
    kind: Annotated[str, typer.Option("--type", help="Which predictor.")] = "auto",
    holdout: Annotated[
        float, typer.Option(help="Share of the networks that only the report sees.")
    ] = 0.2,
    overrides: Overrides = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a predictor to labelled architectures, save it, and print how good it is.

    The report is of networks that it did not see; after it all labels are learned.
    """
    from search_spaces.errors import InputError
    from search_spaces.files import write_json

    if output.exists():
        raise InputError(f"{output}: exists already; name a new folder")
    labelled = _labelled(source, space, metric, overrides)
    predictor = _create(kind, labelled, seed, holdout=holdout)
    report = predictor.fit(labelled.archs, labelled.y)
    predictor.save(output)
    write_json(output / "report.json", report.to_dict())
    if as_json:
        print_json({"predictor": str(output), "type": kind, "metric": metric} | report.to_dict())
        return
    typer.echo(report.table())
    typer.echo(f"{output}: {kind}, learned from all {len(labelled.y)} labels")


def compare(
    source: Source,
    space: Space = "",
    metric: Metric = "accuracy",
    types: Annotated[
        str,
        typer.Option(
            metavar="TYPE,TYPE,…",
            help="Which predictors; without it all but graph_transformer (takes minutes).",
        ),
    ] = "",
    folds: Annotated[int, typer.Option(min=2, help="Parts that are left out in turn.")] = 5,
    overrides: Overrides = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare predictors by cross-validation on the same labels, ridge and MACs among them."""
    from nas.log import Log
    from predictors import registry
    from predictors.cross_validation import BASELINES, cross_validate

    labelled = _labelled(source, space, metric, overrides)
    wanted = [name.strip() for name in types.split(",") if name.strip()]
    wanted = wanted or [name for name in registry.names() if name not in _SLOW]
    baselines = [b for b in BASELINES if b != "macs" or labelled.space.has_networks]
    wanted = [name for name in wanted if name not in BASELINES]
    create: dict[str, Callable[[], Predictor]] = {
        name: partial(_create, name, labelled, seed) for name in (*wanted, *baselines)
    }
    with Log() as log:

        def watch(name: str, fold: int) -> None:
            log.progress(f"compare {name}", fold + 1, folds)

        judged = cross_validate(create, labelled.archs, labelled.y, folds, seed, watch)
    if as_json:
        models = {name: found.to_dict() for name, found in judged.items()}
        facts = {"metric": metric, "labels": len(labelled.y), "folds": folds}
        print_json({**facts, "models": models})
        return
    from predictors.report import table

    for line in table(judged):
        typer.echo(line)
    typer.echo(f"{len(labelled.y)} labels, each estimated by models that did not see it")


def _create(kind: str, labelled: "Labelled", seed: int, **parameters: float) -> "Predictor":
    from predictors import registry

    return registry.create(kind, labelled.space, seed, macs=labelled.macs, **parameters)


def _labelled(source: Path, space: str, metric: str, overrides: list[str] | None) -> "Labelled":
    from nas.cli.find_space import find_space
    from nas.labelled import of_file, of_run
    from search_spaces.errors import InputError

    if source.suffix not in (".csv", ".parquet"):
        if space or overrides:
            raise InputError(
                f"{'--space' if space else '--set'}: {source} is a run, which knows its own"
            )
        return of_run(source, metric)
    if not space:
        raise InputError(f"--space: needed, to know what the columns of {source} mean")
    return of_file(find_space(space, overrides or ())[0], source, metric)
