"""`nas bench-search`: which search is best on a problem, and how surely."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from nas.config import DirectExperiment, Experiment

Target = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|RUN", help="Experiment file whose evaluator is a table, or a run's folder."
    ),
]
Algorithms = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between, or all; the first is tested against the others.  "
        "[default: the file's own, local_search, random]",
        show_default=False,
    ),
]
Seeds = Annotated[int, typer.Option(min=2, help="Searches of each algorithm.")]
Queries = Annotated[
    int | None,
    typer.Option(min=1, help="Evaluations of a search.  [default: the file's]", show_default=False),
]
Curves = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Write the curves of all searches.")
]


def bench_search(
    target: Target,
    algorithms: Algorithms = None,
    seeds: Seeds = 30,
    queries: Queries = None,
    curves: Curves = None,
    as_json: AsJson = False,
) -> None:
    """Compare searches on a table or on a run's estimates: best so far, intervals, significance."""
    from nas.bench_search import load_problem
    from nas.log import Log
    from nas.search.benchmark import compare, points_of, rows_of

    problem, experiment = load_problem(target)
    names = _names(algorithms, experiment)
    queries = queries or experiment.search.evaluations
    batch, parameters = _asked(names, experiment)
    with Log() as log:
        found = compare(
            problem,
            names,
            seeds,
            queries,
            batch,
            parameters,
            lambda name, done: log.progress(f"search with {name}", done, seeds),
        )
    _show(rows_of(problem, found, queries), problem.metric, names[0], seeds, as_json)
    if curves is not None:
        told = {name: problem.told(each) for name, each in found.items()}
        _write(curves, told, points_of(queries).tolist())


def _show(rows: list[dict[str, Any]], metric: str, first: str, seeds: int, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    columns = ["algorithm", "n", "mean", "low", "high", "improvement", "p"]
    head = ["algorithm", "evaluations", metric, "95 % from", "to", "improvement %", "p"]
    print_table(head, [[_rounded(row.get(column)) for column in columns] for row in rows])
    typer.echo(
        f"\nmeans of {seeds} searches; improvement over the average random architecture; p that "
        f"{first} is no better (Wilcoxon, Holm)"
    )


def _names(wanted: str | None, experiment: "Experiment | DirectExperiment") -> list[str]:
    from nas.search import registry
    from search_spaces.errors import InputError
    from search_spaces.named import hint

    if wanted == "all":
        return registry.names()
    own = [experiment.search.type, "local_search", "random"]
    names = list(dict.fromkeys(map(str.strip, wanted.split(",")) if wanted else own))
    known = registry.names()
    problems = [f"--algorithms: no {n!r}; {hint(n, known)}" for n in names if n not in known]
    if problems:
        raise InputError(problems)
    return names


def _asked(
    names: list[str], experiment: "Experiment | DirectExperiment"
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Architectures asked for at a time, and parameters: as the run would have them."""
    from nas.config import DirectExperiment
    from nas.search import registry

    if isinstance(experiment, DirectExperiment):
        sampler = experiment.search.sampler
        return experiment.search.batch, {"optuna": {"sampler": sampler}} if sampler else {}
    population = {"population": experiment.search.population}
    having = (name for name in names if registry.accepts(name, "population"))
    return experiment.search.population, dict.fromkeys(having, population)


def _write(path: Path, curves: "dict[str, Float[np.ndarray, 's p']]", points: list[int]) -> None:
    """A row for each point of each curve."""
    import csv
    import io

    from search_spaces.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["algorithm", "seed", "evaluations", "value"])
    for name, each in curves.items():
        for seed, values in enumerate(each.tolist()):
            rows = zip(points, values, strict=True)
            writer.writerows([name, seed, n, value] for n, value in rows)
    write_text(path, text.getvalue())


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
