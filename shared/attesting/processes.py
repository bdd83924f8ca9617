"""Processes that verify attestations: started when asked, kept warm while they are used, ended when nobody asks.

What verifies takes 0.4 s and some 70 MB to load: no service is to have that all the time, and none is to load it for
each file. So a process stays for a minute after its last answer. It is asked one thing at a time; whoever gives up on
an answer ends it. A second one starts only when the first is busy for long. Answers are remembered by all that was
asked, since the next to ask (signing after upload, a second reader) mostly asks the same.
Source: ADR 0031; ADR 0037.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import orjson
import structlog

from countermark.core.digest import Sha256
from shared.attesting.frames import LENGTH, MAX_ANSWER, MAX_QUESTION
from shared.attesting.questions import Question, encoded, weight_of
from shared.errors import ErrorKind, ServiceError
from shared.threads import sized

log = structlog.get_logger()

AT_ONCE = 2
"""Processes that verify."""

IDLE = 60.0
"""Seconds without a question after which a process ends."""

MOST_QUESTIONS = 2000
"""Questions after which a process is replaced by a fresh one, whatever its libraries have gathered."""

_PATIENCE = 0.3
"""Seconds for which a question waits for a busy process before another one is started."""

_WAITING = 128
"""Questions that are being answered, or wait for that: as many as a build farm asks while the first process starts."""

_WAITING_BYTES = 64 << 20
"""Bytes of these questions; most have some 50,000."""

_REMEMBERED, _LARGEST = 256, 32 << 10
"""Answers that are remembered, and bytes of the largest of them; most have some 5,000."""

_PIECE = 64 << 10
"""Bytes that are taken from a pipe at once: the loop has other things to do in between."""

_RETRY_AFTER = timedelta(seconds=5)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""All that a process is told of ours: secrets of settings are in the environment too."""


class _Died(Exception):
    """The process ended, or said what is no answer; holds the last it wrote on standard error."""


class _Worker:
    """One process, asked by one at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._last = b""
        self._reading = asyncio.create_task(self._read_errors())
        self.asked = 0
        self.ending: asyncio.TimerHandle | None = None

    @classmethod
    async def started(cls) -> _Worker:
        pipe = asyncio.subprocess.PIPE
        # Isolated: nothing of the folder that the server was started in, nor of the account's own packages.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "shared.attesting.program"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=_ENVIRONMENT,
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Question) -> bytes:
        """Return the answer.

        Raises:
            _Died: there is none.
        """
        writing, reading = self._process.stdin, self._process.stdout
        assert writing is not None
        assert reading is not None
        self.asked += 1
        try:
            writing.write(LENGTH.pack(question.length))
            for piece in question.pieces:
                writing.write(piece)
                await writing.drain()
            length = LENGTH.unpack(await reading.readexactly(LENGTH.size))[0]
            if length > MAX_ANSWER:
                raise _Died(f"it announces an answer of {length} bytes")
            left = range(length, 0, -_PIECE)
            pieces = [await reading.readexactly(min(most, _PIECE)) for most in left]
            return await sized(length, b"".join, pieces)
        except (asyncio.IncompleteReadError, OSError) as error:
            status = await self._process.wait()
            await self._reading
            raise _Died(f"status {status}: {self._last.decode(errors='replace').strip()}") from error

    async def end(self) -> None:
        """End it, whatever it does."""
        if self.ending is not None:
            self.ending.cancel()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read_errors(self) -> None:
        """Keep the end of what it writes on standard error, so that it never waits for a reader."""
        errors = self._process.stderr
        assert errors is not None
        while chunk := await errors.read(4096):
            self._last = (self._last + chunk)[-500:]


class Verifying:
    """The verifying processes of this process, shared by all services in it; none is started before it is needed."""

    def __init__(self, idle: float = IDLE, most: int = MOST_QUESTIONS) -> None:
        """Args: idle: seconds without a question after which a process ends; most: questions of one process."""
        self._idle_for = idle
        self._most = most
        self._idle: list[_Worker] = []
        self._free = asyncio.Condition()
        self._running = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._answers: OrderedDict[Sha256, bytes] = OrderedDict()
        self._ends: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ask(self, question: Mapping[str, Any], about: str, seconds: float) -> Any:
        """Return the answer to a question, as `shared.attesting.worker` has it.

        Args:
            question: JSON, but that bytes in it are left to be written in base64 here: there may be many of them.
            about: the file, for messages.
            seconds: that the answer may take, from when a process has the question.

        Raises:
            ServiceError: UNAVAILABLE, it took too long, too many wait, or no process could answer; TOO_LARGE, a process
                takes no such question.
        """
        weight = weight_of(question)
        with self._admitted(weight):
            asked = await sized(weight, encoded, question)
            if asked.length > MAX_QUESTION:
                words = f"What is to be verified with {about} has more than {MAX_QUESTION} bytes"
                raise ServiceError(ErrorKind.TOO_LARGE, f"{words}: bring fewer attestations.")
            said = self._answers.get(asked.sha256) or await self._in_turn(asked, about, seconds)
        self._remember(asked.sha256, said)
        return await sized(len(said), orjson.loads, said)

    async def __aenter__(self) -> Verifying:
        """Return itself."""
        self._closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """End all processes that nobody asks; those that still answer end behind their answer."""
        self._closed = True
        idle, self._idle = self._idle, []
        self._running -= len(idle)
        for worker in idle:
            await worker.end()
        await asyncio.gather(*self._ends)

    @contextmanager
    def _admitted(self, weight: int) -> Iterator[None]:
        """Count a question among those that wait or are answered.

        Raises:
            ServiceError: UNAVAILABLE; there are too many.
        """
        if self._waiting >= _WAITING or self._waiting_bytes + weight > _WAITING_BYTES:
            raise _unavailable("Too much is being verified right now; try again in a few seconds.")
        self._waiting += 1
        self._waiting_bytes += weight
        try:
            yield
        finally:
            self._waiting -= 1
            self._waiting_bytes -= weight

    async def _in_turn(self, asked: Question, about: str, seconds: float) -> bytes:
        for last in (False, True):
            async with self._worker() as worker:
                # Whoever asked the same before may have the answer by now.
                if (said := self._answers.get(asked.sha256)) is not None:
                    return said
                fresh = worker.asked == 0
                try:
                    async with asyncio.timeout(seconds):
                        return await worker.ask(asked)
                except _Died as error:
                    await worker.end()
                    log.warning("verifying_process_died", file=about, fresh=fresh, error=str(error))
                    if last or fresh:
                        break
                except TimeoutError as error:
                    log.warning("attestations_slow", file=about, seconds=seconds)
                    words = f"The attestations of {about} could not be verified in {seconds:g} seconds."
                    raise _unavailable(words) from error
        raise _unavailable(f"The attestations of {about} could not be verified; the server's log says why.")

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[_Worker]:
        """Give a process to ask; one whose answer was not waited for is ended."""
        worker = await self._taken()
        kept = False
        try:
            yield worker
            kept = worker.alive and worker.asked < self._most and not self._closed
        finally:
            if kept:
                self._idle.append(worker)
                worker.ending = asyncio.get_running_loop().call_later(self._idle_for, self._expire, worker)
            else:
                self._running -= 1
                await worker.end()
            async with self._free:
                self._free.notify_all()

    async def _taken(self) -> _Worker:
        """Return a process that is free, the warmest one first, or a new one."""
        while True:
            while self._idle:
                worker = self._idle.pop()
                assert worker.ending is not None
                worker.ending.cancel()
                if worker.alive:
                    return worker
                self._running -= 1
                await worker.end()
            # The first is waited for a little before there is a second.
            if self._running == 0 or (self._running < AT_ONCE and not await self._freed(1, _PATIENCE)):
                if self._running < AT_ONCE:
                    return await self._started()
            else:
                await self._freed(AT_ONCE, None)

    async def _started(self) -> _Worker:
        self._running += 1
        try:
            return await _Worker.started()
        except BaseException:
            self._running -= 1
            raise

    async def _freed(self, most: int, seconds: float | None) -> bool:
        """Return whether a process is free, or fewer than some run, within some seconds."""
        try:
            async with asyncio.timeout(seconds), self._free:
                await self._free.wait_for(lambda: bool(self._idle) or self._running < most)
        except TimeoutError:
            return False
        return True

    def _expire(self, worker: _Worker) -> None:
        """End a process that nobody asked for a while."""
        if worker in self._idle:
            self._idle.remove(worker)
            self._running -= 1
            ending = asyncio.get_running_loop().create_task(worker.end())
            self._ends.add(ending)
            ending.add_done_callback(self._ends.discard)

    def _remember(self, key: Sha256, said: bytes) -> None:
        if len(said) > _LARGEST:
            return
        self._answers[key] = said
        self._answers.move_to_end(key)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)


def _unavailable(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=_RETRY_AFTER)
