"""The one error of ceremonies."""

from __future__ import annotations


class CeremonyFault(ValueError):
    """A payload, change or document of a ceremony breaks a rule; the message says which, in words for a person."""
