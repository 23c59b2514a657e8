"""`nas check`: is the experiment right, what does it say, and how much work is it?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from nas.config import DirectExperiment

File = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. search.population=128."),
]


def check(file: File, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check an experiment file and its data; print it with all defaults, and the work it plans."""
    from dataclasses import asdict

    from nas.config import DirectExperiment, load_any, located, to_yaml

    experiment = load_any(file, overrides or ())
    if isinstance(experiment, DirectExperiment):
        with located(file, overrides or ()):
            _check_own(experiment, as_json)
        return
    from nas.plan import plan

    with located(file, overrides or ()):
        planned = plan(experiment)
    if as_json:
        # A string: such numbers are beyond what JSON readers hold exactly.
        work = asdict(planned) | {"architectures": str(planned.architectures)}
        print_json({"experiment": experiment.model_dump(mode="json", by_alias=True), "plan": work})
        return
    typer.echo(to_yaml(experiment), nl=False)
    for line in planned.lines():
        typer.echo(f"# {line}")


def _check_own(experiment: "DirectExperiment", as_json: bool) -> None:
    """The evaluator is imported, but not asked for anything."""
    from decimal import Decimal

    from nas.config import to_yaml
    from nas.own_evaluator import make_evaluator

    values = experiment.model_dump(mode="json", by_alias=True)
    make_evaluator({"experiment": values, "folder": str(Path.cwd())})
    if as_json:
        print_json({"experiment": values})
        return
    typer.echo(to_yaml(experiment), nl=False)
    typer.echo(f"# to evaluate: {experiment.search.evaluations} of", nl=False)
    typer.echo(f" {Decimal(experiment.space.create().size()):.3g} architectures")
