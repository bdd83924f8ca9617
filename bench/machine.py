"""Reads from the kernel what processes use, and pins them to cores. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured

_PROC = Path("/proc")

_TICKS = os.sysconf("SC_CLK_TCK")
"""The kernel's clock ticks per second."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the measured server and the load generator run; the same core where there is only one."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether the two take each other's time, which makes the requests per second worthless."""
        return self.server == self.load


def choose_cores() -> Cores:
    """Return the first and the last core that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[0], load=allowed[-1])


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat_fields(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def alive(pids: Iterable[int]) -> list[int]:
    """Return the processes that still run; those that ended and wait for their parent do not."""
    running = []
    for pid in pids:
        with suppress(OSError):
            if _stat_fields(pid)[0] != "Z":
                running.append(pid)
    return running


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds, in user and system mode, of processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(int(field) for field in _stat_fields(pid)[11:15])
    return ticks / _TICKS


def busy_seconds() -> float:
    """Return the CPU seconds that all cores together have been busy since the machine started."""
    fields = [int(field) for field in (_PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = fields
    return (user + nice + system + interrupts + soft + stolen) / _TICKS


def proportional_bytes(pids: Iterable[int]) -> int:
    """Return the proportional set size of processes: what they share is counted once.

    Raises:
        NotMeasured: the memory of one may not be read.
    """
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as error:
            raise NotMeasured(f"the memory of process {pid} cannot be read: {error.strerror}") from error
        total += next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def resident_bytes(pids: Iterable[int], field: str) -> dict[int, int]:
    """Return a memory figure of processes: `VmRSS`, what they hold now, or `VmHWM`, the most they held."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            lines = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines()
            found[pid] = next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
    return found


def forget_most(pids: Iterable[int]) -> None:
    """Let processes' `VmHWM` begin anew from what they hold now (proc(5), clear_refs)."""
    for pid in pids:
        with suppress(OSError):
            (_PROC / str(pid) / "clear_refs").write_text("5", encoding="ascii")


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Let processes, with all threads they have now, run on these cores only."""
    allowed = set(cores)
    for pid in pids:
        with suppress(OSError):
            for thread in (_PROC / str(pid) / "task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), allowed)


def _stat_fields(pid: int) -> list[str]:
    """Return what follows the name in /proc/PID/stat: state, parent and so on (field 3 of proc(5) is the first)."""
    return (_PROC / str(pid) / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
