"""`nas spaces`: which search spaces there are, and what can be chosen in one."""

import json
import re
from dataclasses import MISSING, fields
from decimal import Decimal
from inspect import getdoc
from typing import Annotated, Any

import typer

from nas.cli.output import AsJson, print_json, print_table

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A space; all are listed where not given.")
]


def spaces(name: Name = None, as_json: AsJson = False) -> None:
    """List the search spaces, or the parameters of one, and its knobs and size without any."""
    from search_spaces import registry

    if name is None:
        _list(registry.names(), as_json)
        return
    kind = registry.find(name)
    parameters = _parameters(kind)
    facts: dict[str, Any] = {"name": name, "version": kind.version, "parameters": parameters}
    if kind.has_networks:
        space = registry.create(name)
        knobs = [{"name": k.name, "options": k.options, "ordered": k.ordered} for k in space.knobs]
        # A string: such numbers are beyond what JSON readers hold exactly.
        facts |= {"size": str(space.size()), "knobs": knobs}
    if as_json:
        print_json(facts)
        return
    print_table(
        ["parameter", "default", "what it is"],
        [[p["name"], _default(p["default"]), p["description"]] for p in parameters],
    )
    typer.echo("")
    if not kind.has_networks:
        typer.echo(f"{name} version {kind.version}: as many architectures as you give it")
        return
    knobs = [[knob["name"], ", ".join(map(str, knob["options"]))] for knob in facts["knobs"]]
    print_table(["knob", "options"], knobs)
    size = facts["size"]
    typer.echo(f"\n{name} version {kind.version}: {len(knobs)} knobs, {size} architectures")
    typer.echo(f"(about {_size(size)}) with its default parameters")


def _default(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _parameters(kind: Any) -> list[dict[str, Any]]:
    """Fields of a space's dataclass, with what its docstring says of them; no default is None."""
    said = dict(re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", getdoc(kind) or "", re.MULTILINE))
    return [
        {
            "name": field.name,
            "default": None if field.default is MISSING else field.default,
            "description": " ".join(said.get(field.name, "").split()),
        }
        for field in fields(kind)
    ]


def _list(names: list[str], as_json: bool) -> None:
    from search_spaces import registry

    rows = []
    for name in names:
        kind = registry.find(name)
        # What its parameters give alone has no size without them.
        space = registry.create(name) if kind.has_networks else None
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        rows.append({"name": name, "version": kind.version})
        rows[-1] |= {"knobs": len(space.knobs) if space else None}
        rows[-1] |= {"size": str(space.size()) if space else None, "summary": summary}
    if as_json:
        print_json(rows)
        return
    print_table(
        ["space", "version", "knobs", "architectures", "what it is"],
        [[r["name"], r["version"], r["knobs"] or "", _size(r["size"]), r["summary"]] for r in rows],
    )


def _size(size: str | None) -> str:
    return f"{Decimal(size):.1e}" if size else "as you give it"
