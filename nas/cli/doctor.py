"""`nas doctor`: does this installation work, and is the machine fit for measurements?"""

import typer

from nas.cli.output import AsJson, print_json, print_table


def doctor(as_json: AsJson = False) -> None:
    """Check the installation and this machine; exit with 1 if something is broken."""
    from nas.cli.diagnosis import diagnose

    findings = diagnose()
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        print_table(["", "check", "found"], [[f.status, f.check, f.found] for f in findings])
        for finding in findings:
            if finding.fix:
                typer.echo(f"\n{finding.check}: {finding.fix}")
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)
