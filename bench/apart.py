"""Measures what each process of the real profile holds when it idles."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.countermark import countermark
from bench.machine import proportional_bytes
from bench.report import MEGABYTES, Figure, Row
from bench.running import Command, free_port, running
from deploy.data_folder import DataFolder

_PROGRAM = Path(sys.executable).with_name("countermark-server")

_PROCESSES = ("gateway", "upload", "signing", "index", "download", "worker")

EACH = 120.0
"""Megabytes (10^6 bytes) that one process may hold."""


def measure_processes(seconds: float, folder: Path) -> Iterator[Row]:
    """Yield a row for each process: its proportional set size, some idle seconds on.

    They run on the Postgres, Valkey and folder of an embedded deployment.

    Args:
        seconds: how long to leave them idle.
        folder: empty folder for the data.
    """
    data = folder / "countermark"
    with countermark(data), ExitStack() as stack:
        servers = DataFolder(data).running()
        upstreams = {name: free_port() for name in ("upload", "index", "download")}
        settings = {
            "data": str(data),
            "database.url": servers.database,
            "queue.url": servers.queue,
            "listen.api_port": str(free_port()),
            "listen.ui_port": str(free_port()),
            **{f"upstreams.{name}": f"http://127.0.0.1:{port}" for name, port in upstreams.items()},
        }
        found = {}
        # The gateway last: it is ready when the others are.
        for name in reversed(_PROCESSES):
            port = int(settings["listen.api_port"]) if name == "gateway" else upstreams.get(name) or free_port()
            given = settings | {"listen.service_port": str(port)}
            options = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
            argv = (str(_PROGRAM), name, *options)
            found[name] = stack.enter_context(running(Command(name, argv, folder / f"{name}.log", port, "/readyz"))).pid
        time.sleep(seconds)
        for name in _PROCESSES:
            held = proportional_bytes([found[name]]) / 1e6
            yield Figure(f"memory (PSS) of {name} alone, idle", held, MEGABYTES).within(EACH)
