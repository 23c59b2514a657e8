"""`nas spaces`: which search spaces there are, and what can be chosen in one."""

from typing import Annotated

import typer

from nas.cli.output import AsJson, print_json, print_table

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A space; all are listed where not given.")
]


def spaces(name: Name = None, as_json: AsJson = False) -> None:
    """List the search spaces, or the knobs and the size of one with its default parameters."""
    from search_spaces import registry

    if name is None:
        _list(registry.names(), as_json)
        return
    space = registry.create(name)
    knobs = [
        {"name": knob.name, "options": list(knob.options), "ordered": knob.ordered}
        for knob in space.knobs
    ]
    size = space.size()
    if as_json:
        # A string: such numbers are beyond what JSON readers hold exactly.
        print_json(
            {"name": space.name, "version": space.version, "size": str(size), "knobs": knobs}
        )
        return
    print_table(
        ["knob", "options"], [[k["name"], ", ".join(map(str, k["options"]))] for k in knobs]
    )
    typer.echo(f"\n{space.name} version {space.version}: {len(knobs)} knobs, {size} architectures")
    typer.echo(f"(about {size:.1e}) with its default parameters")


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
    return f"{int(size):.1e}" if size else "as you give it"
