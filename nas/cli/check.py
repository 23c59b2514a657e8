"""`nas check`: is the experiment right, what does it say, and how much work is it?"""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.output import AsJson, print_json

File = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. search.population=128."),
]


def check(file: File, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check an experiment file and its data; print it with all defaults, and the work it plans."""
    from dataclasses import asdict

    from nas.config import load, to_yaml
    from nas.plan import plan

    experiment = load(file, overrides or ())
    planned = plan(experiment)
    if as_json:
        # A string: such numbers are beyond what JSON readers hold exactly.
        work = asdict(planned) | {"architectures": str(planned.architectures)}
        print_json({"experiment": experiment.model_dump(mode="json", by_alias=True), "plan": work})
        return
    typer.echo(to_yaml(experiment), nl=False)
    for line in planned.lines():
        typer.echo(f"# {line}")
