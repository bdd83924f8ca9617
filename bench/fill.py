"""Command `python -m bench.fill OWNER/INDEX --files N`: fills an empty index with N synthetic files within minutes.

For benchmarks and tests of what a large index costs, on a deployment made for them: it is no part of the server, takes
the `development` profile only, and an index that holds nothing. It works beside a running server.

What it makes is what N uploads and their publications leave, 500 files in each: rows of every table (project, release,
file, object, settled outbox, intent, publication, journal, page, published_file, tuf_file, head) by COPY, and metadata
signed with the deployment's keys: every bin, snapshot and timestamp, in the catalogue and in the store, so that any TUF
client goes through and a publication finds all that it reads.

What it leaves out, where `--whole-every` is more than 1: in the object store, the bytes, pointers and page documents of
all projects but every K-th. A million files have five million small objects, and neither a publication nor a client
reads those of a project it does not touch; ask for a file of `synthetic-0000000` or any other multiple of K, and upload
to such a project or to a new one. `countermark-server rebuild` makes the missing pointers and page documents from the
catalogue; the bytes exist nowhere. Static pages are laid by the server when all projects are whole; else they are taken
as laid, and the next publication lays those it touches. Objects in a folder are written without waiting for the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
from pathlib import Path

from bench.filling import Filled, NotFilled, fill
from bench.synthetic import Filling
from countermark.core.names import InvalidName, parse_index_name
from deploy.errors import LaunchError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from deploy.settings_source import Sources, load
from shared.clock import SystemClock
from shared.log import configure_logging
from shared.settings import Settings


def main() -> None:
    """Fill the index that was named; exit code 1 when it cannot be filled, 2 for wrong usage."""
    options = _options()
    configure_logging("console", level="WARNING")
    given = dict(pair.partition("=")[::2] for pair in options.set)
    if options.data is not None:
        given["data"] = str(options.data)
    try:
        index = parse_index_name(options.index)
        projects = options.projects or max(1, options.files // 10)
        filling = Filling(index, options.files, projects, options.whole_every)
        settings = beside_server(load(Sources(given, os.environ, options.config)).settings)
        sys.stderr.write(
            f"bench.fill: filling {index} with {options.files:,} SYNTHETIC files in {projects:,} projects; bytes of "
            f"{'all of them' if options.whole_every == 1 else f'every {options.whole_every}th project'} are stored\n"
        )
        done = asyncio.run(_fill(settings, filling))
    except (InvalidName, ValueError) as error:
        sys.exit(f"bench.fill: {error}")
    except (NotFilled, LaunchError) as error:
        sys.stderr.write(f"bench.fill: {error}\n")
        sys.exit(1)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    print(
        f"{done.files:,} files: rows in {done.rows_seconds:.1f} s, {done.targets:,} targets in {done.bins:,} bins "
        f"signed in {done.signing_seconds:.1f} s; {cpu:.1f} s of CPU here, {most} MB at the most"
    )


async def _fill(settings: Settings, filling: Filling) -> Filled:
    async with open_resources(settings, SystemClock()) as resources:
        return await fill(resources, filling)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description="Fill an empty index for a benchmark.")
    parser.add_argument("index", metavar="OWNER/INDEX")
    parser.add_argument("--files", type=int, required=True, help="files in all")
    parser.add_argument("--projects", type=int, help="projects they are spread over (default: a tenth of the files)")
    parser.add_argument(
        "--whole-every",
        type=int,
        default=1,
        metavar="K",
        help="store the bytes, pointers and pages of every K-th project only (default: of all)",
    )
    parser.add_argument("--data", type=Path, help="data folder of the deployment")
    parser.add_argument("--config", type=Path, help="its TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; can be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    main()
