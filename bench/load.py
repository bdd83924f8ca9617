"""Asks a server for one page over kept connections, as fast as it answers: with wrk, or with our own generator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.errors import NotMeasured
from bench.running import HOST

CONNECTIONS = 8
"""Connections that are kept open: enough to keep one core busy, few enough not to hurt servers with a thread each."""

_SCRIPT = Path(__file__).with_name("wrk.lua")
_ROOT = Path(__file__).resolve().parent.parent
_GRACE = 30.0
"""Seconds beyond the asked-for ones after which a generator is given up."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: `body` is what each answer must hold."""

    name: str
    port: int
    path: str
    accept: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of some seconds of requests."""

    requests: int
    seconds: float
    received: int
    faults: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Generator:
    """A load generator, by name and by the command that its arguments are appended to."""

    name: str
    own: bool

    @classmethod
    def choose(cls, *, own: bool) -> Self:
        """Return wrk where it is installed and not unwanted, else our own."""
        own = own or shutil.which("wrk") is None
        return cls("built-in generator" if own else "wrk", own)

    def run(self, target: Target, seconds: int, core: int) -> Burst:
        """Load a server from one core.

        Raises:
            NotMeasured: an answer was not 200 with the whole page, or the generator failed.
        """
        url = f"http://{HOST}:{target.port}{target.path}"
        if self.own:
            argv = [sys.executable, "-m", "bench.generator", url, target.accept, str(seconds), str(CONNECTIONS)]
        else:
            argv = [
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{seconds}s",
                "-s",
                str(_SCRIPT),
                "-H",
                f"Accept: {target.accept}",
                url,
            ]
        # A child inherits the cores of the process that makes it.
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            done = subprocess.run(
                argv, cwd=_ROOT, capture_output=True, text=True, timeout=seconds + _GRACE, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"{self.name} did not end while it asked {target.name}") from None
        finally:
            os.sched_setaffinity(0, before)
        if done.returncode != 0:
            raise NotMeasured(f"{self.name} failed on {target.name}: {done.stderr.strip()[-300:]}")
        burst = Burst(**json.loads(done.stdout.strip().splitlines()[-1]))
        if burst.faults or burst.requests == 0 or burst.received < burst.requests * len(target.body):
            raise NotMeasured(f"{target.name} did not answer all requests with the page: {burst}")
        return burst
