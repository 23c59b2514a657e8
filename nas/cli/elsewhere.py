"""What `nas profile` does for machines that hwnas does not run on."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from nas.cli.output import print_json

if TYPE_CHECKING:
    from hw_profiles.device import DeviceSpec
    from search_spaces.space import Archs, SearchSpace


def export_worklist(
    space: "SearchSpace",
    device: "DeviceSpec",
    file: Path,
    archs: "Archs | None",
    seed: int,
    again: bool,
    blocks: bool,
    as_json: bool,
    named: str,
) -> None:
    """Write the worklist, and tell what to do with it; `named` is how the user named the space."""
    from hw_profiles.elsewhere.worklist import export_worklist as write

    done = write(space, device, file, archs=archs, seed=seed, only_missing=not again, blocks=blocks)
    if as_json:
        facts = {"units": done.units, "networks": done.networks, "models": done.models}
        print_json({"file": str(done.path), "bytes": done.size_bytes, **facts})
        return
    typer.echo(
        f"{done.path}: {done.units} blocks and {done.networks} whole networks of {space.name} as "
        f"{done.models} models, {done.size_bytes / 2**20:.1f} MiB. On {device.id}, with numpy and "
        f"onnxruntime there:\n"
        f"  python3 -m zipfile -e {done.path.name} . && python3 {done.folder}/measure.py\n"
        f"Then here, with {done.folder}/results.jsonl:\n"
        f"  nas profile {named} --device {device.id} --import-results results.jsonl"
    )


def import_results(space: "SearchSpace", device: "DeviceSpec", file: Path, as_json: bool) -> None:
    """Bring results in, and hold the whole networks against what the table said before."""
    from hw_profiles.elsewhere.results import import_results as bring
    from hw_profiles.table import table_path

    done = bring(space, device, file)
    session = done.table.sessions[-1]
    known = np.isfinite(done.estimated_ms)
    errors = np.abs(done.estimated_ms[known] / done.measured_ms[known] - 1)
    missing = len(done.table.bind(space).missing)
    if as_json:
        facts = {"units": done.units, "asked": done.wanted, "networks": len(done.archs)}
        error = float(errors.mean()) if len(errors) else None
        where = {"host": session.host, "processor": session.cpu, "runtime": session.runtime}
        print_json(
            {
                "table": str(table_path(device)),
                **facts,
                "missing": missing,
                "noisy": session.noisy,
                "error_of_earlier_estimates": error,
                **where,
            }
        )
        return
    typer.echo(
        f"{table_path(device)}: {done.units} of {done.wanted} blocks and {len(done.archs)} whole "
        f"networks, measured on {session.host} ({session.cpu}, {session.runtime}) from "
        f"{session.date}" + ("; other work disturbed the measuring" if session.noisy else "")
    )
    if len(errors):
        typer.echo(
            f"what the table had estimated of {len(errors)} of these networks was off by "
            f"{errors.mean():.2%} on average, {errors.max():.2%} at most"
        )
    typer.echo(
        f"{missing} blocks of {space.name} are still missing"
        if missing
        else f"the table now covers {space.name}"
    )
