"""Command `python -m tests.chaos`: breaks the real profile part by part under load, and prints what was noticed.

Afterwards everything that was acknowledged must be published, and an independent reader must find nothing amiss.
It ends with 1 when something that must hold did not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx2

from deploy.stack.programs import cache_folder, ensure_programs
from tests.chaos.faults import FAULTS, READS, Fault, Site
from tests.chaos.load import Load, Noted
from tests.support.processes import Deployment, start_stack
from tests.support.tree_audit import Found, audit, face_reader, folder_reader

_RECOVERY = 90.0
"""Seconds in which an upload must be published again."""

_CALM = 2.0
"""Seconds of undisturbed load before each fault."""

_IDLE = 90.0
"""Seconds in which all that was acknowledged must be published when the load ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was noticed of a fault: seconds until an upload was published again; per reader failures and worst pause."""

    fault: Fault
    recovery: float | None
    failed_uploads: int
    reads: dict[str, tuple[int, float]]

    @property
    def faults(self) -> list[str]:
        """What should not have been."""
        found = [] if self.recovery is not None else [f"{self.fault.name}: no upload was published for {_RECOVERY} s"]
        noticed = [name for name in self.fault.unnoticed if self.reads[name][0]]
        return found + [f"{self.fault.name}: {self.reads[name][0]} reads of the {name} failed" for name in noticed]


def main(arguments: Sequence[str]) -> None:
    """Run the faults that were asked for, and exit."""
    options = _options(arguments)
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    if not chosen:
        _say(f"chaos: no fault's name holds {options.only!r}; there are: {', '.join(fault.name for fault in FAULTS)}")
        sys.exit(2)
    ensure_programs(cache_folder(os.environ), _say)
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        deployment = start_stack(Path(folder) / "data")
        try:
            violations = _run(deployment, chosen)
        finally:
            deployment.process.end()
            said = [line for line in deployment.process.output.splitlines() if line.startswith("!!!")]
    print("\n".join(said))
    for line in violations:
        print(f"VIOLATION: {line}")
    print(f"{len(chosen)} passed, 0 failed" if not violations else f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break the real profile under load.")
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    return parser.parse_args(arguments)


def _run(deployment: Deployment, chosen: Iterable[Fault]) -> list[str]:
    site = Site(deployment.data)
    violations: list[str] = []
    print(f"| {'fault':<32} | published again | uploads failed | " + " | ".join(f"{name:>14}" for name in READS) + " |")
    print(f"|{'-' * 34}|{'-' * 17}|{'-' * 16}|" + f"{'-' * 16}|" * len(READS))
    with Load(deployment.api, deployment.token()) as load:
        for fault in chosen:
            time.sleep(_CALM)
            outcome = _break(site, load, fault)
            violations += outcome.faults
            print(_row(outcome), flush=True)
        time.sleep(_CALM)
    print(f"\n{len(load.acknowledged)} files acknowledged, {len(load.uploads)} uploads sent")
    return violations + load.violations + _verify(deployment, load)


def _break(site: Site, load: Load, fault: Fault) -> Outcome:
    began = time.monotonic()
    fault.do(site)
    over = time.monotonic()
    until = over + _RECOVERY
    # An upload that begins when the fault is over; one that was answered meanwhile proves nothing.
    while (published := load.published_since(over)) is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(_CALM)
    ended = time.monotonic()
    return Outcome(
        fault,
        None if published is None else published - over,
        sum(not noted.good for noted in _between(load.uploads, began, ended)),
        {reader.name: _failures(_between(reader.noted, began, ended)) for reader in load.readers},
    )


def _between(noted: list[Noted], began: float, ended: float) -> list[Noted]:
    return [one for one in list(noted) if one.ended >= began and one.began <= ended]


def _failures(noted: list[Noted]) -> tuple[int, float]:
    """Return how many failed, and the longest time for which nothing was answered right."""
    times = [one.ended for one in noted if one.good]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return sum(not one.good for one in noted), max(pauses, default=float("inf"))


def _row(outcome: Outcome) -> str:
    again = "never" if outcome.recovery is None else f"{outcome.recovery:.1f} s"
    reads = [f"{failed} ({pause:.1f} s)" for failed, pause in outcome.reads.values()]
    return (
        f"| {outcome.fault.name:<32} | {again:>15} | {outcome.failed_uploads:>14} | "
        + " | ".join(f"{text:>14}" for text in reads)
        + " |"
    )


def _verify(deployment: Deployment, load: Load) -> list[str]:
    """Return what is amiss when all is over: read through the faces, and from the store itself."""
    client = httpx2.Client(timeout=20)
    faces = face_reader(client, f"{deployment.api}/root/stable")
    until = time.monotonic() + _IDLE
    while (missing := _missing(found := audit(faces), load)) and time.monotonic() < until:
        time.sleep(1)
    stored = audit(folder_reader(deployment.tree, "root/stable"))
    faults = [f"{name} was acknowledged and is not published" for name in missing]
    faults += [f"through the faces: {fault}" for fault in found.faults]
    faults += [f"in the store: {fault}" for fault in stored.faults]
    if stored.versions != found.versions:
        faults.append("the store's metadata are not what is served")
    return faults


def _missing(found: Found, load: Load) -> list[str]:
    published = {path.rpartition("/")[2].removesuffix(".pointer"): p for path, p in found.pointers.items()}
    return [
        name
        for name, digest in load.acknowledged.items()
        if name not in published or published[name].get("digest") != digest
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
