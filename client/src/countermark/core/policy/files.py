"""The file that a policy is asked about. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from countermark.core.names import IndexName


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file that a policy is asked about.

    Attributes:
        project: normalised.
        version: as its pointer has it.
    """

    index: IndexName | str
    project: str
    version: str
    file_name: str
