"""A clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SettableClock:
    """Tells the time it was given; it stands still until it is moved."""

    def __init__(self, moment: datetime | None = None) -> None:
        self._moment = moment or datetime.now(UTC)

    def now(self) -> datetime:
        """Return the set time."""
        return self._moment

    def advance(self, duration: timedelta) -> None:
        """Let time pass."""
        self._moment += duration
