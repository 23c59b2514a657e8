"""The commands by name. Each is a function in a file of its own, which imports what it runs."""

import typer

from nas.cli.bench_search import bench_search
from nas.cli.check import check
from nas.cli.devices import devices
from nas.cli.doctor import doctor
from nas.cli.export import export
from nas.cli.pareto import pareto, show
from nas.cli.predictors import compare, fit_predictor
from nas.cli.profile import profile
from nas.cli.run import run
from nas.cli.spaces import spaces

app = typer.Typer(
    help="Hardware-aware neural architecture search: from one YAML file to a verified network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    run,
    check,
    profile,
    pareto,
    show,
    export,
    bench_search,
    fit_predictor,
    compare,
    devices,
    spaces,
    doctor,
):
    app.command()(command)
