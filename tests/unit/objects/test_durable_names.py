"""Names made durable: which folders are synced, and how often when many ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.objects.durable_names import DurableNames

ROOT = Path("/store")


def test_folders_are_synced_up_to_what_is_durable() -> None:
    """A new folder's own name is made durable too, once; a folder that was removed is new again."""
    synced: list[Path] = []
    names = DurableNames(ROOT, synced.append)
    names.settle(ROOT / "a/b")
    assert synced == [ROOT / "a/b", ROOT / "a", ROOT]
    synced.clear()
    names.settle(ROOT / "a/b")
    names.settle(ROOT / "a/c")
    assert synced == [ROOT / "a/b", ROOT / "a/c", ROOT / "a"]
    synced.clear()
    names.forget(ROOT / "a/c")
    names.settle(ROOT / "a/c")
    assert synced == [ROOT / "a/c", ROOT / "a"]


def test_a_folder_is_durable_only_when_those_above_it_are() -> None:
    """A try that failed on the way up is made again, whole: its client is told by the next one that all is durable."""
    synced: list[Path] = []
    broken = {ROOT}

    def sync(folder: Path) -> None:
        if folder in broken:
            raise OSError(5, "Input/output error")
        synced.append(folder)

    names = DurableNames(ROOT, sync)
    with pytest.raises(OSError, match="Input/output"):
        names.settle(ROOT / "a/b")
    broken.clear()
    synced.clear()
    names.settle(ROOT / "a/b")
    assert synced == [ROOT / "a/b", ROOT / "a", ROOT]


def test_nobody_is_told_so_while_a_folder_above_is_still_synced() -> None:
    """A second thread in the same new folder waits until the names above it are durable too."""
    begun, go_on = threading.Event(), threading.Event()
    synced: list[Path] = []

    def sync(folder: Path) -> None:
        if folder == ROOT and not begun.is_set():
            begun.set()
            assert go_on.wait(10)
        synced.append(folder)

    names = DurableNames(ROOT, sync)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(names.settle, ROOT / "a/b")
        assert begun.wait(10)
        second = threads.submit(names.settle, ROOT / "a/b")
        with pytest.raises(TimeoutError):
            second.result(0.1)
        go_on.set()
        first.result(10)
        second.result(10)
    assert synced.count(ROOT) == 2


class SlowDisk:
    """Counts syncs; the first one goes on only when it is told to."""

    def __init__(self, fails: Callable[[int], bool] = lambda _number: False) -> None:
        self.syncs = 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._fails = fails

    def sync(self, _folder: Path) -> None:
        """Sync a folder, slowly."""
        self.syncs += 1
        number = self.syncs
        self.begun.set()
        assert self.go_on.wait(10)
        if self._fails(number):
            raise OSError(5, "Input/output error")


def ask(names: DurableNames, disk: SlowDisk, others: int) -> list[BaseException | None]:
    """Let one thread sync a folder, and others ask for it while it does; returns what became of each."""
    with ThreadPoolExecutor(1 + others) as threads:
        first = threads.submit(names.settle, ROOT)
        assert disk.begun.wait(10)
        rest = [threads.submit(names.settle, ROOT) for _ in range(others)]
        while names._wanted[ROOT].asked < 1 + others:
            threading.Event().wait(0.001)
        disk.go_on.set()
        return [done.exception() for done in (first, *rest)]


def test_who_asks_meanwhile_shares_the_next_sync() -> None:
    """A sync under way may have begun too early for them, so there is one more, for all of them."""
    disk = SlowDisk()
    names = DurableNames(ROOT, disk.sync)
    assert ask(names, disk, 7) == [None] * 8
    assert disk.syncs == 2
    assert names._wanted == {}


def test_a_sync_that_failed_served_nobody() -> None:
    """Who relied on it tries by itself: nobody is told that a name is durable when it is not."""
    disk = SlowDisk(fails=lambda number: number <= 2)
    names = DurableNames(ROOT, disk.sync)
    outcomes = ask(names, disk, 3)
    assert isinstance(outcomes[0], OSError)
    assert sum(outcome is not None for outcome in outcomes) == 2
    assert disk.syncs == 3


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """What was named in it was removed with it; without the folder of all, nothing is said to be durable."""
    DurableNames(tmp_path).settle(tmp_path)
    DurableNames(tmp_path).settle(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        DurableNames(tmp_path / "gone").settle(tmp_path / "gone")
