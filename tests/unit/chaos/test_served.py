"""What counts as going back, under faults."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import main
from tests.chaos.load import Served


def test_the_newest_of_a_moment_is_what_had_been_served_until_then() -> None:
    """An older version that another replica serves later changes nothing, and what came after is not counted."""
    served = Served()
    assert served.newest_before(100.0) == 0
    for version, moment in ((7, 1.0), (9, 2.0), (8, 3.0), (10, 4.0)):
        served.note(version, moment)
    assert [served.newest_before(moment) for moment in (0.5, 1.0, 3.5, 4.0)] == [0, 7, 9, 10]


def test_a_name_that_no_fault_has_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaking nothing would look like success: it ends with 2 and names what there is."""
    with pytest.raises(SystemExit) as ended:
        main(["--only", "Rediss"])
    assert ended.value.code == 2
    assert "Redis: emptied" in capsys.readouterr().err
