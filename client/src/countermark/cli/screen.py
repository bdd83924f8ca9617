"""What the person sees: results on the output stream, everything else on the error stream."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping

import typer
from rich.console import Console

from countermark.core.errors import ClientError, UsageFault
from countermark.verification import Step


class Screen:
    """The two streams of a run.

    Args:
        as_json: the output stream gets one JSON object for each step instead of plain results.
        full_table: failures end with the exit codes of trust contract section 3.3, else with 1 (2 for usage).
    """

    def __init__(self, *, as_json: bool = False, full_table: bool = False) -> None:
        self._as_json = as_json
        self._full_table = full_table
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def notify(self, text: str) -> None:
        """Tell something that is neither result nor failure."""
        self._errors.print(f"note: {_printable(text)}", markup=False, style="yellow")

    def tell(self, text: str) -> None:
        """Tell how it went."""
        self._errors.print(_printable(text), markup=False)

    def result(self, text: str) -> None:
        """Print one line of the result; with JSON, the objects of the steps are the result."""
        if not self._as_json:
            typer.echo(_printable(text))

    def step(self, step: Step) -> None:
        """Report one finished step."""
        self.object({"step": step.name, "ok": True, **step.facts})

    def object(self, fields: Mapping[str, object]) -> None:
        """Print one object, when JSON was asked for."""
        if self._as_json:
            typer.echo(json.dumps(fields))

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a failure inside into its message and exit code."""
        try:
            yield
        except ClientError as error:
            code = error.exit_code if self._full_table or isinstance(error, UsageFault) else 1
            self.object({"step": error.link, "ok": False, "exit": code, "error": type(error).__name__}
                        | {"message": error.problem, "remedy": error.remedy})  # fmt: skip
            self._errors.print(f"{_printable(str(error))} [exit {code}]", markup=False, style="red")
            raise typer.Exit(code) from error


def _printable(text: str) -> str:
    """Return text without what could drive a terminal: parts of it may come from a server."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
