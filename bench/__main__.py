"""Command `python -m bench`: measures everything in one run and prints one table.

It ends with 0 whatever the verdicts are, and with 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import devpi, nginx
from bench.apart import measure_ingress, measure_processes
from bench.attesting import measure_attestations
from bench.beside import measure_devpi
from bench.bins import measure_bins
from bench.crowds import measure_crowds
from bench.errors import NotMeasured
from bench.growth import measure_growth
from bench.imports import measure_imports
from bench.install import measure_install
from bench.keys import measure_keys
from bench.large import measure_large
from bench.load import CONNECTIONS, Generator
from bench.loads import Plan
from bench.machine import Cores, choose_cores
from bench.mirrors import measure_mirrors
from bench.pages import measure_pages
from bench.report import Row, table
from bench.roots import measure_roots
from bench.rotation import FILES, measure_rotation
from bench.s3 import measure_s3
from bench.scale import measure_scale
from bench.starts import measure_memory, measure_starts
from bench.uploads import measure_uploads
from bench.verifying import measure_verifying

_PARTS = (
    "start", "memory", "processes", "uploads", "crowds", "large", "s3", "import", "install", "pages", "ingress",
    "roots", "growth", "scale", "devpi", "mirrors", "bins", "rotation", "keys", "verify", "attestations",
)  # fmt: skip
_LOADED = {"pages", "ingress", "roots", "growth", "large", "devpi", "mirrors"}
"""Parts that load servers with reads."""


def main() -> None:
    """Run what was asked for, print the table and the notes to it."""
    if platform.system() != "Linux":
        print("bench: it reads /proc and pins processes to cores, so it runs on Linux only", file=sys.stderr)
        sys.exit(1)
    options = _options()
    # Told to end, it ends as by Ctrl-C: with all servers it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    generator, cores = Generator.choose(own=options.own_generator), choose_cores()
    notes = _notes(generator, cores) if _LOADED & set(options.only) else []
    rows: list[Row] = []
    faults: list[str] = []
    for name, measure in _measurements(options, generator, cores, notes):
        print(f"bench: measuring {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="cm-bench-", ignore_cleanup_errors=True) as folder:
            try:
                rows.extend(measure(Path(folder)))
            except (NotMeasured, OSError) as fault:
                faults.append(f"{name}: not measured: {fault}")
                print(f"bench: {faults[-1]}", file=sys.stderr, flush=True)
    print(table(rows))
    print("".join(f"\n- {line}" for line in (*notes, *faults)))
    sys.exit(1 if faults else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed and memory beside peers.")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, help="parts to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="undisturbed rounds of each load (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of one load (default: %(default)s)")
    parser.add_argument("--uploads", type=int, default=40, help="measured uploads (default: %(default)s)")
    parser.add_argument("--crowd", type=int, default=128, help="uploads of a round of crowds (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the large upload (default: %(default)s)")
    parser.add_argument("--s3-megabytes", type=int, default=2000, help="size of the S3 upload (default: %(default)s)")
    parser.add_argument("--imported", type=int, default=5_000, help="files of the import (default: %(default)s)")
    parser.add_argument("--projects", type=int, default=10_000, help="projects of roots (default: %(default)s)")
    parser.add_argument("--files", type=int, default=10_000, help="files of growth's project (default: %(default)s)")
    parser.add_argument("--releases", type=int, default=5_000, help="releases of devpi's list (default: %(default)s)")
    parser.add_argument(
        "--mirrored", type=int, default=2_000, help="projects of mirrors' memory (default: 2000; all of it: 100000)"
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[1_000, 100_000],
        help="files of scale's catalogues (default: 1000 100000; all of it: 1000 100000 1000000)",
    )
    parser.add_argument(
        "--targets",
        type=int,
        nargs="+",
        default=[1_000, 100_000],
        help="targets of the repositories of bins (default: 1000 100000; all of it: 1000 100000 1000000)",
    )
    parser.add_argument("--rotated", type=int, default=FILES, help="files of rotation's index (default: %(default)s)")
    parser.add_argument("--verified", type=int, default=1_000, help="files of verify (default: %(default)s)")
    parser.add_argument(
        "--at-once", type=int, default=1_000, help="uploads sent at once in scale (default: %(default)s)"
    )
    parser.add_argument("--filled", type=Path, help="folder in which scale finds and leaves its filled catalogues")
    parser.add_argument(
        "--idle", type=float, default=60, help="idle seconds before memory is read (default: %(default)s)"
    )
    parser.add_argument("--starts", type=int, default=3, help="first and later starts (default: %(default)s)")
    parser.add_argument("--own-generator", action="store_true", help="use the built-in load generator, not wrk")
    cache = Path.home() / ".cache" / "countermark-bench"
    parser.add_argument(
        "--cache", type=Path, default=cache, help="folder of the peers' environment and data (default: %(default)s)"
    )
    return parser.parse_args()


def _notes(generator: Generator, cores: Cores) -> list[str]:
    """Return how the figures of the page were made, and which are worth less than they look."""
    conditions = (
        f"reads: {generator.name}, {CONNECTIONS} kept connections, bodies not compressed unless said",
        "medians of interleaved rounds, disturbed ones left out",
        f"servers on core {cores.server}, load on core {cores.load}, CPU of the whole process tree",
    )
    notes = ["; ".join(conditions)]
    if cores.shared:
        notes.append(
            "this process may use one core only: server and load share it, requests/s say little, CPU times hold"
        )
    if generator.own:
        notes.append(
            "the built-in generator may be slower than a server, which makes its ratios too small (install wrk)"
        )
    if nginx.program() is None:
        notes.append("nginx is not installed, so its rows are left out (install nginx)")
    return notes


def _measurements(
    options: argparse.Namespace, generator: Generator, cores: Cores, notes: list[str]
) -> Iterator[tuple[str, Callable[[Path], Iterator[Row]]]]:
    """Yield name and function of each part that was asked for; a function takes an empty folder."""

    def programs() -> Path:
        return devpi.environment(options.cache)

    def plan() -> Plan:
        return Plan(generator, cores, programs(), nginx.program(), options.rounds, options.seconds)

    parts: dict[str, Callable[[Path], Iterator[Row]]] = {
        "start": partial(measure_starts, options.starts),
        "memory": partial(measure_memory, options.idle),
        "processes": partial(measure_processes, options.idle),
        "uploads": lambda folder: measure_uploads(options.uploads, programs(), folder),
        "crowds": lambda folder: measure_crowds(options.crowd, programs(), folder),
        "large": lambda folder: measure_large(plan(), options.megabytes, folder, notes),
        "s3": lambda folder: measure_s3(options.s3_megabytes, programs(), folder),
        "import": partial(measure_imports, options.imported),
        "install": lambda folder: measure_install(programs(), nginx.program(), folder),
        "pages": lambda folder: measure_pages(plan(), folder, notes),
        "ingress": lambda folder: measure_ingress(plan(), folder, notes),
        "roots": lambda folder: measure_roots(plan(), options.projects, options.cache, folder, notes),
        "growth": lambda folder: measure_growth(plan(), options.files, folder, notes),
        "devpi": lambda folder: measure_devpi(plan(), options.releases, options.cache, folder, notes),
        "mirrors": lambda folder: measure_mirrors(plan(), options.mirrored, folder, notes),
        "bins": partial(measure_bins, options.targets),
        "rotation": partial(measure_rotation, options.rotated),
        "keys": partial(measure_keys, 100, 30_000, 5),
        "verify": partial(measure_verifying, options.verified),
        "attestations": partial(measure_attestations, options.uploads),
        "scale": lambda folder: measure_scale(options.sizes, options.uploads, options.at_once, folder, options.filled),
    }
    yield from ((name, measure) for name, measure in parts.items() if name in options.only)


if __name__ == "__main__":
    main()
