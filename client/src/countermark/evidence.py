"""Evidence: a folder with all that a run was proven by, for proving the same files again without the network.

::

    evidence.json                                  which repository, and when it was written; for people and pins
    indexes/OWNER/NAME/root_history/N.root.json    the TUF metadata of each index that was read
    indexes/OWNER/NAME/{timestamp,snapshot,targets,trust,registry,...}.json
    indexes/OWNER/NAME/targets/SHA256-OF-PATH      pointers, pages, policy and trust roots
    attestations/SHA256.sigstore.json              the attestations that the pointers name
    further/FILE/SHA256.sigstore.json              those that no pointer names, where a file was allowed by them

Nothing of it is believed: whoever reads it starts from a root that is pinned on that machine, and checks signatures,
versions, digests and, by the clock of that moment, expiry. What cannot be known without the network is whether the
registry has published anything newer since; the metadata's expiry is how long that may go unnoticed.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from countermark.bundles import SUFFIX
from countermark.core.digest import Sha256, sha256_of
from countermark.core.errors import LocalState, NotAtHand, UsageFault
from countermark.core.names import FileName, IndexName
from countermark.core.page import MAX_PAGE_BYTES
from countermark.core.pointer import Resource
from countermark.credentials import Notify
from countermark.location import Location
from countermark.placing import write_over
from countermark.reading import Reading

FORMAT = "countermark-evidence/v1"
MOST_FILES = 50_000
"""Of the metadata of one index; a pointer is one."""
MOST_BYTES = 5_000_000
"""Of one file of metadata: the TUF library's own cap (trust contract section 1.3). Of a target: that of a page."""
MOST_IN_ALL = 1 << 30
"""Bytes of the metadata and targets of one index."""

_ABOUT = "evidence.json"
_NAME = re.compile(r"(?:root_history/[1-9][0-9]{0,8}\.root\.json|targets/[0-9a-f]{64}|[A-Za-z0-9._%-]{1,100}\.json)\Z")


@dataclass(frozen=True, slots=True)
class EvidenceWriter:
    """Writes one run's evidence into a folder of its own."""

    folder: Path
    location: Location

    def begin(self) -> None:
        """Make the folder.

        Raises:
            UsageFault: there is something in it: what two runs saw would not fit together.
            LocalState: it cannot be written.
        """
        try:
            if self.folder.exists() and any(self.folder.iterdir()):
                raise UsageFault(f"{self.folder} is not empty", "Name a new folder for the evidence of this run.")
        except OSError as error:
            raise LocalState(f"{self.folder}: {error.strerror or error}", "Name another folder.") from error
        made_at = datetime.now(UTC).replace(microsecond=0).isoformat()
        about = {"format": FORMAT, "repository": self.location.url, "made_at": made_at}
        write_over(self.folder / _ABOUT, json.dumps(about, indent=1).encode() + b"\n")

    def keep_index(self, index: IndexName, files: Iterable[tuple[str, bytes]]) -> None:
        """Keep the metadata and targets of an index; see `TrustedIndex.kept`.

        Raises:
            LocalState: it cannot be written.
        """
        for name, data in files:
            write_over(_folder_of(self.folder, index) / name, data)

    def keep_attestation(self, named: Resource, data: bytes) -> None:
        """Keep an attestation.

        Raises:
            LocalState: it cannot be written.
        """
        write_over(_attestation(self.folder, named), data)

    def keep_further(self, file_name: FileName, bundles: Iterable[bytes]) -> None:
        """Keep attestations that no pointer names.

        Raises:
            LocalState: it cannot be written.
        """
        for bundle in bundles:
            write_over(_further(self.folder, file_name) / f"{sha256_of(bundle)}{SUFFIX}", bundle)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Reads what `EvidenceWriter` wrote, and anything else that may lie there instead; it writes nothing there."""

    folder: Path
    reading = Reading.EVIDENCE

    def repository(self) -> str:
        """Return the URL of the index that it says it is of.

        Raises:
            UsageFault: it is no evidence.
        """
        try:
            about = json.loads(_read(self.folder / _ABOUT))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {str(about['format'])[:60]!r}, and {FORMAT} is known here")
            return str(about["repository"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageFault(
                f"{self.folder} is no evidence: {error}", "Name a folder that `download --evidence` wrote."
            ) from error

    def attestation(self, named: Resource) -> Path:
        """Return where it has an attestation, if it has it."""
        return _attestation(self.folder, named)

    def further(self, file_name: FileName) -> list[Path]:
        """Return where it has attestations of a file that no pointer names; a link could lead anywhere, and is none."""
        found = _further(self.folder, file_name).glob(f"*{SUFFIX}")
        return [path for path in found if path.is_file() and not path.is_symlink()]

    @contextlib.contextmanager
    def opened(self, location: Location, _root: Sha256, _notify: Notify) -> Iterator[Path]:
        """Yield a metadata folder with what there is of an index, for as long as the block runs; see `Cache.opened`.

        Raises:
            NotAtHand: there is nothing of it.
            LocalState: it cannot be read, or is more than an index can have.
        """
        kept = _folder_of(self.folder, location.index)
        if not kept.is_dir():
            raise NotAtHand(f"{self.folder} holds no evidence of {location.index}")
        with tempfile.TemporaryDirectory(prefix="countermark-") as name:
            folder = Path(name)
            try:
                for place in (folder, folder / "root_history", folder / "targets"):
                    place.mkdir(exist_ok=True)
                left = MOST_IN_ALL
                for file in _files(kept):
                    data = _read(kept / file, MAX_PAGE_BYTES if file.startswith("targets/") else MOST_BYTES)
                    left -= len(data)
                    if left < 0:
                        raise ValueError(f"it has more than {MOST_IN_ALL} bytes")
                    (folder / file).write_bytes(data)
            except (OSError, ValueError) as error:
                raise LocalState(f"the evidence in {kept} cannot be read: {error}", "Write it anew.") from error
            yield folder


def _files(kept: Path) -> Iterator[str]:
    """Yield the names of an index's files; what has another name is not looked at."""
    count = 0
    for place in (kept, kept / "root_history", kept / "targets"):
        for file in place.iterdir() if place.is_dir() else ():
            name = file.relative_to(kept).as_posix()
            # A link could lead anywhere.
            if _NAME.match(name) and file.is_file() and not file.is_symlink():
                count += 1
                if count > MOST_FILES:
                    raise ValueError(f"it has more than {MOST_FILES} files")
                yield name


def _read(path: Path, most: int = MOST_BYTES) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return data


def _folder_of(folder: Path, index: IndexName) -> Path:
    return folder / "indexes" / index.owner / index.name


def _attestation(folder: Path, named: Resource) -> Path:
    return folder / "attestations" / f"{named.digest}{SUFFIX}"


def _further(folder: Path, file_name: FileName) -> Path:
    return folder / "further" / file_name
