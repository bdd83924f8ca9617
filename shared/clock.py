"""Time as an argument. Nothing else in the server asks the operating system what time it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""


class SystemClock:
    """The operating system's clock."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)


def whole_seconds(moment: datetime) -> datetime:
    """Cut a time to whole seconds, the resolution of TUF metadata (specification 1.0.34 section 4.2)."""
    return moment.replace(microsecond=0)
