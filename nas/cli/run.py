"""`nas run`: an experiment from its file to verified, exported networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.check import File, Overrides
from nas.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from nas.config import DirectExperiment, Experiment
    from nas.store import RunStore

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="The run's folder.  [default: runs/NAME]", show_default=False),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that evaluate sub-networks (Ray); 0 is this one.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]


def run(
    file: File,
    overrides: Overrides = None,
    folder: Folder = None,
    resume: Resume = False,
    workers: Workers = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run an experiment: profile, train, search, verify, export; search alone if it evaluates."""
    from kernels.allocator import relaunch
    from nas.cli.check import check

    if dry_run:
        check(file, overrides, as_json)
        return
    relaunch()
    from nas.config import load_any, located, to_yaml
    from nas.store import RunStore
    from search_spaces.errors import InputError

    experiment = load_any(file, overrides or ())
    folder = folder or Path("runs") / experiment.name
    resolved = to_yaml(experiment)
    if resume:
        store = RunStore.open(folder)
        # Not the texts: a later release may know more keys, whose defaults change nothing.
        if load_any(folder / "config.resolved.yaml") != experiment:
            store.close()
            raise InputError(
                f"{folder}: was started with another configuration than {file} gives; resume with "
                f"{folder}/config.resolved.yaml, or start a run in another --folder"
            )
    else:
        from nas.environment import environment

        store = RunStore.create(folder, file.read_text(), resolved, environment())
    with store, located(file, overrides or ()):
        _run(experiment, store, workers)
    _print_front(folder, as_json)


def _run(experiment: "Experiment | DirectExperiment", store: "RunStore", workers: int) -> None:
    """The work itself, with JAX set up first where it is needed."""
    from nas.config import DirectExperiment

    if isinstance(experiment, DirectExperiment):
        from nas.direct import run as search
        from nas.log import Log

        with Log(store.log_path) as log:
            search(experiment, store, log, workers)
        return
    import jax

    from hw_profiles.device import cache_folder
    from kernels.inventory import all_in_use
    from nas.controller import run as control
    from nas.log import Log

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    # Two programs at once on the same cores get in each other's way: on small maps a training step
    # took a third longer.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    all_in_use()  # builds the C++ kernels side by side, once on a machine
    with Log(store.log_path) as log:
        control(experiment, store, log, workers)


def _print_front(folder: Path, as_json: bool) -> None:
    from nas.cli.pareto import print_front, records
    from nas.objectives import views
    from nas.results import open as open_run

    results = open_run(folder)
    front = results.pareto(stage=results.last_stage)
    if as_json:
        print_json(records(front))
        return
    print_front(front)
    if results.last_stage == "search":
        evaluations = results.stages["search"]["evaluations"]
        typer.echo(f"\n{len(front)} of {evaluations} evaluated architectures on the front")
        typer.echo(f"folder {folder}: pareto.csv, run.db; show one: nas show {folder}/ID")
        return
    facts = results.stages["search"]
    typer.echo(f"\n{len(front)} networks on the verified front")
    objectives = results.config.objectives
    own = views(objectives)
    for device, positions in own.items() if len(own) > 1 else ():
        columns = [objectives[i].column for i in positions]
        best = results.pareto(*columns, stage="front")
        typer.echo(f"  {len(best)} on that of {device}: nas pareto {folder} {' '.join(columns)}")
    typer.echo(
        f"hypervolume after {facts['evaluations']} evaluations: {facts['hypervolume']:.5g}, of "
        f"random search {facts['hypervolume_random']:.5g} (both of estimates)"
    )
    typer.echo(f"folder {folder}: report.html, pareto.csv, exports/")
