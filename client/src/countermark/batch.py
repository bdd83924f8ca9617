"""Many files at once: each index is refreshed once, pointers come one by one, files side by side.

A failure does not end the others: each file is placed when it alone is proven, and every failure is reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from countermark.choosing import Interpreter, Wanted
from countermark.core.errors import ClientError
from countermark.transport import ByteSource
from countermark.verification import Proven, Verifier, distribution_of

MAX_WORKERS = 32
"""Files that are moved at once, at the most."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What was asked for, or one file of it, and why it was not placed."""

    what: str
    error: ClientError


@dataclass(slots=True)
class Outcome:
    """What was placed, or found to be as signed, in the order that was asked for, and what failed."""

    placed: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The code of the worst failure, which is the highest; 0 without one."""
        return max((failure.error.exit_code for failure in self.failures), default=0)


class Sources:
    """Sources for several threads; each is used by one at a time, and none again that failed.

    Args:
        make: makes another one.
        first: an open one that is idle by now, and that somebody else closes; its connection is used again.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[ByteSource]], first: ByteSource) -> None:
        self._make = make
        self._idle: SimpleQueue[ByteSource] = SimpleQueue()
        self._idle.put(first)
        self._all = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.close()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[ByteSource]:
        """Lend an idle source, or a new one."""
        try:
            source = self._idle.get_nowait()
        except Empty:
            source = self._all.enter_context(self._make())
        yield source
        # Not reached after a failure: a transport whose deadline passed has shut its connections down for good.
        self._idle.put(source)


_Do = Callable[[Proven, ByteSource], Path]


@dataclass(frozen=True, slots=True)
class Batch:
    """Downloads or verifies several things from one repository.

    Attributes:
        verifier: proves each.
        sources: what files are read from.
        workers: files that are read at once.
    """

    verifier: Verifier
    sources: Sources
    workers: int = 4

    def download(self, asked: Sequence[Wanted], dest: Path, interpreter: Interpreter) -> Outcome:
        """Download all that is asked for, as far as it can be proven.

        Args:
            asked: what; the same file asked for twice is placed once.
            dest: the folder to place files in.
            interpreter: what wheels are chosen for.

        Raises:
            ClientError: the metadata of the index could not be proven, so nothing was tried.
        """
        outcome = Outcome()
        proven: dict[str, Proven] = {}
        with self.verifier.metadata() as view:
            for wanted in asked:
                try:
                    found = self.verifier.prove(view, wanted, interpreter)
                except ClientError as error:
                    outcome.failures.append(Failure(str(wanted), error))
                else:
                    proven |= {each.distribution.file_name: each for each in found}
        return self._collect(
            outcome, list(proven.values()), lambda each, source: self.verifier.fetch(each, dest, source)
        )

    def verify(self, files: Sequence[Path]) -> Outcome:
        """Verify local files; `placed` are those that are as signed.

        Args:
            files: each under the name it has in the index; several of one name are each looked at.

        Raises:
            ClientError: the metadata of the index could not be proven, so nothing was tried.
        """
        outcome = Outcome()
        proven: list[tuple[Proven, Path]] = []
        with self.verifier.metadata() as view:
            for file in files:
                try:
                    proven.append((self.verifier.prove_local(view, distribution_of(file)), file))
                except ClientError as error:
                    outcome.failures.append(Failure(str(file), error))
        paths = {id(each): file for each, file in proven}

        def check(each: Proven, source: ByteSource) -> Path:
            self.verifier.check(each, paths[id(each)], source)
            return paths[id(each)]

        return self._collect(outcome, [each for each, _ in proven], check)

    def _collect(self, outcome: Outcome, proven: Sequence[Proven], do: _Do) -> Outcome:
        """Do something for each of what is proven, side by side, and add how it went."""
        pool = ThreadPoolExecutor(max(1, min(self.workers, len(proven), MAX_WORKERS)))
        try:
            for result in pool.map(lambda each: self._tried(each, do), proven):
                if isinstance(result, Failure):
                    outcome.failures.append(result)
                else:
                    outcome.placed.append(result)
        finally:
            # After an interrupt the files that were not begun are left; the ones under way leave nothing behind.
            pool.shutdown(wait=False, cancel_futures=True)
        return outcome

    def _tried(self, proven: Proven, do: _Do) -> Path | Failure:
        try:
            with self.sources.borrow() as source:
                return do(proven, source)
        except ClientError as error:
            return Failure(proven.distribution.file_name, error)
