"""The numbered chain from the pinned root to the policy, and the steps of a run that belong to it. Pure.

A link is told when it holds. Of a failure its link is told, and nothing behind it was looked at.

Source: trust contract section 3.3 (steps of the downloader).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from countermark.core.errors import ClientError, LocalState, UsageFault


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the chain: its place, its name in code and JSON, and its name for people."""

    number: int
    step: str
    name: str


LINKS = tuple(
    Link(number, step, name)
    for number, (step, name) in enumerate(
        (
            ("root", "TUF root"),
            ("timestamp", "TUF timestamp"),
            ("snapshot", "TUF snapshot"),
            ("target", "TUF target"),
            ("pointer", "pointer"),
            ("artifact", "digest"),
            ("attestation", "attestation digest"),
            ("statement", "statement"),
            ("subject", "subject"),
            ("signature", "signature"),
            ("identity", "identity"),
            ("log", "log"),
            ("policy", "policy"),
        ),
        start=1,
    )
)
"""The chain, in the order in which it is checked; 7 to 12 of files that come with an attestation."""

FURTHER = "further"
"""The step beside the chain at which attestations were looked at that no pointer names."""

_BY_STEP: Mapping[str, Link] = {link.step: link for link in LINKS}


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step, with facts that are JSON-ready; those of a file say which under `file`."""

    name: str
    facts: Mapping[str, object] = field(default_factory=dict)


_UNTOLD = frozenset(["file", "bundles", "faults", "code", "match", "indexes"])
"""Facts that stand in JSON alone."""

Report = Callable[[Step], None]
"""Is told of each finished step."""


def link_of(step: str) -> Link | None:
    """Return the link that a step is, None for one that is beside the chain."""
    return _BY_STEP.get(step)


def line_of(step: Step) -> str | None:
    """Return a link that holds in one line, without the file that it is about, or a look at further evidence; None for
    other steps beside the chain."""
    link = link_of(step.name)
    if link is None and step.name != FURTHER:
        return None
    told = {name: value for name, value in step.facts.items() if value is not None and name not in _UNTOLD}
    facts = ", ".join(_fact(name, value) for name, value in told.items())
    number, name = ("  ", "further evidence") if link is None else (f"{link.number:2}", link.name)
    return f"{number} {name:<18}  {facts}"


@contextlib.contextmanager
def during(step: str) -> Iterator[None]:
    """Name the step that a failure inside belongs to, unless it was named further inside.

    What is wrong with the call or this machine is no failure of the chain.
    """
    try:
        yield
    except (LocalState, UsageFault):
        raise
    except ClientError as error:
        error.step = error.step or step
        raise


def _fact(name: str, value: object) -> str:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return f"{name.replace('_', ' ')} {value}"
