"""`nas pareto` and `nas show`: what a run found."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nas.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from search_spaces.ir.graph import Graph

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
Network = Annotated[str, typer.Argument(metavar="RUN/ID", help="A network of a run.")]
Columns = Annotated[
    list[str] | None,
    typer.Argument(help="What the networks compete in; the run's objectives where not given."),
]
Where = Annotated[
    str | None,
    typer.Option(help="Only networks that meet it: 'latency_ms@cpu < 2 and macs < 1e6'."),
]
Stage = Annotated[
    Literal["front", "search", "label"] | None,
    typer.Option(
        help="front: verified networks; search: all, as estimated; label: evaluated.  "
        "[default: front; search for runs with an evaluator of your own]",
        show_default=False,
    ),
]
Memory = Annotated[
    bool, typer.Option("--memory", help="Its arena on a microcontroller, layer by layer, instead.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


def pareto(
    run: Run,
    columns: Columns = None,
    where: Where = None,
    stage: Stage = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the networks of a run that no other one beats."""
    from nas.results import open as open_run

    results = open_run(run)
    front = results.pareto(*(columns or ()), where=where, stage=stage or results.last_stage)
    if as_json:
        print_json(records(front))
    elif as_csv:
        lists = {name: [json.dumps(each) for each in front[name]] for name in ("arch", "choices")}
        typer.echo(front.assign(**lists).to_csv(), nl=False)
    else:
        print_front(front)


def show(network: Network, memory: Memory = False, as_json: AsJson = False) -> None:
    """Print one network of a run: its choices, its layers, every figure and its source."""
    import numpy as np

    from nas.results import open as open_run
    from search_spaces.ir.count import table

    run, trial = split(network)
    results = open_run(run)
    trials = results.trials()
    if trial not in trials.index:
        raise no_network(run, trial)
    rows = trials.loc[[trial]]
    arch = np.array(rows["arch"].tolist()[0])
    if memory:
        _show_memory(results.space.build(arch), as_json)
        return
    choices, figures = results.space.decode(arch), _figures(rows)
    if as_json:
        print_json({"id": trial, "arch": arch.tolist(), "choices": choices, "figures": figures})
        return
    print_table(["choice", "value"], list(choices.items()))
    typer.echo()
    keys = ["stage", "figure", "value", "source", "lower", "upper"]
    print_table(keys, [[figure[key] for key in keys] for figure in figures])
    if not results.space.has_networks:
        return
    typer.echo()
    from rich.console import Console

    Console().print(table(results.space.build(arch)))


def _show_memory(graph: "Graph", as_json: bool) -> None:
    from hw_profiles.mcu.arena import arena
    from hw_profiles.mcu.memory import unweighted
    from nas.cli.memory import described, print_timeline

    plan = arena(unweighted(graph), simd=None)
    if as_json:
        print_json(described(plan))
    else:
        print_timeline(plan)


def split(network: str) -> tuple[Path, int]:
    """Run and trial id of `RUN/ID`."""
    from search_spaces.errors import InputError

    run, _, trial = network.rstrip("/").rpartition("/")
    if not run or not trial.isdigit():
        raise InputError(f"{network}: must be RUN/ID, such as runs/quickstart/42")
    return Path(run), int(trial)


def no_network(run: Path, trial: int) -> Exception:
    """The error for a trial that a run does not have."""
    from search_spaces.errors import InputError

    return InputError(f"{run}/{trial}: the run has no such network; list them: nas pareto {run}")


def print_front(front: "DataFrame") -> None:
    """A row a network; sources stand in the column names."""
    from nas.results.run import numeric

    if front.empty:
        typer.echo("no network meets the conditions")
        return
    numbers = numeric(front)
    names = [f"{name} ({front[f'{name}.source'].iloc[0]})" for name in numbers]
    rows = [
        [trial, *(float(numbers[name][i]) for name in numbers)]
        for i, trial in enumerate(front.index)
    ]
    print_table(["id", *names], rows)


def records(front: "DataFrame") -> list[dict[str, Any]]:
    """The same as JSON-able records, with choices, sources and bounds."""
    text = front.drop(columns="stage").reset_index().to_json(orient="records")
    return json.loads(text or "[]")


def _figures(rows: "DataFrame") -> list[dict[str, Any]]:
    from nas.results.run import numeric

    out = []
    for position, stage in enumerate(rows["stage"]):
        for name, values in numeric(rows).items():
            value = float(values[position])
            if value == value:  # a stage knows only some of the figures
                bounds = [_bound(rows, f"{name}.{end}", position) for end in ("lower", "upper")]
                source = rows[f"{name}.source"].iloc[position]
                out.append(
                    {"stage": stage, "figure": name, "value": value, "source": source}
                    | dict(zip(("lower", "upper"), bounds, strict=True))
                )
    return out


def _bound(rows: "DataFrame", column: str, position: int) -> float | None:
    value = rows[column].iloc[position] if column in rows else None
    return None if value is None or value != value else float(value)
