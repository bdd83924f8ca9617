"""Memory of what was read: bounded, loaded once, and never older than an announced change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from shared.reading.shelf import Shelf


@dataclass(slots=True, eq=False)
class Thing:
    """Something to keep."""

    text: str
    size: int = 10
    groups: tuple[str, ...] = ("all",)
    lags: float | None = None


class Source:
    """Something that changes, and is slow to read."""

    def __init__(self, text: str = "first") -> None:
        self.text = text
        self.reads = 0
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()

    async def load(self) -> Thing:
        """Return what was there when the read began."""
        self.reads += 1
        thing = Thing(self.text)
        self.reading.set()
        await self.go_on.wait()
        return thing


def shelf(limit: int = 100) -> Shelf[str, Thing]:
    """Return an empty shelf."""
    return Shelf(limit)


def test_least_recently_used_goes_first() -> None:
    """When the limit is reached, what was used longest ago goes, and the account is right."""
    kept = shelf(30)
    for name in "abc":
        kept.put(name, Thing(name))
    assert kept.get("a") is not None
    kept.put("d", Thing("d"))
    assert [name for name in "abcd" if kept.get(name)] == ["a", "c", "d"]
    assert kept.size == 30


def test_what_is_larger_than_the_shelf_is_not_kept() -> None:
    """One thing above the limit is let go at once, takes nobody's place, and nothing is miscounted."""
    kept = shelf(30)
    kept.put("b", Thing("b", size=10))
    kept.put("a", Thing("a", size=20))
    kept.put("a", Thing("a", size=31))
    assert (kept.get("a"), len(kept), kept.size) == (None, 1, 10)


def test_growth_counts_for_what_is_still_kept() -> None:
    """A thing that grew in place pushes others out; one that was replaced meanwhile is not counted."""
    kept, old, new = shelf(30), Thing("old"), Thing("new")
    kept.put("b", Thing("b"))
    kept.put("a", old)
    kept.put("a", new)
    kept.grow("a", old, 100)
    assert kept.size == 20
    kept.grow("a", new, 15)
    assert (kept.get("b"), kept.size) == (None, 25)
    kept.grow("a", new, -20)
    kept.put("b", Thing("b"))
    assert (len(kept), kept.size) == (2, 15)


def test_groups() -> None:
    """A group is dropped together, whatever else is kept."""
    kept = shelf()
    kept.put("a", Thing("a", groups=("one",)))
    kept.put("b", Thing("b", groups=("one",)))
    kept.put("c", Thing("c", groups=("two",)))
    kept.drop_group("one")
    kept.drop_group("none")
    assert [name for name in "abc" if kept.get(name)] == ["c"]
    kept.drop_if(lambda key: key == "c")
    assert (len(kept), kept.size) == (0, 0)


async def test_one_load_for_all() -> None:
    """Everyone who asks during a load gets its result; one who gives up does not end it for the others."""
    kept, source = shelf(), Source()
    waiting = [asyncio.create_task(kept.fetch("a", source.load)) for _ in range(5)]
    await source.reading.wait()
    waiting[0].cancel()
    source.go_on.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {result.text for result in results[1:] if isinstance(result, Thing)} == {"first"}
    assert source.reads == 1
    assert (await kept.fetch("a", source.load)).text == "first"
    assert source.reads == 1


@pytest.mark.parametrize("how", ["drop", "doubt", "drop_if"])
async def test_change_during_a_load(how: str) -> None:
    """A change that is announced during a load makes it be done again: nobody is answered from before the change."""
    kept, source = shelf(), Source()
    waiting = asyncio.create_task(kept.fetch("a", source.load))
    await source.reading.wait()
    source.text = "second"
    match how:
        case "drop":
            kept.drop("a")
        case "doubt":
            kept.doubt(lambda key: key == "a")
        case _:
            kept.drop_if(lambda key: key == "a")
    source.go_on.set()
    assert (await waiting).text == "second"
    assert source.reads == 2


@pytest.mark.parametrize(("text", "reads"), [("first", 1), ("second", 2)])
async def test_a_change_that_is_in_the_value_already(text: str, reads: int) -> None:
    """It neither makes a load be done again nor drops what is kept; one that is not in it does both."""
    kept, source = shelf(), Source()

    def has(thing: Thing) -> bool:
        return thing.text == text

    waiting = asyncio.create_task(kept.fetch("a", source.load))
    await source.reading.wait()
    kept.doubt(lambda _: True, has)
    if text == "second":
        source.text = "second"
    source.go_on.set()
    thing = await waiting
    assert (thing.text, source.reads) == (text, reads)
    for group in thing.groups:
        kept.drop_group(group, has)
        assert kept.get("a") is thing
        kept.drop_group(group, lambda _: False)
        assert kept.get("a") is None


async def test_what_may_lag_is_not_loaded_again() -> None:
    """A thing that may be out of date for a while is kept although something changed."""
    kept, source = shelf(), Source()

    async def load() -> Thing:
        thing = await source.load()
        thing.lags = 2.0
        return thing

    waiting = asyncio.create_task(kept.fetch("a", load))
    await source.reading.wait()
    kept.drop("a")
    source.go_on.set()
    assert (await waiting).text == "first"
    assert source.reads == 1


async def test_endless_change_ends() -> None:
    """What changes with every load is answered after some tries, and not kept."""
    kept, source = shelf(), Source()
    source.go_on.set()

    async def load() -> Thing:
        kept.drop("a")
        return await source.load()

    assert (await kept.fetch("a", load)).text == "first"
    assert source.reads > 1
    assert kept.get("a") is None


async def test_failure_is_everybodys_and_not_kept() -> None:
    """All who wait see the failure of a load; the next who asks tries again."""
    kept, failing = shelf(), True

    async def load() -> Thing:
        await asyncio.sleep(0)
        if failing:
            raise OSError("the store is away")
        return Thing("there")

    results = await asyncio.gather(*(kept.fetch("a", load) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 3
    failing = False
    assert (await kept.fetch("a", load)).text == "there"


def test_a_thing_of_several_groups_goes_with_any() -> None:
    """What belongs to two groups is dropped with either, and the other knows nothing of it any more."""
    kept = shelf()
    kept.put("a", Thing("a", groups=("one", "two")))
    kept.put("b", Thing("b", groups=("two",)))
    assert sorted(kept.in_group("two")) == ["a", "b"]
    kept.drop_group("one")
    assert kept.get("a") is None
    assert kept.in_group("two") == ["b"]
    kept.put("a", Thing("a", groups=("one", "two")))
    kept.put("a", Thing("again", groups=("one",)))
    kept.drop_group("two")
    assert kept.get("b") is None
    assert kept.get("a") is not None
    assert kept.size == 10
