"""Asks a server for one page over kept connections, as fast as it answers: with wrk, or with our own generator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.errors import NotMeasured
from bench.running import HOST

CONNECTIONS = 8
"""Connections that are kept open: enough to keep one core busy, few enough not to hurt servers with a thread each."""

_SCRIPT = Path(__file__).with_name("wrk.lua")
_ROOT = Path(__file__).resolve().parent.parent
HEAD_LIMIT = 4096
"""Bytes that the headers of an answer may take."""

_GRACE = 30.0
"""Seconds beyond the asked-for ones after which a generator is given up."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for, and what each answer must be: its status, and at least the bytes of its body.

    Headers of an answer may take `HEAD_LIMIT` bytes: an answer that is much longer than the body is another one.
    """

    name: str
    port: int
    path: str
    headers: Mapping[str, str]
    length: int
    status: int = 200
    connections: int = CONNECTIONS


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of some seconds of requests; `p99` in milliseconds, from sending a request to the end of its answer."""

    requests: int
    seconds: float
    received: int
    faults: int
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def megabytes(self) -> float:
        """Megabytes (10^6 bytes) received per second."""
        return self.received / self.seconds / 1e6


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
            NotMeasured: an answer was not the expected one, or the generator failed.
        """
        url = f"http://{HOST}:{target.port}{target.path}"
        headers = [f"{name}: {value}" for name, value in target.headers.items()]
        if self.own:
            argv = [sys.executable, "-m", "bench.generator", url, str(target.status), str(seconds)]
            argv += [str(target.connections), *headers]
        else:
            argv = ["wrk", "-t1", f"-c{target.connections}", f"-d{seconds}s", "-s", str(_SCRIPT)]
            argv += [part for header in headers for part in ("-H", header)]
            argv.append(url)
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
        most = target.length + HEAD_LIMIT
        # What is under way when the time is up is received and not counted.
        whole = target.length <= burst.received / max(burst.requests, 1)
        short = burst.received <= (burst.requests + target.connections) * most
        if burst.faults or burst.requests == 0 or not whole or not short:
            raise NotMeasured(f"{target.name} did not answer all requests with the page: {burst}")
        return burst
