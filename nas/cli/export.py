"""`nas export`: a network of a run as a file that was checked."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.output import AsJson, print_json
from nas.cli.pareto import Network, split

To = Annotated[str, typer.Option(help="File format.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="New folder.  [default: RUN/exports/ID/FORMAT]"),
]


def export(
    network: Network, to: To = "onnx", output: Output = None, as_json: AsJson = False
) -> None:
    """Export a network, compare the file with JAX on real images, and time it."""
    from nas.export.registry import exporter

    run, trial = split(network)
    exporter(to)
    from dataclasses import asdict

    from nas.deploy import export_trial

    report = export_trial(run, trial, to, output)
    if as_json:
        facts = {"model": str(report.model), "card": str(report.card), "bytes": report.model_bytes}
        print_json({**facts, "numerics": asdict(report.numerics)})
        return
    numerics = report.numerics
    typer.echo(f"{report.model}: {report.model_bytes} bytes")
    typer.echo(
        f"compared with JAX on {numerics.n_images} images in {numerics.runtime}: largest relative "
        f"error {numerics.max_relative_error:.2e} (allowed {numerics.tolerance:.0e})"
    )
    typer.echo(f"{report.card}: what it is, what it eats, how well it does")
