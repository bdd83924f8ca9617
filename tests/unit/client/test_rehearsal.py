"""`countermark ceremony rehearse`: everything that key holders ever do, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from countermark.ceremony import rehearsal
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.errors import CeremonyRefused
from tests.unit.client.ceremony_server import objects
from tests.unit.client.conftest import Run


def test_a_rehearsal_goes_through_and_leaves_nothing(run: Run) -> None:
    """All steps are told in words, all that must be refused is, and the folder with the keys is gone."""
    done = run("ceremony", "rehearse")
    assert done.exit_code == 0, done.output
    assert done.stdout.count(": refused. ") == 6
    assert "from an event file, and brings back a signature file" in done.stdout
    assert "The client that comes new, knowing root version 1, walks to version 4" in done.stdout
    folder = Path(done.stderr.strip().rpartition(" ")[2])
    assert folder.name.startswith("countermark-rehearsal-")
    assert not folder.exists()


def test_a_rehearsal_for_programs(run: Run) -> None:
    """One object for each step."""
    steps = objects(run("ceremony", "rehearse", "--json").stdout)
    assert [step["step"] for step in steps] == list(range(1, 13))
    assert all(step["title"] and step["lines"] for step in steps)


def test_what_is_not_refused_ends_the_rehearsal() -> None:
    """The step of refusals cannot pass when something wrong is taken."""

    def refuse() -> None:
        raise CeremonyFault("no")

    assert rehearsal._refused("x", refuse) == "x: refused. no"
    with pytest.raises(CeremonyRefused, match="not refused"):
        rehearsal._refused("x", lambda: None)
