"""`nas export`: a network of a run as a file that was checked."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.output import AsJson, print_json
from nas.cli.pareto import Network, split

To = Annotated[str, typer.Option(help="Format: onnx, onnx-int8, c or tflite.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="New folder.  [default: RUN/exports/ID/FORMAT]"),
]
Patches = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="C only: run the first layers in N x N patches, to save RAM; 1 for none.  "
        "[default: what the architecture says]",
        show_default=False,
    ),
]
PatchLayers = Annotated[
    int | None,
    typer.Option(min=1, help="C only: how many layers.  [default: what takes the least RAM]"),
]


def export(
    network: Network,
    to: To = "onnx",
    output: Output = None,
    patches: Patches = None,
    patch_layers: PatchLayers = None,
    as_json: AsJson = False,
) -> None:
    """Export a network, compare the file with JAX on real images, test and time it."""
    from nas.export.registry import exporter
    from search_spaces.errors import InputError

    run, trial = split(network)
    exporter(to)
    if (patches or patch_layers) and to != "c":
        raise InputError(f"--patches and --patch-layers are for --to c, not {to}")
    if patch_layers and (patches or 1) < 2:
        raise InputError("--patch-layers: needs --patches of 2 or more")
    from dataclasses import asdict

    from nas.deploy import export_trial

    report = export_trial(run, trial, to, output, patches, patch_layers)
    numerics, accuracy = report.numerics, report.accuracy
    if as_json:
        facts = {"model": str(report.model), "card": str(report.card), "bytes": report.model_bytes}
        print_json({**facts, "numerics": asdict(numerics), "test_accuracy": asdict(accuracy)})
        return
    typer.echo(f"{report.model}: {report.model_bytes} bytes")
    typer.echo(
        f"compared with JAX on {numerics.n_images} images in {numerics.runtime}: largest relative "
        f"error {numerics.max_relative_error:.2e} (allowed {numerics.tolerance:.0e})"
    )
    typer.echo(
        f"right on {accuracy.value:.2%} of {accuracy.n_images} test images, JAX in float32 on "
        f"{accuracy.reference:.2%}; both say the same on {accuracy.agreement:.2%}"
    )
    model = json.loads(report.card.read_text())["model"]
    if "arena_bytes" in model:
        micro = model.get("tensorflow_lite_micro_arena_bytes")
        beside = f"; TensorFlow Lite Micro takes {micro:,}" if micro else ""
        n = model.get("patches", 1)
        cut = f", in {n} x {n} patches" if n > 1 else ""
        typer.echo(f"arena of our plan{cut}: {model['arena_bytes']:,} bytes{beside}")
    if model.get("checked_on"):
        typer.echo(f"machine code made the expected bytes on: {model['checked_on']}")
    for device, figures in report.latency.items():
        twin = (
            f", in float32 {figures['float32']['value_ms']:.4g} ms" if "float32" in figures else ""
        )
        typer.echo(f"{device}: {figures['value_ms']:.4g} ms in {figures['dtype']}{twin}")
    typer.echo(f"{report.card}: what it is, what it eats, how well it does")
