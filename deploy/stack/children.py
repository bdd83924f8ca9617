"""A program that is kept running: started, waited for until it answers, ended in order, started again when it fell."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import httpx2

from deploy.errors import LaunchError
from deploy.processes import Server, ServerCommand, end_orphan, last_line, start_server

Answers = Callable[[], Awaitable[str | None]]
"""Returns None when the program can be used, else why not, in a few words."""

_ANSWER = 5.0
"""Seconds for one answer."""


async def http_answer(url: str, trusted: ssl.SSLContext | None = None) -> str | None:
    """Return None when a URL answers 200, else why not, in a few words.

    Args:
        trusted: the authorities of an https URL; None for http.
    """
    try:
        async with httpx2.AsyncClient(verify=trusted or False, trust_env=False, timeout=_ANSWER) as client:
            answer = await client.get(url)
    except httpx2.TransportError as error:
        return str(error) or type(error).__name__
    return None if answer.status_code == httpx2.codes.OK else f"{answer.status_code} {answer.text[:300].strip()}"


class Child(Protocol):
    """What all servers of the real profile have in common; those of `deploy` too."""

    @property
    def pid(self) -> int:
        """Process id of the running server."""

    async def start(self) -> None:
        """Start it; returns when it can be used."""

    async def wait(self) -> None:
        """Return never, while it runs; raises when it ended."""

    async def stop(self) -> None:
        """End it in order."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How much time a program gets: seconds until it answers, and seconds after a signal until it is killed."""

    ready: float = 60.0
    signal: signal.Signals = signal.SIGTERM
    end: float = 5.0


class ProgramChild:
    """A program with a folder of its own, in which it runs and leaves its process id.

    Args:
        command: how it is started; its working folder is set here.
        folder: made when absent.
        answers: asked again and again after a start.
    """

    def __init__(self, command: ServerCommand, folder: Path, answers: Answers, terms: Terms = Terms()) -> None:
        self._command = replace(command, folder=folder)
        self._folder = folder
        self._pid_file = folder / "pid"
        self._answers = answers
        self._terms = terms
        self._server: Server | None = None

    @property
    def name(self) -> str:
        """Its name for people."""
        return self._command.name

    @property
    def log(self) -> Path:
        """File with what it wrote."""
        return self._command.log

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        return self._running.pid

    async def start(self) -> None:
        """Start it, after ending what a killed run left; returns when it answers.

        Raises:
            LaunchError: it ended, or did not answer in time; says why.
        """
        await self.begin()
        await self.until_ready()

    async def begin(self) -> None:
        """Start it without waiting; for several at once."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        await end_orphan(self._pid_file, self._folder, (self._terms.signal, self._terms.end))
        self._server = await start_server(self._command)
        await asyncio.to_thread(self._pid_file.write_text, f"{self._server.pid}\n", encoding="ascii")

    async def until_ready(self) -> None:
        """Return when it answers.

        Raises:
            LaunchError: it ended, or did not answer in time; says why.
        """
        server, until = self._running, asyncio.get_running_loop().time() + self._terms.ready
        while (reason := await self._answers()) is not None:
            if server.ended:
                raise server.failure()
            if asyncio.get_running_loop().time() > until:
                said = f"{self.name} is not ready after {self._terms.ready:.0f} seconds: {reason}"
                raise LaunchError(f"{said}; it said: {last_line(self.log)} (log: {self.log})")
            await asyncio.sleep(0.1)

    async def wait(self) -> None:
        """Return never, while it runs.

        Raises:
            LaunchError: it ended by itself.
        """
        server = self._running
        await server.wait()
        server.end_remains()
        raise server.failure()

    async def stop(self) -> None:
        """End it in order. Nothing happens when it does not run."""
        if self._server is not None:
            await self._server.stop((self._terms.signal, self._terms.end))
            self._server = None
            self._pid_file.unlink(missing_ok=True)

    @property
    def _running(self) -> Server:
        assert self._server is not None, "start it first"
        return self._server
