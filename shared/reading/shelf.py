"""Memory of what was read, bounded in bytes; each thing is loaded once however many ask for it at the same time.

A thing that changed is dropped; a load that was under way meanwhile is done again, since it may have read what was
before. So whoever asks after a change was announced is never answered from before it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

_TRIES = 8
"""Loads of one thing in a row while it keeps changing; then the last one is answered, but not kept."""


_MOST_DOUBTS = 32
"""Changes that a load under way is compared with; with more it is done again anyway."""


class Shelved(Protocol):
    """What can be kept: it knows its weight in bytes."""

    size: int

    @property
    def groups(self) -> Iterable[Hashable]:
        """What it is dropped with: with any of these."""

    @property
    def lags(self) -> float | None:
        """Seconds for which it may be out of date; None when it must not be."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Shelved)


class _Flight(Generic[V]):
    """A load under way; what it reads may have changed since it began: so `stale` says, or one of `unless` denies."""

    __slots__ = ("stale", "task", "unless")

    def __init__(self) -> None:
        self.stale = False
        self.unless: list[Callable[[V], bool]] = []
        self.task: asyncio.Task[V] | None = None

    def begin(self) -> None:
        """Forget the changes that came before a load."""
        self.stale = False
        self.unless.clear()

    def is_good(self, value: V) -> bool:
        """Whether no change came in between that is not in the value."""
        return not self.stale and all(has(value) for has in self.unless)


class Shelf(Generic[K, V]):
    """Values by key; those used longest ago go when the limit is reached."""

    def __init__(self, limit: int) -> None:
        """Args: limit: bytes kept at the most, by the values' own account."""
        self._limit = limit
        self._held: OrderedDict[K, V] = OrderedDict()
        self._groups: dict[Hashable, set[K]] = {}
        self._flights: dict[K, _Flight[V]] = {}
        self.size = 0
        """Bytes kept now."""

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return what is kept under a key, and count it as used."""
        value = self._held.get(key)
        if value is not None:
            self._held.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of what was there; not one that has no room at all."""
        self.drop_kept(key)
        if value.size > self._limit:
            return
        self._held[key] = value
        for group in value.groups:
            self._groups.setdefault(group, set()).add(key)
        self.size += value.size
        self._shrink()

    def grow(self, key: K, value: V, by: int) -> None:
        """Count `by` bytes more for a value, if it is still the one kept."""
        value.size += by
        if self._held.get(key) is value:
            self.size += by
            self._shrink()

    async def fetch(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """Return what is kept, or load it; everyone who asks meanwhile waits for the same load.

        A caller that goes away does not end the load for the others.

        Raises:
            Exception: what `load` raised; nothing is kept then.
        """
        value = self.get(key)
        if value is not None:
            return value
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight()
            self._flights[key] = flight
            flight.task = asyncio.create_task(self._fly(key, flight, load))
            flight.task.add_done_callback(_retrieve)
        assert flight.task is not None
        return await asyncio.shield(flight.task)

    def drop(self, key: K) -> None:
        """Forget a thing that changed."""
        self.drop_kept(key)
        if (flight := self._flights.get(key)) is not None:
            flight.stale = True

    def drop_kept(self, key: K) -> None:
        """Forget what is kept under a key, though the thing did not change: a load under way stays good."""
        value = self._held.pop(key, None)
        if value is None:
            return
        self.size -= value.size
        for group in value.groups:
            keys = self._groups[group]
            keys.discard(key)
            if not keys:
                del self._groups[group]

    def in_group(self, group: Hashable) -> list[K]:
        """Return the keys of everything kept in a group."""
        return list(self._groups.get(group, ()))

    def drop_group(self, group: Hashable, unless: Callable[[V], bool] | None = None) -> None:
        """Forget everything kept in a group. Loads under way are for `doubt`: they do not know their group yet.

        Args:
            unless: whether a value has the change already.
        """
        for key in self.in_group(group):
            if unless is None or not unless(self._held[key]):
                self.drop_kept(key)

    def drop_if(self, matches: Callable[[K], bool]) -> None:
        """Forget all things whose key matches."""
        for key in [key for key in self._held if matches(key)]:
            self.drop_kept(key)
        self.doubt(matches)

    def doubt(self, matches: Callable[[K], bool], unless: Callable[[V], bool] | None = None) -> None:
        """Do loads under way again whose key matches: what they read may have changed.

        Args:
            unless: whether a value that was loaded has the change already.
        """
        for key, flight in self._flights.items():
            if not matches(key):
                continue
            if unless is None:
                flight.stale = True
            elif len(flight.unless) < _MOST_DOUBTS:
                flight.unless.append(unless)
            else:
                flight.stale = True

    async def _fly(self, key: K, flight: _Flight[V], load: Callable[[], Awaitable[V]]) -> V:
        try:
            for _ in range(_TRIES):
                flight.begin()
                value = await load()
                if flight.is_good(value) or value.lags is not None:
                    self.put(key, value)
                    break
            return value
        finally:
            del self._flights[key]

    def _shrink(self) -> None:
        while self.size > self._limit and self._held:
            self.drop_kept(next(iter(self._held)))


def _retrieve(task: asyncio.Task[V]) -> None:
    """Look at a failure that nobody waits for any more, so that it is not reported as lost."""
    if not task.cancelled():
        task.exception()
