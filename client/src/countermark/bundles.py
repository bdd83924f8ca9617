"""Where attestations come from: the registry, a file of this machine, or evidence.

The one that a pointer names is held to the digest and length that are named, wherever it is; further ones prove
themselves.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES, read_bundle
from countermark.core.attestations.results import Failed
from countermark.core.attestations.statement import read_any_statement
from countermark.core.attestations.summary import SUMMARY
from countermark.core.digest import Length, Measured, sha256_of
from countermark.core.errors import ArtifactRefused, AttestationAltered, LocalState, NotAtHand
from countermark.core.names import FileName
from countermark.core.pointer import Resource
from countermark.further import MOST, About, Further, gather, joined
from countermark.placing import compare, fetch_resource, write_over
from countermark.transport import ByteSource

SUFFIX = ".sigstore.json"
"""Of an attestation that lies beside its file."""

_OTHER = (
    "It is not, byte for byte, the attestation that the pointer names: one of another build, one that the index "
    "keeps in another form, or one that was altered. Take the right one where there is a network, by `countermark "
    "download --bundle` or `--evidence FOLDER`, or name it with --attestation FILE."
)

_NOWHERE = (
    "Where there is a network, `countermark download --bundle` places it beside the file, and --evidence FOLDER writes "
    "it with all else; or name it with --attestation FILE."
)


@dataclass(frozen=True, slots=True)
class Sought:
    """The attestation of one file.

    Attributes:
        named: digest and length, by the pointer.
        url: where the registry has it.
        file_name: whose it is.
        file: where that file lies, when it is there already.
    """

    named: Resource
    url: str
    file_name: str
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Attested:
    """The attestations that a file was allowed by: the one that its pointer names, and others where that was not
    enough."""

    named: bytes | None = None
    further: tuple[bytes, ...] = ()

    def place_beside(self, file: Path) -> None:
        """Write them beside their file: the named one under the file's name and `SUFFIX`, others with a digest between.

        Raises:
            LocalState: one cannot be written.
        """
        if self.named is not None:
            write_over(file.with_name(file.name + SUFFIX), self.named)
        for bundle in self.further:
            write_over(file.with_name(f"{file.name}.{sha256_of(bundle)[:16]}{SUFFIX}"), bundle)


class Bundles(Protocol):
    """Reads attestations; called from several threads."""

    def read(self, sought: Sought, source: ByteSource) -> bytes:
        """Return the bytes that a pointer names.

        Raises:
            AttestationAltered: they are others, or more than any attestation has.
            NetworkFailure: they could not be read in time, or are not at hand.
        """

    def further(self, about: About, file: Path | None, source: ByteSource) -> Further:
        """Return what may be had of a file beside that; what cannot be read is told, and is no error.

        Args:
            file: where the file lies, when it is there already.
        """


@dataclass(frozen=True, slots=True)
class Fetched:
    """Reads them from the registry.

    Attributes:
        summary: a verification summary that is at hand, further evidence.
    """

    summary: bytes | None = None

    def further(self, about: About, file: Path | None, source: ByteSource) -> Further:
        """Return the summary, and fetch what lies beside the named one; see `Bundles.further`."""
        return joined([_given(self.summary), gather(about, source)])

    def read(self, sought: Sought, source: ByteSource) -> bytes:
        """Fetch one; see `Bundles.read`."""
        _check_length(sought)
        with tempfile.TemporaryFile() as file:
            try:
                fetch_resource(sought.named, sought.url, source, file)
            except ArtifactRefused as error:
                raise AttestationAltered(error.problem) from error
            file.seek(0)
            return file.read()


@dataclass(frozen=True, slots=True)
class Local:
    """Reads them from this machine: the file that is named, else the one beside the file, else what is kept of it.

    Attributes:
        given: the file that is named.
        kept: returns where evidence has an attestation, by what the pointer names.
        kept_further: returns where it has those that no pointer names, by the file's name.
        summary: a verification summary that is at hand, further evidence.
    """

    given: Path | None = None
    kept: Callable[[Resource], Path] | None = None
    kept_further: Callable[[FileName], Iterable[Path]] | None = None
    summary: bytes | None = None

    def read(self, sought: Sought, source: ByteSource) -> bytes:
        """Read one; see `Bundles.read`."""
        _check_length(sought)
        places = [self.given] if self.given else self._places(sought)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            looked = " and ".join(str(place) for place in places) or "nothing"
            raise NotAtHand(f"the attestation of {sought.file_name} is not at hand: {looked} was looked for", _NOWHERE)
        try:
            with path.open("rb") as file:
                data = file.read(sought.named.length + 1)
        except OSError as error:
            raise LocalState(f"{path}: {error.strerror or error}", "Make it readable.") from error
        try:
            compare(sought.named, Measured(sha256_of(data), Length(len(data))), str(path))
        except ArtifactRefused as error:
            raise AttestationAltered(error.problem, _OTHER) from error
        return data

    def further(self, about: About, file: Path | None, source: ByteSource) -> Further:
        """Read what is named, what lies beside the file and what is kept; see `Bundles.further`."""
        places = [] if self.given is None else [self.given]
        if file is not None:
            places += sorted(file.parent.glob(f"{glob.escape(file.name)}.*{SUFFIX}"))
        if self.kept_further is not None:
            places += sorted(self.kept_further(about.file_name))
        bundles, faults = list[bytes](), list[str]()
        for path in places[:MOST]:
            try:
                with path.open("rb") as opened:
                    bundles.append(opened.read(MAX_BUNDLE_BYTES + 1))
            except OSError as error:
                faults.append(f"{path}: {error.strerror or error}")
        return joined([_given(self.summary), Further(tuple(bundles), tuple(faults))])

    def _places(self, sought: Sought) -> list[Path]:
        beside = [] if sought.file is None else [sought.file.with_name(sought.file.name + SUFFIX)]
        return beside + ([] if self.kept is None else [self.kept(sought.named)])


def summary_in(path: Path) -> bytes | None:
    """Return the bundle in a file, if it is a verification summary: no pointer's own attestation then, but further
    evidence; None for anything else, which whoever needs it tells."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BUNDLE_BYTES + 1)
        return data if read_any_statement(read_bundle(data).payload).predicate_type == SUMMARY else None
    except (OSError, Failed):
        return None


def _given(summary: bytes | None) -> Further:
    return Further() if summary is None else Further((summary,))


def _check_length(sought: Sought) -> None:
    if sought.named.length > MAX_BUNDLE_BYTES:
        raise AttestationAltered(
            f"the attestation of {sought.file_name} has {sought.named.length} bytes by its pointer, and "
            f"{MAX_BUNDLE_BYTES} are allowed",
            "Tell the people who run this registry: it signed what no client may accept.",
        )
