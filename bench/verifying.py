"""Measures `countermark verify` of many files with provenance, offline: from a folder of evidence and a pinned root.

The files, their attestations and the repository are made by what the tests make theirs with: a Sigstore instance and a
repository in memory. What is measured is the client's own command, as a process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured
from bench.report import SECONDS, Figure, Row
from tests.support.builds import Pipeline
from tests.support.simulator import Deployment, RepositorySimulator

LIMIT = 20.0
"""Seconds for 1,000 files on two cores. Source: the work item on provenance, "Speed and memory"."""

_LINEAR = 1.1
"""What all files may take beside as many times a quarter of them."""

_PROGRAM = Path(sys.executable).with_name("countermark")


@dataclass(frozen=True, slots=True)
class _Shop:
    """Where things lie that were made."""

    tree: Path
    root: Path
    files: Sequence[Path]
    evidence: Path
    home: Path


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a run took: seconds on the clock, and of all cores."""

    wall: float
    cpu: float


def measure_verifying(files: int, folder: Path) -> Iterator[Row]:
    """Yield the rows about verifying files offline, each with an attestation that the policy demands.

    Args:
        files: how many; a quarter of them is measured too.
        folder: empty folder for all that is made.
    """
    shop = _made(files, folder)
    quarter, whole = _verify(shop, shop.files[: files // 4]), _verify(shop, shop.files)
    what, share = f"verify {files:,} files offline", files / (files // 4)
    # Its threads take turns, so on a quiet machine the clock shows the CPU time; on a busy one it says little.
    yield Figure(f"{what}, CPU", whole.cpu, SECONDS).within(LIMIT * files / 1000)
    yield Figure(f"{what}, CPU", whole.cpu, SECONDS).beside(
        f"{share:g} times that of {files // 4:,}", share * quarter.cpu, at_most=_LINEAR
    )
    yield Figure(f"{what}, by the clock", whole.wall, SECONDS).beside("its CPU", whole.cpu)


def _made(files: int, folder: Path) -> _Shop:
    pipeline, deployment = Pipeline(), Deployment()
    policy = pipeline.policy("made-*").replace(b"v{version}", b"v1.0")
    deployment.trust_targets |= pipeline.trusted(policy)
    sim = RepositorySimulator("root/many", deployment)
    names = []
    for number in range(files):
        name, content = f"made_{number:05}-1.0-py3-none-any.whl", b"wheel %d\n" % number * 1000
        sim.add_file(name, content, attestation=pipeline.bundle(name, content, "1.0"))
        names.append(name)
    sim.publish()
    tree, root, wanted = sim.write_tree(folder / "tree"), folder / "root.json", folder / "requirements.txt"
    root.write_bytes(deployment.roots[0])
    wanted.write_text("".join(f"made-{number:05}==1.0\n" for number in range(files)), encoding="ascii")
    shop = _Shop(tree, root, [folder / "dest" / name for name in names], folder / "evidence", folder / "home")
    options = ("--repository", str(tree), "--dest", str(folder / "dest"), "--evidence", str(shop.evidence))
    _run(shop, "download", "-r", str(wanted), *options)
    return shop


def _verify(shop: _Shop, files: Sequence[Path]) -> _Taken:
    begun = time.perf_counter()
    said, used = _run(shop, "verify", "--offline", "--evidence", str(shop.evidence), *map(str, files))
    wall = time.perf_counter() - begun
    if len(said.splitlines()) != len(files):
        raise NotMeasured(f"{len(said.splitlines())} of {len(files)} files were proven")
    return _Taken(wall, used.ru_utime + used.ru_stime)


def _run(shop: _Shop, command: str, *arguments: str) -> tuple[str, resource.struct_rusage]:
    """Run the client; return what it printed, and what it used."""
    argv = (str(_PROGRAM), command, *arguments, "--root", str(shop.root), "-q")
    environment = {**os.environ, "COUNTERMARK_HOME": str(shop.home)}
    out, log = shop.root.with_name("out.txt"), shop.root.with_name("log.txt")
    with out.open("wb") as printed, log.open("wb") as told:
        process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise NotMeasured(f"{command} ended with {process.returncode}: {log.read_text()[-600:]}")
    return out.read_text(), used
