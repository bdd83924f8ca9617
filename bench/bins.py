"""Measures how long signing takes with many targets, beside the cells of trust contract section 1.5.

Each publish is stateless, as there: it reads the bins it touches and the snapshot from a folder, sets its targets,
signs and checks every file, and writes them. The signing is the publisher's own
(`services.signing.publication.signatures`).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from tuf.api.metadata import Metadata, SuccinctRoles

from bench.errors import NotMeasured
from bench.report import KILOBYTES, MILLISECONDS, SECONDS, Figure, Row
from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, TargetPath
from services.signing.keys.signers import Signers, by_role, generate_key
from services.signing.publication.rules import group_by_bin
from services.signing.publication.signatures import SignedFile, SigningRequest, sign_batch, sign_bins
from shared.catalogue.publication_rows import CurrentFile
from shared.catalogue.trust import StoredTrustFile
from shared.trust.metadata import (
    Entries,
    TargetEntry,
    read_bin,
    registry_metadata,
    root_metadata,
    set_target,
    succinct_roles_of,
    targets_metadata,
    trust_metadata,
)
from shared.trust.roles import PROFILES, SHARED, Role

MOST = 1.5
"""How many times a cell of the contract's tables a figure may be."""

CLIENT = 1.0
"""CPU seconds of a cold client for one target of a million at the most."""

_ONE = {
    (1_000, 8): (2.5, 9), (1_000, 10): (5, 31), (1_000, 12): (15, 120),
    (100_000, 8): (15, 80), (100_000, 10): (6, 49), (100_000, 12): (36, 125),
    (1_000_000, 8): (32, 730), (1_000_000, 10): (13, 205), (1_000_000, 12): (19, 165),
}  # fmt: skip
"""(targets, bits) -> milliseconds and kB written by a publish of one target."""

_BATCH = {
    (100_000, 10): {1: (10, 48), 100: (171, 18), 1_000: (1_600, 12)},
    (1_000_000, 10): {1: (88, 206), 100: (2_400, 174), 1_000: (19_000, 117)},
    (1_000_000, 12): {1: (71, 162), 100: (900, 47), 1_000: (5_600, 41)},
}
"""(targets, bits) -> batch -> milliseconds, and kB written for each target."""

_TIMES = {1: 15, 100: 5, 1_000: 3}
_INDEX = IndexName("bench", "stable")
_FAR = datetime(2100, 1, 1, tzinfo=UTC)

_CLIENT = """
import sys, resource
from tuf.ngclient import Updater
folder, cache, path = sys.argv[1:]
updater = Updater(cache, f"file://{folder}", bootstrap=open(f"{folder}/1.root.json", "rb").read(), fetcher=FETCHER)
assert updater.get_targetinfo(path) is not None
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""
_FETCHER = """
from tuf.ngclient import FetcherInterface
from tuf.api.exceptions import DownloadHTTPError
class Files(FetcherInterface):
    def _fetch(self, url):
        try:
            yield open(url.removeprefix("file://"), "rb").read()
        except FileNotFoundError as error:
            raise DownloadHTTPError(url, 404) from error
FETCHER = Files()
"""


def measure_bins(targets: Sequence[int], folder: Path) -> Iterator[Row]:
    """Yield the rows about publishing in repositories of so many targets.

    Args:
        targets: of those in the contract's tables, the sizes to measure.
        folder: empty folder for keys and metadata.
    """
    for size in targets:
        for bits in (8, 10, 12):
            if (size, bits) not in _ONE:
                raise NotMeasured(f"the contract has no cell of {size} targets")
            repository = _Repository(folder / f"{size}-{bits}", bits)
            repository.lay(size)
            name = f"{size:,} targets, {1 << bits} bins"
            yield from _beside(f"{name}: publish of one", repository.publish_often(1), _ONE[size, bits], 1)
            for count, cell in _BATCH.get((size, bits), {}).items():
                yield from _beside(f"{name}: batch of {count:,}", repository.publish_often(count), cell, count)
            if (size, bits) == (1_000_000, 12):
                seconds = repository.cold_client(folder / "client")
                yield Figure(f"{name}: a cold client of one target, CPU", seconds, SECONDS).within(CLIENT)
            repository.remove()


def _beside(name: str, found: tuple[float, float], cell: tuple[float, float], count: int) -> Iterator[Row]:
    milliseconds, written = found
    yield Figure(f"{name}: time", milliseconds, MILLISECONDS).beside("contract", cell[0], at_most=MOST)
    each = f"{name}: written" + (" for each" if count > 1 else "")
    yield Figure(each, written / count, KILOBYTES).beside("contract", cell[1], at_most=MOST)


@dataclass
class _Repository:
    """A repository of made-up targets in a folder, with all keys at hand."""

    folder: Path
    bits: int
    _version: int = 1
    _number: int = 0
    _snapshot: int = 0
    _shared: dict[str, StoredTrustFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make keys and the four offline files."""
        profile, keys = PROFILES["development"], self.folder / "keys"
        handles = [generate_key(keys, role) for role, spec in profile.roles.items() for _ in range(spec.keys)]
        self._signers = Signers(handles, keys)
        public = by_role(handles)
        unsigned: dict[Role, Metadata[Any]] = {
            Role.ROOT: root_metadata(profile, public, 1, _FAR),
            Role.TARGETS: targets_metadata(profile, public, 1, _FAR),
            Role.TRUST: trust_metadata(1, _FAR),
            Role.REGISTRY: registry_metadata(public, self.bits, 1, _FAR),
        }
        for role in SHARED:
            content = self._signers.sign(role, unsigned[role], profile.roles[role].threshold)
            self._shared[role.value] = StoredTrustFile(role.value, 1, _FAR, content)
            (self.folder / f"1.{role.value}.json").write_bytes(content)
        self._bins: SuccinctRoles = succinct_roles_of(self._shared["registry"].content)
        self._names = tuple(self._bins.get_roles())

    def lay(self, size: int) -> None:
        """Fill the bins, and sign them all with a first snapshot and timestamp."""
        paths: dict[str, list[TargetEntry]] = defaultdict(list)
        for _ in range(size):
            entry = self._target()
            paths[self._bins.get_role_for_target(entry.path)].append(entry)
        request = self._request({}, {}, {})
        for name in self._names:
            entries: Entries = {}
            for entry in paths.pop(name, ()):
                set_target(entries, entry)
            self._write(sign_bins(self._signers, request, {name: entries}))
        current = {name: CurrentFile(name, 1, _FAR) for name in self._names}
        signed = sign_batch(self._signers, self._request(current, {}, {}))
        self._snapshot = signed.snapshot.version
        self._write([*signed.files, signed.timestamp])

    def publish_often(self, count: int) -> tuple[float, float]:
        """Return the median milliseconds and kB of publishes of so many new targets; the first one warms up."""
        found = [self._publish(count) for _ in range(_TIMES[count] + 1)][1:]
        return statistics.median(ms for ms, _ in found), statistics.median(kilobytes for _, kilobytes in found)

    def cold_client(self, cache: Path) -> float:
        """Return the CPU seconds of a process that finds one target with the stock TUF client and an empty cache.

        Raises:
            NotMeasured: it does not find it.
        """
        cache.mkdir()
        program = _FETCHER + _CLIENT
        command = [sys.executable, "-c", program, str(self.folder), str(cache), self._path(0)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise NotMeasured(f"the stock client fails: {done.stderr[-300:]}")
        return float(done.stdout)

    def remove(self) -> None:
        """Remove its metadata, which may be hundreds of megabytes."""
        for path in self.folder.glob("*.json"):
            path.unlink()

    def _publish(self, count: int) -> tuple[float, float]:
        new = [self._target() for _ in range(count)]
        begun = time.perf_counter()
        meta = orjson.loads((self.folder / f"{self._snapshot}.snapshot.json").read_bytes())["signed"]["meta"]
        current = {name: CurrentFile(name, meta[f"{name}.json"]["version"], _FAR) for name in self._names}
        changes = group_by_bin(new, (), self._bins.get_role_for_target)
        old = {name: self.folder / f"{current[name].version}.{name}.json" for name in changes}
        taken = {name: read_bin(path.read_bytes()) for name, path in old.items()}
        self._version += 1
        signed = sign_batch(self._signers, self._request(current, taken, changes))
        written = self._write([*signed.files, signed.timestamp])
        milliseconds = (time.perf_counter() - begun) * 1e3
        (self.folder / f"{self._snapshot}.snapshot.json").unlink()
        for path in old.values():
            path.unlink()
        self._snapshot = signed.snapshot.version
        return milliseconds, written / 1e3

    def _request(
        self,
        current: dict[str, CurrentFile],
        taken: dict[str, Entries],
        changes: dict[str, tuple[list[TargetEntry], list[TargetPath]]],
    ) -> SigningRequest:
        return SigningRequest(
            index=_INDEX,
            profile=PROFILES["development"],
            now=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._version),
            version=self._version,
            shared=self._shared,
            bins=current,
            bin_names=self._names,
            taken=taken,
            changes=changes,
            snapshot=None,
        )

    def _write(self, files: Sequence[SignedFile]) -> int:
        for file in files:
            name = "timestamp.json" if file.role == "timestamp" else f"{file.version}.{file.role}.json"
            (self.folder / name).write_bytes(file.content)
        return sum(len(file.content) for file in files)

    def _target(self) -> TargetEntry:
        path = self._path(self._number)
        self._number += 1
        return TargetEntry(path, sha256_of(path.encode()), Length(450), "pointer/v1")

    @staticmethod
    def _path(number: int) -> TargetPath:
        """Return a target path of 73 characters."""
        return TargetPath(f"pointers/synthetic-{number:07}/synthetic_{number:07}-1.0-py3-none-any.whl.pointer")
