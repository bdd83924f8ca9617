"""What a start waits for, and for how long."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from deploy.errors import LaunchError
from deploy.needs import until_there
from shared.http import NotReady


class Coming:
    """Something that is there after some tries."""

    def __init__(self, after: int, *, passing: bool = True) -> None:
        self.tries = 0
        self._after = after
        self._passing = passing

    async def __call__(self) -> None:
        """Fail until then."""
        self.tries += 1
        if self.tries <= self._after:
            raise NotReady("it is not there: start it", passing=self._passing)


async def test_what_comes_up_is_waited_for_with_one_line() -> None:
    """Several tries are one line in the log, and what comes later in order is asked for later."""
    first, second = Coming(2), Coming(0)
    with capture_logs() as logs:
        await until_there({"first": first, "second": second}, 10)
    assert (first.tries, second.tries) == (3, 1)
    assert [(line["event"], line["resource"]) for line in logs] == [("start_waits", "first")]


async def test_patience_ends() -> None:
    """Then the start ends with what was wrong, and says which setting is the patience."""
    with pytest.raises(LaunchError, match=r"it is not there: start it \(waited 0.05 seconds; starting.patience"):
        await until_there({"first": Coming(1000)}, 0.05)


async def test_what_waiting_does_not_mend_is_told_at_once() -> None:
    """A wrong password stays wrong."""
    never = Coming(1000, passing=False)
    with pytest.raises(LaunchError, match=r"^it is not there: start it$"):
        await until_there({"first": never}, 600)
    assert never.tries == 1
