"""`nas profile`: measure what a space needs on a device, and check the table."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.check import Overrides
from nas.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from search_spaces.space import Archs, SearchSpace

Space = Annotated[
    str,
    typer.Argument(
        metavar="SPACE", help="A space by name, an experiment file with one in it, or a run."
    ),
]
Device = Annotated[str, typer.Option(help="Device, by id or folder.")]
Validate = Annotated[
    int, typer.Option(min=0, help="Compare with so many random networks, end to end.")
]
Export = Annotated[
    Path | None,
    typer.Option(
        "--export-worklist",
        metavar="FILE.zip",
        help="Don't measure; write the models and a script that measures them on another machine.",
    ),
]
Import = Annotated[
    Path | None,
    typer.Option(
        "--import-results",
        metavar="FILE",
        help="Don't measure; bring in the results.jsonl that the script wrote.",
    ),
]
Few = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Don't measure blocks; measure N whole networks and go by other devices' tables.",
    ),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="ID,ID,…",
        help="With --few: devices that know the space, by a table or by published latencies.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Measure all anew, not only what is missing.")]


def profile(
    space: Space,
    device: Device,
    overrides: Overrides = None,
    validate: Validate = 0,
    again: Again = False,
    few: Few = 0,
    sources: From = "",
    export_worklist: Export = None,
    import_results: Import = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure every block that a space can emit on a device; only what is missing by default.

    A space by name takes parameters from `--set`, e.g. --set resolution=[24,28,32].
    """
    from hw_profiles.device import load_device
    from hw_profiles.profile import profile as measure
    from hw_profiles.table import table_path, unquiet
    from hw_profiles.validate import validate as compare
    from hw_profiles.worklist import blocks_on
    from nas.cli import elsewhere
    from nas.log import Log
    from search_spaces.ir.blocks import BlockMap

    spec = load_device(device)
    searched, archs = find_space(space, overrides or ())
    others = _others(few, sources, again)
    if export_worklist is not None:
        if few:
            from nas.few_shot import wanted

            archs = wanted(searched, spec, others, few, seed)
        elsewhere.export_worklist(
            searched, spec, export_worklist, archs, seed, again, not few, as_json
        )
        return
    if import_results is not None:
        elsewhere.import_results(searched, spec, import_results, as_json)
        return
    with Log() as log:

        def watch(done: int, total: int, eta_s: float, label: str) -> None:
            log.progress(f"profile {spec.id}", done, total, f"{eta_s:.0f} s left, {label}")

        if few:
            from nas.few_shot import measure_few

            table = measure_few(searched, spec, others, few, seed=seed, progress=watch)
        else:
            table = measure(searched, spec, seed=seed, progress=watch, only_missing=not again)
        for warning in (*table.warnings, *unquiet(table)):
            log(warning)
        bound = table.bind(searched, blocks_on(spec, BlockMap(searched)))
        facts = {
            "table": str(table_path(spec)),
            "space": searched.name,
            "device": spec.id,
            "blocks": len(bound.keys),
            "networks": bound.correction.n,
            "source": bound.source,
            "correction": asdict(bound.correction),
        }
        learned = table.transferred(searched) if bound.source == "transferred" else None
        if learned is not None:
            facts |= {"from": list(learned.sources), "doubts": list(learned.doubts)}
        report = None
        if validate:
            report = compare(searched, spec, table, validate, seed=seed + 1, progress=watch)
    if as_json:
        if report is not None:
            numbers = ("mape", "worst", "spearman", "coverage", "noise_floor", "noisy")
            facts["validation"] = {name: getattr(report, name) for name in numbers}
        print_json(facts)
        return
    correction = bound.correction
    if learned is not None:
        others = "; ".join(learned.sources) or "architectures alone"
        typer.echo(
            f"{facts['table']}: all {len(bound.keys)} blocks of {searched.name} transferred from "
            f"{learned.networks} measured networks and {others}"
        )
        typer.echo(
            f"left-out error {learned.error:.2%}, 90 % interval +-{learned.interval:.2%}"
            + ("; not to be trusted: see the log" if learned.doubts else "")
        )
        if report is not None:
            typer.echo(str(report))
        return
    typer.echo(f"{facts['table']}: all {len(bound.keys)} blocks of {searched.name} {bound.source}")
    typer.echo(
        f"correction from {correction.n} whole networks: left-out error {correction.error:.2%}, "
        f"90 % interval +-{correction.interval:.2%}"
    )
    if report is not None:
        typer.echo(str(report))


def _others(few: int, sources: str, again: bool) -> list[str]:
    from search_spaces.errors import InputError

    if sources and not few:
        raise InputError("--from: needs --few N, the number of networks to measure")
    if few and again:
        raise InputError("--few: adds to the networks that were measured; leave --again out")
    return [name.strip() for name in sources.split(",") if name.strip()]


def find_space(
    name: str, overrides: list[str] | tuple[str, ...]
) -> "tuple[SearchSpace, Archs | None]":
    """A space by name with `key=value` parameters, that of an experiment file, or that of a run.

    Returns:
        The space, and the verified networks of a run.
    """
    from search_spaces import registry
    from search_spaces.errors import InputError

    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        from nas.config import load

        return load(Path(name), overrides).space.create(), None
    from nas.store import is_run

    if is_run(Path(name)):
        import numpy as np

        from nas.results.run import open_run

        run = open_run(name)
        front = run.trials("front")
        return run.space, np.array(front["arch"].tolist(), int) if len(front) else None
    from ruamel.yaml import YAML

    parameters = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: must be KEY=VALUE")
        parameters[key] = YAML(typ="safe").load(value)
    return registry.create(name, **parameters), None
