"""`nas devices`: which devices there are, and how one is described."""

from typing import Annotated

import typer

from nas.cli.output import AsJson, print_json, print_table

Device = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="A device or its folder; all are listed where not given."),
]


def devices(device: Device = None, as_json: AsJson = False) -> None:
    """List the devices, or show what is known of one."""
    from hw_profiles.device import list_devices, load_device

    if device is not None:
        spec = load_device(device)
        values = spec.model_dump(mode="json") | {"folder": str(spec.folder)}
        if as_json:
            print_json(values)
        else:
            print_table(["key", "value"], list(values.items()))
        return
    specs = list_devices()
    if as_json:
        print_json([spec.model_dump(mode="json") for spec in specs])
        return
    print_table(
        ["device", "kind", "measured by", "threads", "what it is"],
        [
            [s.id, s.kind, s.runner or "nothing: table only", s.threads, s.description]
            for s in specs
        ],
    )
