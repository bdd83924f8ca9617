"""What pages of held files share: the words for rules and states, and where leave is given. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from gateway.dashboard.shapes import ExplainedFile, Held, HoldLine

RULES: Mapping[str, str] = {
    "too-new": "too new",
    "undated": "no upload time",
    "denied": "denied",
    "not-allowed": "not allowed",
    "reserved": "reserved name",
    "quarantined": "in quarantine",
    "held": "held for review",
}
"""Rule -> what its badge says."""

LIFTED = frozenset({"too-new", "undated"})
"""Rules that an exemption lifts."""

STATES: Mapping[str, str] = {
    "shows": "has it",
    "held-back": "has it, all of it held back",
    "empty": "holds the name, without a file",
    "nothing": "does not have it",
    "shut-out": "is not asked: the name is held nearer",
    "quarantined": "has it in quarantine",
    "behind-quarantine": "not shown: in quarantine nearer",
    "hidden": "is not asked for the name",
    "away": "gives no answer, and nothing is kept",
    "unset": "has no upstream yet",
}
"""State of a member -> what it does with the project."""


@dataclass(frozen=True, slots=True)
class ShownHold:
    """Something that is held back, as a row shows it.

    Attributes:
        what: the file, or the version; empty for a whole project.
        exempt: where leave for it is given; None where the visitor may not, or no leave helps.
        owner: whom to ask for it instead; None where no leave helps.
    """

    project: str
    what: str
    version: str | None
    held: Held
    exempt: str | None
    owner: str | None

    @property
    def rule(self) -> str:
        """The badge's words."""
        return RULES.get(self.held.rule, self.held.rule)


def held_releases(lines: Iterable[HoldLine], index: str, configures: Callable[[str], bool]) -> list[ShownHold]:
    """Return rows of releases that an index holds back."""
    return [_shown(line.project, line.version or "", line.version, line.hidden, index, configures) for line in lines]


def held_files(
    project: str, files: Iterable[ExplainedFile], index: str, configures: Callable[[str], bool]
) -> list[ShownHold]:
    """Return rows of files that an index holds back.

    Args:
        index: the one that is looked at: leave leads back to it.
        configures: whether the visitor may configure an index, by its name.
    """
    return [
        _shown(project, file.filename, file.version, file.hidden, index, configures)
        for file in files
        if file.hidden is not None
    ]


def _shown(
    project: str, what: str, version: str | None, held: Held, index: str, configures: Callable[[str], bool]
) -> ShownHold:
    exempt = owner = None
    if held.rule in LIFTED and held.index is not None:
        given = {"project": project, "version": version or "", "seen": index}
        if configures(held.index):
            exempt = f"/indexes/{held.index}/exemptions/give?{urlencode(given)}"
        else:
            owner = held.index.partition("/")[0]
    return ShownHold(project, what, version, held, exempt, owner)
