"""The command line: arguments to calls. The only place that prints and exits.

Exit codes: `download` and `verify` use the table of trust contract section 3.3 (`core.errors`); the others 0, 1 and 2.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from countermark.cli import publishing, roots, verifying

app = typer.Typer(
    name="countermark",
    help="Build, upload, download and prove the files of a Countermark registry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(verifying.download)
app.command()(verifying.verify)
app.command()(publishing.build)
app.command()(publishing.upload)
app.add_typer(roots.app, name="root")


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
