"""Measures how long the replacement of an online key takes in a large index, and what clients notice of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.countermark import countermark, registry_of
from bench.errors import NotMeasured
from bench.report import CYCLES, SECONDS, Figure, Row
from bench.running import HOST

FILES = 84_000
"""Files of the index: with pages and `_latest` about 100,000 targets."""

LIMIT = 60.0
"""Seconds that a replacement may take, without the time that is left to clients before the old key ends."""

ENOUGH = 500
"""Client cycles meanwhile that say something."""

_GRACE = 1
_PROGRAM = Path(sys.executable).with_name("countermark-server")
_TARGET = "pointers/synthetic-0000000/_simple.json"


def measure_rotation(files: int, folder: Path) -> Iterator[Row]:
    """Yield the rows about the replacement of each online key, one after the other, under client load.

    Args:
        files: of the index.
        folder: empty folder for the server's data.
    """
    data, stop = folder / "rotation", folder / "stop"
    with countermark(data, "--set", "signing.bin_bits=10") as server:
        index = registry_of(server, data).index
        argv = (sys.executable, "-m", "bench.fill", index.strip("/"), "--data", str(data))
        _done((*argv, "--files", str(files), "--whole-every", "100"))
        url = f"http://{HOST}:{server.port}{index}/+tuf"
        clients = subprocess.Popen(
            (sys.executable, "-m", "bench.cycles", url, _TARGET, str(stop)), stdout=subprocess.PIPE, text=True
        )
        taken = {}
        for role in ("timestamp", "snapshot", "bins"):
            begun = time.perf_counter()
            _done((str(_PROGRAM), "keys", "rotate", role, "--grace", str(_GRACE), "--data", str(data)))
            taken[role] = time.perf_counter() - begun - _GRACE
        stop.touch()
        said, _ = clients.communicate(timeout=120)
    found = json.loads(said)
    for failure in found["failures"]:
        print(f"bench: a client failed: {failure}", file=sys.stderr, flush=True)
    for role, seconds in taken.items():
        yield Figure(f"new key of {role}, index of {files:,} files", seconds, SECONDS).within(LIMIT)
    good = found["cycles"] - len(found["failures"])
    yield Figure("client cycles meanwhile without a failure", good, CYCLES).beside("all", found["cycles"], at_least=1)
    yield Figure("client cycles meanwhile", found["cycles"], CYCLES).beside("enough", ENOUGH, at_least=1)


def _done(argv: tuple[str, ...]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"{' '.join(argv[1:4])} fails: {done.stderr.strip()[-400:]}")
    print(f"bench: {done.stdout.strip()}", file=sys.stderr, flush=True)
