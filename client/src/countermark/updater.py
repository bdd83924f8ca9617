"""The TUF client workflow around the TUF library: our limits, our cache, and every failure as one of ours.

The library does steps 1 to 4 of trust contract section 1.1 in their order. Its errors are translated at the call that
raises them; which file was asked for last tells a rollback (root, timestamp, snapshot) from files of different
snapshots mixed together (all roles below).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater

from countermark.chain import during
from countermark.core.binding import check_snapshot
from countermark.core.digest import sha256_of
from countermark.core.errors import (
    BelowThreshold,
    ClientError,
    Expired,
    InvalidMetadata,
    LocalState,
    NetworkFailure,
    NoSuchTarget,
    NotAtHand,
    PointerMismatch,
    PointerUnreadable,
    RolledBack,
)
from countermark.kept import KeptSource, NotKept
from countermark.location import Location
from countermark.metadata_folder import check_roots, copy_of_target, forget_other_index, kept_files, trust_targets
from countermark.newest_root import NewestRoot
from countermark.reading import Reading
from countermark.roots import MAX_ROOT_BYTES, TrustedRoot, how_to_pin, root_url

POLICY_TARGET = "trust/policy.yaml"
"""The target, signed offline by the role `trust`, that holds the policy. Source: trust contract section 2.3."""

_TOP = ("root", "timestamp", "snapshot")


@dataclass(frozen=True, slots=True)
class Starting:
    """Where one verification starts: which repository, from which root, with which folder for its metadata.

    Attributes:
        reading: other than online, nothing but what the folder keeps is read.
    """

    location: Location
    root: TrustedRoot
    folder: Path
    reading: Reading = Reading.ONLINE


@dataclass(frozen=True, slots=True)
class Standing:
    """How new the metadata of a role is: `expires` as the metadata writes it."""

    version: int
    expires: str


class TrustedIndex:
    """The verified metadata of one index at one moment.

    Make one for each run, and only while its cache folder is locked. `refresh` comes first. Targets that were read
    stay in the folder, for runs without the network.

    Args:
        starting: repository, trusted root and metadata folder.
        source: reads metadata and targets, online.
    """

    def __init__(self, starting: Starting, source: FetcherInterface) -> None:
        self._fetcher = source
        self._asked: dict[str, None] = {}
        self._begin(starting)

    def _begin(self, starting: Starting) -> None:
        """Begin with a repository, or anew with another address of it; nothing of it is refreshed then."""
        self._starting = starting
        self._source = _Remembering(self._fetcher if starting.reading is Reading.ONLINE else _kept(starting))
        self._names_itself = False
        with self._translated():
            forget_other_index(starting.folder, starting.location.index)
            self._updater = self._start()

    def refresh(self) -> Mapping[str, int]:
        """Bring root, timestamp, snapshot and targets up to date; return their versions.

        Raises:
            PointerMismatch: the snapshot is another index's.
            MetadataRefused: a check of the workflow failed; the subclass says which.
            NetworkFailure: something could not be read in time.
            LocalState: the cache could not be written.
        """
        with self._translated():
            with self._kept_from_others():
                self._refresh()
                check_roots(self._starting.folder, self._starting.root.version, self._signed("root")["version"])
                with during("snapshot"):
                    self._names_itself = check_snapshot(self._signed("snapshot"), self._starting.location.index)
            return {role: int(self._signed(role)["version"]) for role in (*_TOP, "targets")}

    @property
    def names_itself(self) -> bool:
        """Whether the snapshot says whose it is, so that what is not listed is proven not to be in this index."""
        return self._names_itself

    def standing(self, role: str) -> Standing:
        """Return how new one of the roles root, timestamp, snapshot and targets is, once it was refreshed."""
        with self._translated():
            signed = self._signed(role)
        return Standing(int(signed["version"]), str(signed["expires"]))

    def holds(self, path: str) -> bool:
        """Return whether the index's metadata lists a target; errors as `refresh`."""
        with self._translated():
            return self._info(path) is not None

    def trust_targets(self) -> tuple[int | None, tuple[str, ...]]:
        """Return version and target paths of the role `trust`, (None, ()) where the index has none; errors as
        `refresh`.

        They are hints: what `read_target` returns of them is signed by whom it ought to be.
        """
        self.holds(POLICY_TARGET)
        return trust_targets(self._starting.folder)

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield what has to be kept to repeat this run without the network: names in the folder, and bytes.

        Raises:
            LocalState: something cannot be read.
        """
        with self._translated():
            yield from kept_files(self._starting.folder, self._asked)

    def read_target(self, path: str, limit: int, *, keep: bool = True) -> bytes:
        """Return the bytes of a target: as long as signed, with the signed digest.

        Args:
            path: its target path.
            limit: the most bytes it may have; a longer one is refused before it is read.
            keep: its bytes stay in the folder, for runs without the network.

        Raises:
            NoSuchTarget: the signed metadata does not list it.
            PointerUnreadable: it is signed with more than `limit` bytes.
            ClientError: as `refresh`.
        """
        with self._translated():
            info = self._info(path)
        if info is None:
            raise NoSuchTarget(
                f"{self._starting.location.index} lists no {path}",
                "Check the spelling of project, version and file, and that they are of this index; what was uploaded "
                "a moment ago may still be waiting for its signature.",
            )
        if info.length > limit:
            raise PointerUnreadable(f"{path} is signed with {info.length} bytes, and {limit} are allowed")
        with self._translated(), tempfile.TemporaryDirectory(dir=self._starting.folder) as folder:
            file = Path(self._updater.download_target(info, str(Path(folder) / "target")))
            data = file.read_bytes()
            if keep:
                copy = copy_of_target(self._starting.folder, path)
                copy.parent.mkdir(mode=0o700, exist_ok=True)
                os.replace(file, copy)
            return data

    def _info(self, path: str) -> TargetFile | None:
        self._asked[path] = None
        return self._updater.get_targetinfo(path)

    def _start(self) -> Updater:
        location = self._starting.location
        return Updater(
            metadata_dir=str(self._starting.folder),
            metadata_base_url=location.metadata_url,
            target_base_url=location.targets_url,
            fetcher=self._source,
            bootstrap=self._starting.root.data,
        )

    def _refresh(self) -> None:
        """Refresh, and once more when the root moved on meanwhile.

        A key that is rotated between our look at the newest root and the file that its successor signed is no failure
        of the repository. Source: trust contract section 1.3, hole (f).
        """
        try:
            self._updater.refresh()
        except UnsignedMetadataError:
            if not self._root_moved_on():
                raise
            self._updater = self._start()
            self._updater.refresh()

    def _root_moved_on(self) -> bool:
        url = root_url(self._starting.location, int(self._signed("root")["version"]) + 1)
        try:
            self._source.inner.download_bytes(url, MAX_ROOT_BYTES)
        except DownloadError:
            return False
        return True

    @contextlib.contextmanager
    def _kept_from_others(self) -> Iterator[None]:
        """Put timestamp and snapshot back when they turn out to be another index's.

        The library keeps what the keys signed. With the higher numbers of another index in the cache, this index's own
        metadata would be taken for a rollback from then on.
        """
        files = [self._starting.folder / f"{role}.json" for role in ("timestamp", "snapshot")]
        before = {file: file.read_bytes() if file.exists() else None for file in files}
        try:
            yield
        except PointerMismatch:
            for file, data in before.items():
                file.unlink(missing_ok=True)
                if data is not None:
                    file.write_bytes(data)
            raise

    def _signed(self, role: str) -> dict[str, Any]:
        """Return the signed part of a role's metadata, which was checked by now."""
        signed: dict[str, Any] = json.loads((self._starting.folder / f"{role}.json").read_bytes())["signed"]
        return signed

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate errors of the library, and say which role was under way."""
        try:
            with self._in_our_words():
                yield
        except ClientError:
            with during(self._source.step):
                raise

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except UnsignedMetadataError as error:
            raise self._below_threshold(error) from error
        except ExpiredMetadataError as error:
            raise Expired(f"{self._starting.location.url}: {str(error).rstrip('.')}") from error
        except BadVersionNumberError as error:
            kind = RolledBack if self._source.last_role in _TOP else InvalidMetadata
            raise kind(f"{self._source.last_name}: {str(error).rstrip('.')}") from error
        except (DownloadLengthMismatchError, RepositoryError) as error:
            raise InvalidMetadata(f"{self._source.last_name or 'root'}: {str(error).rstrip('.')}") from error
        except DownloadError as error:
            raise self._unreadable(error) from error
        except OSError as error:
            raise LocalState(
                f"the cache folder {self._starting.folder} cannot be used: {error.strerror or error}",
                "Make it writable, or set COUNTERMARK_HOME to a folder that is.",
            ) from error

    def _unreadable(self, error: DownloadError) -> NetworkFailure:
        if isinstance(error, NotKept):
            return NotAtHand(str(error))
        status = error.status_code if isinstance(error, DownloadHTTPError) else None
        if status in {401, 403}:
            return NetworkFailure(
                f"{error}", "The index may be private: set COUNTERMARK_TOKEN to a token that may read it."
            )
        if status == 404 and self._source.last_role == "timestamp":
            return NetworkFailure(
                f"no signed repository at {self._starting.location.url} ({error})",
                "Check the address and that the index is a stage with a publication; a mirror has none.",
            )
        return NetworkFailure(str(error))

    def _below_threshold(self, error: UnsignedMetadataError) -> BelowThreshold:
        """Say which root is trusted, which one is served, and how to pin the right one."""
        location, root = self._starting.location, self._starting.root
        problem = f"{self._source.last_name or 'root'} of {location.url}: {str(error).rstrip('.')}"
        trusted = f"The trusted root is version {root.version}, sha256 {root.sha256}."
        try:
            served = self._source.download_bytes(root_url(location, root.version), MAX_ROOT_BYTES)
        except DownloadError as unreadable:
            seen = f"The repository serves no root of that version ({unreadable})."
        else:
            if served == root.data:
                return BelowThreshold(
                    problem,
                    f"{trusted} The repository serves the same one, so the metadata was signed with other keys or "
                    "altered: do not use it, and tell the people who run this registry.",
                )
            seen = f"The repository serves another root under that version, sha256 {sha256_of(served)}."
        return BelowThreshold(
            problem,
            f"{trusted} {seen} If the registry was set up anew and its people confirm the new root, pin that one. "
            + how_to_pin(location).replace(" Or trust what is served now, once: --trust-on-first-use.", ""),
        )


def _kept(starting: Starting) -> KeptSource:
    return KeptSource(starting.folder, starting.location, as_evidence=starting.reading is Reading.EVIDENCE)


class _Remembering(FetcherInterface):
    """Passes requests on and remembers the name of the last one, for messages and to tell errors apart."""

    def __init__(self, source: FetcherInterface) -> None:
        self.inner = NewestRoot(source)
        self.last_name = ""

    @property
    def last_role(self) -> str:
        """The role whose metadata was asked for last; a target's path has none of the top roles' names."""
        return self.last_name.removesuffix(".json").rpartition(".")[2]

    @property
    def step(self) -> str:
        """The step of the chain that what was asked for last belongs to."""
        return self.last_role if self.last_role in _TOP else "target" if self.last_name else "root"

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last_name = url.rpartition("/")[2]
        return self.inner.fetch(url)
