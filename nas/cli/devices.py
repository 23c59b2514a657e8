"""`nas devices`: which devices there are, how one is described, and new ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.output import AsJson, print_json, print_table
from search_spaces.errors import InputError

if TYPE_CHECKING:
    from hw_profiles.device import DeviceSpec

Device = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="A device or its folder; all are listed where not given."),
]
New = Annotated[
    bool, typer.Option("--new", help="Describe a machine, named ID, that is measured elsewhere.")
]
Detect = Annotated[
    bool,
    typer.Option(
        "--detect", help="Describe this machine and JAX's accelerators, named ID or like the host."
    ),
]
Kind = Annotated[
    Literal["cpu", "gpu", "tpu", "mcu", "npu"], typer.Option(help="What a new device is.")
]
Import = Annotated[
    Path | None,
    typer.Option(
        "--import",
        metavar="FILE",
        help="Make the device ID of published latencies of whole networks (.csv or .parquet).",
    ),
]
Space = Annotated[str, typer.Option(help="Import: name of the space of these networks.")]
Latency = Annotated[str, typer.Option(metavar="COLUMN", help="Import: the latency's column.")]
Unit = Annotated[Literal["s", "ms", "us"], typer.Option(help="Import: unit of the latency.")]
Archs = Annotated[
    Path | None,
    typer.Option(help="Import: file with the architectures, joined by the columns in common."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="Import: a column of the architecture, e.g. 'op_*'; may be repeated."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=VALUE", help="Import: only such rows; may be repeated."),
]
Source = Annotated[str, typer.Option(help="Import: who measured what how, and its licence.")]


def devices(
    device: Device = None,
    new: New = False,
    detect: Detect = False,
    kind: Kind = "cpu",
    import_file: Import = None,
    space: Space = "",
    latency: Latency = "latency_ms",
    unit: Unit = "ms",
    archs: Archs = None,
    columns: Columns = None,
    where: Where = None,
    source: Source = "",
    as_json: AsJson = False,
) -> None:
    """List the devices, or show what is known of one; describe new ones."""
    from hw_profiles.device import list_devices, load_device, new_device
    from hw_profiles.profilers.registry import source as source_of

    if detect:
        from hw_profiles.machine import detect as describe

        specs = describe(device)
        if as_json:
            print_json([spec.model_dump(mode="json") for spec in specs])
            return
        for spec in specs:
            typer.echo(f"{spec.folder / 'device.yaml'}: {spec.description}")
        return
    if device is None and (new or import_file is not None):
        raise InputError("nas devices --new and --import: name the device, e.g. raspberry_pi4")
    if device is not None:
        if import_file is not None:
            from hw_profiles.latencies import import_latencies, read_latencies

            rows = dict(_equation(text) for text in where or ())
            found = read_latencies(
                device,
                space,
                import_file,
                latency,
                source=source,
                archs=archs,
                columns=columns or (),
                where=rows,
                unit=unit,
            )
            spec = import_latencies(found, kind)
        else:
            spec = new_device(device, kind=kind) if new else load_device(device)
        _show(spec, as_json)
        return
    specs = list_devices()
    if as_json:
        print_json([spec.model_dump(mode="json") for spec in specs])
        return
    print_table(
        ["device", "kind", "numbers", "threads", "what it is"],
        [
            [
                s.id,
                s.kind,
                f"{source_of(s)} by {s.runner}" if s.runner else "from its table only",
                s.threads,
                s.description,
            ]
            for s in specs
        ],
    )


def _show(spec: "DeviceSpec", as_json: bool) -> None:
    from hw_profiles.latencies import load_latencies, spaces_with_latencies

    values = spec.model_dump(mode="json") | {"folder": str(spec.folder)}
    imported = [load_latencies(spec, space) for space in spaces_with_latencies(spec)]
    if as_json:
        facts = [{"space": i.space, "networks": len(i.archs), **i.origin.facts()} for i in imported]
        print_json({**values, "latencies": facts})
        return
    rows = [
        (
            f"latencies of {i.space}",
            f"{len(i.archs)} networks, {i.latency_ms.min():.4g} to {i.latency_ms.max():.4g} ms, "
            f"columns {', '.join(i.archs.columns)}; {i.origin.left_out} rows without a number, "
            f"{i.origin.repeated} of networks measured again; "
            f"{i.origin.source} ({i.origin.file}, column {i.origin.column})",
        )
        for i in imported
    ]
    print_table(["key", "value"], [*values.items(), *rows])


def _equation(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--where {text}: must be COLUMN=VALUE")
    return name, value
