"""What an import says: one JSON line for each thing it looked at, and a summary for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deploy.errors import UsageError
from services.upload.importing import IMPORTED, LEFT, REFUSED, THERE

NOTE = "note"
"""Status of a line about something that comes in otherwise than it was."""

_SHOWN = 20
"""Refusals, and notes, that the summary repeats; all are in the report."""

_ORDER = (IMPORTED, THERE, LEFT, REFUSED, NOTE)


@dataclass
class Report:
    """Collects lines; kept in memory are counts and the first few refusals and notes, however long an import is."""

    out: IO[str] | None = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def line(self, kind: str, what: str, status: str, why: str = "", **facts: object) -> None:
        """Tell of one thing.

        Args:
            kind: `account`, `index`, `setting`, `file`, `release`, `doc`, `test-result` or `export`.
            what: its name, an index's files with the index before.
            status: `NOTE`, or of an `Outcome`.
            facts: further members, such as `sha256`.
        """
        self.counts[kind, status] += 1
        if status in (REFUSED, NOTE):
            kept = self.refusals if status == REFUSED else self.notes
            if len(kept) < _SHOWN:
                kept.append(f"{kind} {what}: {why}")
        if self.out is not None:
            written = {"kind": kind, "what": what, "status": status, "why": why, **facts}
            self.out.write(json.dumps({key: value for key, value in written.items() if value not in ("", None)}) + "\n")

    @property
    def refused(self) -> int:
        """How many things were refused."""
        return sum(count for (_, status), count in self.counts.items() if status == REFUSED)

    def summary(self) -> Iterator[str]:
        """Yield the lines of the summary: counts, then what was refused and noted."""
        for kind in dict.fromkeys(kind for kind, _ in self.counts):
            told = [f"{self.counts[kind, status]} {status}" for status in _ORDER if self.counts[kind, status]]
            yield f"{kind}: {', '.join(told)}"
        for title, kept, status in (("refused", self.refusals, REFUSED), ("notes", self.notes, NOTE)):
            count = sum(number for (_, one), number in self.counts.items() if one == status)
            if kept:
                yield f"{title}:"
                yield from (f"  {text}" for text in kept)
            if count > len(kept):
                yield f"  and {count - len(kept)} more: see the report (--report FILE)"


@contextmanager
def opened(path: Path | None) -> Iterator[Report]:
    """Give a report that is written to `path`, or nowhere.

    Raises:
        UsageError: it cannot be written there.
    """
    if path is None:
        yield Report()
        return
    try:
        out = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror}") from error
    with out:
        yield Report(out)
