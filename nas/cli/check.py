"""`nas check`: is the experiment right, and what does it say with all defaults?"""

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
    """Check an experiment file; print it with every default written out."""
    from nas.config import load, to_yaml

    experiment = load(file, overrides or ())
    if as_json:
        print_json(experiment.model_dump(mode="json", by_alias=True))
    else:
        typer.echo(to_yaml(experiment), nl=False)
