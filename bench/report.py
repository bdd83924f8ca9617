"""The table: every figure stands beside a peer or a limit of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = ("measure", "Countermark", "beside", "ratio", "wanted", "verdict")


@dataclass(frozen=True, slots=True)
class Unit:
    """How a quantity is printed."""

    name: str
    decimals: int = 0


RATE = Unit("requests/s")
MICROSECONDS = Unit("us", 1)
MILLISECONDS = Unit("ms", 1)
SECONDS = Unit("s", 2)
BYTES = Unit("B")
KILOBYTES = Unit("kB", 1)
MEGABYTES = Unit("MB", 1)
SPEED = Unit("MB/s")
UPLOADS = Unit("uploads/s", 1)
CYCLES = Unit("cycles")
FILES_RATE = Unit("files/s")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity of Countermark."""

    measure: str
    value: float
    unit: Unit

    def beside(self, peer: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> Row:
        """Return the row that compares it with the same quantity of a peer.

        Args:
            at_least: the ratio that is wanted.
            at_most: the ratio that must not be exceeded; where neither is given, the peer is there for orientation.
        """
        ratio = self.value / value
        verdict, wanted = None, ""
        if at_least is not None:
            verdict, wanted = ratio >= at_least, f"at least {_digits(at_least)}x"
        elif at_most is not None:
            verdict, wanted = ratio <= at_most, f"at most {_digits(at_most)}x"
        return Row(self, f"{peer} {_shown(value, self.unit)}", ratio, wanted, verdict)

    def within(self, limit: float) -> Row:
        """Return the row that compares it with the most it may be."""
        shown = f"{limit:g} {self.unit.name}"
        return Row(self, f"limit {shown}", self.value / limit, "at most 1x", self.value <= limit)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; `verdict` is None where nothing is wanted."""

    figure: Figure
    beside: str
    ratio: float
    wanted: str
    verdict: bool | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the head."""
        verdict = {True: "ok", False: "MISSED", None: ""}[self.verdict]
        value = _shown(self.figure.value, self.figure.unit)
        return (self.figure.measure, value, self.beside, f"{_digits(self.ratio)}x", self.wanted, verdict)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, with columns that also align as plain text."""
    lines = [_HEAD, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    printed = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    printed.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(printed)


def _shown(value: float, unit: Unit) -> str:
    return f"{value:,.{unit.decimals}f} {unit.name}"


def _digits(ratio: float) -> str:
    """Return a ratio with three significant digits, without an exponent."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"
