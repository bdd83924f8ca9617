"""Where a run reads metadata from."""

from __future__ import annotations

from enum import Enum, auto


class Reading(Enum):
    """What a run reads metadata from."""

    ONLINE = auto()
    CACHE = auto()
    """Nothing but what earlier runs kept."""
    EVIDENCE = auto()
    """Nothing but what one run kept, of one moment."""
