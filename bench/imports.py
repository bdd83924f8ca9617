"""Measures the import of a devpi export of small wheels beside a running server: until all is signed and visible."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.countermark import countermark
from bench.errors import NotMeasured
from bench.exporting import write_many
from bench.report import FILES_RATE, MEGABYTES, Figure, Row

_PROGRAM = Path(sys.executable).with_name("countermark-server")

_WANTED = 200.0
"""Files per second."""

_FLAT = 1.25
"""What the memory of an import may grow by with five times the files: their records, never their bytes."""


def measure_imports(files: int, folder: Path) -> Iterator[Row]:
    """Yield the rows about imports: the rate, and the memory beside that of an import of a fifth of the files.

    Args:
        files: of the larger import.
        folder: empty folder for the exports and the server's data.
    """
    data = folder / "countermark"
    exports = [
        write_many(folder / owner, count, owners=(owner,)) for owner, count in (("few", files // 5), ("many", files))
    ]
    with countermark(data):
        _, least = _import(data, exports[0])
        seconds, most = _import(data, exports[1])
    rate = Figure(f"import of {files:,} files, signed and visible", files / seconds, FILES_RATE)
    yield rate.beside("wanted", _WANTED, at_least=1)
    memory = Figure(f"import of {files:,} files: most memory (RSS)", most, MEGABYTES)
    yield memory.beside(f"of {files // 5:,} files", least, at_most=_FLAT)


def _import(data: Path, export: Path) -> tuple[float, float]:
    """Import an export and return the seconds until all is signed, and the most megabytes that the command held."""
    argv = [str(_PROGRAM), "import", "devpi", str(export), "--data", str(data)]
    log = export.with_suffix(".log")
    most, begun = 0, time.perf_counter()
    with log.open("wb") as out, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process:
        while process.poll() is None:
            most = max(most, _most_bytes(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
    said = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode != 0 or "everything is signed" not in said:
        raise NotMeasured(f"the import ended with {process.returncode}: {said.strip()[-600:]}")
    return seconds, most / 1e6


def _most_bytes(pid: int) -> int:
    """Return the most memory that a process held so far, 0 once it has ended.

    The kernel's figure at the end of a child counts what its parent held before the program was loaded.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
