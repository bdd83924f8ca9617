"""Those who wait for a statement that they share: one of them always leads."""

from __future__ import annotations

import asyncio

from shared.catalogue.gathered import _Crowd, _Told


async def _waiting(crowd: _Crowd, number: int) -> list[asyncio.Task[object]]:
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(crowd.told({"number": one})) for one in range(number)]
    await asyncio.sleep(0)
    return tasks


async def test_who_goes_away_when_told_to_lead_has_the_next_one_lead() -> None:
    """Also who went away before; the last one leaves it to whoever comes."""
    crowd = _Crowd()
    crowd.is_led = True
    gone, told, next_one, last = await _waiting(crowd, 4)
    gone.cancel()
    await asyncio.sleep(0)
    crowd.end([], [])
    # It is told, and has not run since.
    told.cancel()
    assert await next_one is _Told.LEADS
    assert crowd.is_led
    assert not last.done()
    crowd.end([], [])
    last.cancel()
    await asyncio.wait([gone, told, last])
    assert not crowd.is_led


async def test_those_who_shared_are_told_in_their_order() -> None:
    """Where it failed they are told to ask alone; who went away is told nothing."""
    crowd = _Crowd()
    crowd.is_led = True
    first, second, third = await _waiting(crowd, 3)
    taken = crowd.taken()
    assert [one.values for one in taken] == [{"number": 0}, {"number": 1}, {"number": 2}]
    second.cancel()
    crowd.end(taken, [{"row": "leads"}, {"row": 0}, {"row": 1}, {"row": 2}])
    assert (await first, await third) == ({"row": 0}, {"row": 2})
    assert not crowd.is_led
    crowd.is_led = True
    (alone,) = await _waiting(crowd, 1)
    crowd.end(crowd.taken(), [])
    assert await alone is _Told.ALONE
