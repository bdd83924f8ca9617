"""What can go wrong with a measurement."""

from __future__ import annotations


class NotMeasured(Exception):
    """Something could not be measured; the text says why."""
