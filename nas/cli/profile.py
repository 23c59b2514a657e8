"""`nas profile`: measure what a space needs on a device, and check the table."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.check import Overrides
from nas.cli.output import AsJson, print_json
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from hw_profiles.device import DeviceSpec
    from hw_profiles.estimate import BoundTable
    from hw_profiles.table import LatencyTable
    from hw_profiles.transferred import TransferredCosts
    from hw_profiles.validate import ValidationReport
    from nas.log import Log
    from search_spaces.space import SearchSpace

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
Batch = Annotated[
    str,
    typer.Option(
        metavar="N,N,…",
        help="Batch sizes instead of the device's own: a table of each, and their throughput.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Measure all anew, not only what is missing.")]


def profile(
    space: Space,
    device: Device,
    overrides: Overrides = None,
    validate: Validate = 0,
    batch: Batch = "",
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
    from hw_profiles.throughput import images_per_s
    from nas.cli import elsewhere
    from nas.cli.find_space import find_space
    from nas.log import Log

    spec = load_device(device)
    searched, archs = find_space(space, overrides or ())
    others = _others(few, sources, again)
    if batch and (export_worklist is not None or import_results is not None):
        raise InputError(
            "--batch: is for devices that are measured here; set `batch` in device.yaml"
        )
    if export_worklist is not None:
        if few:
            from nas.few_shot import wanted

            archs = wanted(searched, spec, others, few, seed)
        named = shlex.join([space, *(word for one in overrides or () for word in ("--set", one))])
        elsewhere.export_worklist(
            searched, spec, export_worklist, archs, seed, again, not few, as_json, named
        )
        return
    if import_results is not None:
        elsewhere.import_results(searched, spec, import_results, as_json)
        return
    with Log() as log:
        asked = _Asked(few, others, seed, again, validate)
        found = [_measured(searched, one, asked, log) for one in _batches(spec, batch)]
    rates = {
        one.spec.batch: images_per_s(one.bound, one.spec.batch, seed) for one in found if batch
    }
    if as_json:
        facts = [one.facts() for one in found]
        print_json({"batches": facts, "images_per_s": rates} if batch else facts[0])
        return
    for one in found:
        typer.echo("\n".join(one.lines()))
    if batch:
        typer.echo(f"{'batch':>8}" + "".join(f"{name:>12}" for name in next(iter(rates.values()))))
        for size, row in rates.items():
            typer.echo(f"{size:8}" + "".join(f"{rate:12.1f}" for rate in row.values()))
        typer.echo(f"images a second of networks of {searched.name}, estimated from blocks")


@dataclass(frozen=True)
class _Asked:
    """Options of the command."""

    few: int
    others: list[str]
    seed: int
    again: bool
    validate: int


@dataclass(frozen=True)
class _Found:
    """A device's table of a space, and its validation."""

    spec: "DeviceSpec"
    table: "LatencyTable"
    bound: "BoundTable"
    report: "ValidationReport | None"

    @property
    def learned(self) -> "TransferredCosts | None":
        transferred = self.bound.source == "transferred"
        return self.table.transferred(self.bound.space) if transferred else None

    def facts(self) -> dict[str, Any]:
        from hw_profiles.table import table_path

        bound, learned, report = self.bound, self.learned, self.report
        facts: dict[str, Any] = {
            "table": str(table_path(self.spec)),
            "space": bound.space.name,
            "device": self.spec.id,
            "batch": self.spec.batch,
            "blocks": len(bound.keys),
            "networks": bound.correction.n,
            "source": bound.source,
            "correction": asdict(bound.correction),
        }
        if learned is not None:
            facts |= {"from": list(learned.sources), "doubts": list(learned.doubts)}
        if report is not None:
            numbers = ("mape", "worst", "spearman", "coverage", "noise_floor", "noisy")
            numbers += ("shift", "mape_shifted")
            facts["validation"] = {name: getattr(report, name) for name in numbers}
        return facts

    def lines(self) -> list[str]:
        from hw_profiles.table import table_path

        bound, learned = self.bound, self.learned
        where = f"{table_path(self.spec)}: all {len(bound.keys)} blocks of {bound.space.name}"
        last = [] if self.report is None else [str(self.report)]
        if learned is not None:
            others = "; ".join(learned.sources) or "architectures alone"
            return [
                f"{where} transferred from {learned.networks} measured networks and {others}",
                f"left-out error {learned.error:.2%}, 90 % interval +-{learned.interval:.2%}"
                + ("; not to be trusted: see the log" if learned.doubts else ""),
                *last,
            ]
        correction = bound.correction
        return [
            f"{where} {bound.source}",
            f"correction from {correction.n} whole networks: left-out error "
            f"{correction.error:.2%}, 90 % interval +-{correction.interval:.2%}",
            *last,
        ]


def _measured(space: "SearchSpace", spec: "DeviceSpec", asked: _Asked, log: "Log") -> _Found:
    from hw_profiles.profile import profile as measure
    from hw_profiles.table import table_path, unquiet
    from hw_profiles.validate import validate
    from hw_profiles.worklist import blocks_on
    from search_spaces.ir.blocks import BlockMap

    def watch(done: int, total: int, eta_s: float, label: str) -> None:
        log.progress(f"profile {spec.id}", done, total, f"{eta_s:.0f} s left, {label}")

    seed = asked.seed
    if asked.few:
        from nas.few_shot import measure_few

        table = measure_few(space, spec, asked.others, asked.few, seed=seed, progress=watch)
    else:
        table = measure(space, spec, seed=seed, progress=watch, only_missing=not asked.again)
    for warning in (*table.warnings, *unquiet(table)):
        log(warning)
    bound, report = table.bind(space, blocks_on(spec, BlockMap(space))), None
    if asked.validate:
        report = validate(space, spec, table, asked.validate, seed=seed + 1, progress=watch)
        if report.shift is not None:
            table.shifted(report.shift).save(table_path(spec))
    return _Found(spec, table, bound, report)


def _batches(spec: "DeviceSpec", batch: str) -> "list[DeviceSpec]":
    """The device with each of the batch sizes; as it is where none is given."""
    if not batch:
        return [spec]
    if spec.kind in ("mcu", "npu"):
        raise InputError(f"--batch: {spec.id!r} takes one example at a time")
    sizes = [text.strip() for text in batch.split(",")]
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"--batch {batch}: must be whole numbers above 0, as in --batch 1,8,32")
    wanted = sorted({int(size) for size in sizes})
    return [spec.model_copy(update={"batch": size}) for size in wanted]


def _others(few: int, sources: str, again: bool) -> list[str]:
    if sources and not few:
        raise InputError("--from: needs --few N, the number of networks to measure")
    if few and again:
        raise InputError("--few: adds to the networks that were measured; leave --again out")
    return [name.strip() for name in sources.split(",") if name.strip()]
