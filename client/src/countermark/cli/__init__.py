"""The command line: arguments to calls. The only place that prints and exits.

Exit codes: `download` and `verify` use the table of trust contract section 3.3 (`core.errors`); the others 0, 1 and 2.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from countermark.cli import (
    approving,
    attesting,
    auditing,
    bases,
    ceremony,
    conforming,
    downloading,
    explaining,
    holding,
    keys,
    listing,
    policies,
    probing,
    publishing,
    roots,
    standing,
    tokens,
    trust,
    verifying,
    yanking,
)

app = typer.Typer(
    name="countermark",
    help="Build, upload, download and prove the files of a Countermark registry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(downloading.download)
app.command()(verifying.verify)
app.command()(listing.ls)
app.command()(publishing.build)
app.command()(attesting.attest)
app.command()(publishing.upload)
app.command()(standing.status)
app.command()(yanking.yank)
app.command()(yanking.unyank)
app.command()(explaining.explain)
app.command(cls=conforming.OneOrZero)(conforming.conformance)
app.command()(probing.probe)
app.add_typer(holding.app, name="hold")
app.add_typer(roots.app, name="root")
app.add_typer(bases.app, name="bases")
app.add_typer(keys.app, name="key")
app.add_typer(tokens.app, name="token")
app.add_typer(auditing.app, name="audit")
app.add_typer(trust.app, name="trust")
app.add_typer(ceremony.app, name="ceremony")
app.add_typer(approving.app, name="approvals")
app.add_typer(policies.app, name="policy")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"countermark {version('countermark')}")
        raise typer.Exit


@app.callback()
def options(
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build, upload, download and prove the files of a Countermark registry."""


__all__ = ["app"]
