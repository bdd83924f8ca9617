"""`countermark verify`, and the end of a run that proves something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from countermark.batch import Batch, Outcome
from countermark.cli.connecting import (
    Asked,
    BaseOption,
    FirstUseOption,
    Given,
    JsonOption,
    MirrorOption,
    OfflineOption,
    PolicyOption,
    QuietOption,
    RepositoryOption,
    RootOption,
    WorkersOption,
    opened,
)
from countermark.cli.screen import Screen
from countermark.core.errors import INTEGRITY_ONLY, UsageFault
from countermark.verification import PolicyMode


def verify(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Wheels and sdists under the names they have in the index.")
    ],
    repository: RepositoryOption = None,
    mirrors: MirrorOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    bases: BaseOption = None,
    policy: PolicyOption = PolicyMode.SIGNED,
    offline: OfflineOption = False,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", metavar="FOLDER", help="With --offline: what `download --evidence` wrote."),
    ] = None,
    attestation: Annotated[
        Path | None,
        typer.Option(
            "--attestation",
            metavar="FILE",
            help="The file's attestation (offline, FILE.sigstore.json), or a summary of it.",
        ),
    ] = None,
    workers: WorkersOption = 4,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove local files against an index, and print the path of each that is proven.

    Exit codes as of `download`.
    """
    screen = Screen(as_json=as_json, full_table=True, quiet=quiet)
    screen.chain = len(files) == 1
    given = Given(offline, evidence, attestation)
    asked = Asked(repository, root, first_use, policy, bases=bases, given=given, mirrors=mirrors)
    with screen.guarded():
        if attestation is not None and len(files) != 1:
            raise UsageFault("--attestation goes with exactly one file", "Name one file, or put each beside its file.")
        if attestation is not None and not attestation.is_file():
            raise UsageFault(f"there is no attestation {attestation}", "Check the path behind --attestation.")
        with opened(asked, screen, names=len(files)) as here:
            outcome = Batch(here.verifier, here.sources, workers).verify(files)
    for path in outcome.placed:
        screen.result(str(path))
    report_failures(screen, outcome, len(files))
    finish(screen, policy, len(outcome.placed))


def report_failures(screen: Screen, outcome: Outcome, asked: int) -> None:
    """Tell each failure, and end with the highest of their codes; nothing happens when there is none."""
    if not outcome.failures:
        return
    for failure in outcome.failures:
        screen.failure(failure.error, failure.what)
    code = outcome.exit_code
    if asked > 1 or outcome.placed:
        screen.tell(f"{len(outcome.placed)} file(s) proven, {len(outcome.failures)} failed [exit {code}]")
        counts = {"proven": len(outcome.placed), "failed": len(outcome.failures)}
        screen.object({"step": "done", "ok": False, "exit": code, **counts})
    raise typer.Exit(code)


def finish(screen: Screen, policy: PolicyMode, proven: int) -> None:
    """Say what was proven, and end with the code of it."""
    if policy is PolicyMode.NONE:
        screen.tell(f"{proven} file(s): digests match; integrity only, no policy was checked [exit {INTEGRITY_ONLY}]")
        screen.object({"step": "done", "ok": True, "exit": INTEGRITY_ONLY})
        raise typer.Exit(INTEGRITY_ONLY)
    without = proven - screen.attested
    parts = []
    if screen.attested:
        parts.append(f"{screen.attested} file(s) proven: metadata, pointer, digest, attestation and policy")
    if without:
        parts.append(
            f"{without} file(s) proven: metadata, pointer, length and digest; no attestation is demanded by the "
            "registry's policy"
        )
    screen.tell("; ".join(parts))
    screen.object({"step": "done", "ok": True, "exit": 0})
