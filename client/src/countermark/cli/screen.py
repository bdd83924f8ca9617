"""What the person sees: results on the output stream, everything else on the error stream."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from countermark.chain import LINKS, Step, line_of, link_of
from countermark.core.errors import ClientError, UsageFault
from countermark.progress import Advance, Meter, Silent


class Screen:
    """The two streams of a run; several threads may use it.

    Args:
        as_json: the output stream gets JSON objects, one a line, instead of plain results.
        full_table: failures end with the exit codes of trust contract section 3.3, else with 1 (2 for usage).
        quiet: neither progress nor closing words; notes and failures are still told.

    Attributes:
        chain: tell each link of the numbered chain as it holds: for a file, or few of them.
        attested: files that were proven with an attestation, so far.
    """

    def __init__(self, *, as_json: bool = False, full_table: bool = False, quiet: bool = False) -> None:
        self.chain = False
        self.attested = 0
        self._as_json = as_json
        self._full_table = full_table
        self._quiet = quiet
        self._errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._line = threading.Lock()

    def notify(self, text: str) -> None:
        """Tell something that is neither result nor failure."""
        self._errors.print(f"note: {_printable(text)}", markup=False, style="yellow")

    def tell(self, text: str) -> None:
        """Tell how it went."""
        if not self._quiet:
            self._errors.print(_printable(text), markup=False)

    def result(self, text: str) -> None:
        """Print one line of the result; with JSON, the objects are the result."""
        if not self._as_json:
            typer.echo(_encodable(_printable(text)))

    def row(self, *cells: str) -> None:
        """Print one line of a list as the result, its cells parted by tabs."""
        if not self._as_json:
            typer.echo(_encodable("\t".join(map(_printable, cells)).rstrip()))

    def step(self, step: Step) -> None:
        """Report one finished step."""
        link, line = link_of(step.name), line_of(step)
        numbered = {} if link is None else {"number": link.number, "name": link.name, "result": "passed"}
        self.object({"step": step.name, "ok": True, **numbered, **step.facts})
        if self.chain and not self._as_json and line is not None:
            self.tell(line)
        if step.name == "policy" and step.facts.get("attested"):
            with self._line:
                self.attested += 1

    def object(self, fields: Mapping[str, object]) -> None:
        """Print one object, when JSON was asked for."""
        if self._as_json:
            with self._line:
                typer.echo(json.dumps(fields))

    def failure(self, error: ClientError, what: str = "") -> int:
        """Report a failure and return its exit code.

        Args:
            error: the failure.
            what: which of several things failed.
        """
        code = error.exit_code if self._full_table or isinstance(error, UsageFault) else 1
        fields = {"step": error.link, "ok": False, "exit": code, "error": type(error).__name__, "code": error.code}
        words = {"message": error.problem, "remedy": error.remedy}
        link = link_of(error.step) if self._full_table else None
        numbered = {} if link is None else {"number": link.number, "name": link.name, "result": "failed"}
        self.object({**fields, **numbered, **words, **error.details, **({"for": what} if what else {})})
        at = "" if link is None else f"step {link.number} of {len(LINKS)} ({link.name}) failed: "
        self._errors.print(f"{at}{_printable(str(error))} [exit {code}]", markup=False, style="red")
        return code

    @contextlib.contextmanager
    def meter(self) -> Iterator[Meter]:
        """Draw transfers while the block runs, when a person looks at a terminal."""
        if self._as_json or self._quiet or not self._errors.is_terminal:
            yield Silent()
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._errors, transient=True) as progress:
            yield _Bars(progress)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a failure inside into its message and exit code."""
        try:
            yield
        except ClientError as error:
            raise typer.Exit(self.failure(error)) from error


class _Bars:
    """A bar for each transfer that is under way."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Advance]:
        """Draw a bar while the block runs; see `Meter.task`."""
        task = self._progress.add_task(_printable(name), total=total)
        try:
            yield lambda count: self._progress.advance(task, count)
        finally:
            self._progress.remove_task(task)


_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that count as printable and show nothing: with a row of them, one line could look like several."""


def _printable(text: str) -> str:
    """Return text as one line without what could drive a terminal: parts of it may come from a server."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character == "\n":
        return " "
    return character if character.isprintable() and character not in _BLANK else "?"


def _encodable(text: str) -> str:
    """Return text that the output stream can take: a pipe may be in an encoding that lacks a server's letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
