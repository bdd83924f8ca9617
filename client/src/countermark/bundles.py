"""Where the attestation comes from that a pointer names: the registry, a file of this machine, or evidence.

Whatever it is, it is held to the digest and length that the pointer names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import Length, Measured, sha256_of
from countermark.core.errors import ArtifactRefused, AttestationAltered, LocalState, NotAtHand
from countermark.core.pointer import Resource
from countermark.placing import compare, fetch_resource
from countermark.transport import ByteSource

SUFFIX = ".sigstore.json"
"""Of an attestation that lies beside its file."""


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


class Bundles(Protocol):
    """Reads attestations; called from several threads."""

    def read(self, sought: Sought, source: ByteSource) -> bytes:
        """Return the bytes that a pointer names.

        Raises:
            AttestationAltered: they are others, or more than any attestation has.
            NetworkFailure: they could not be read in time, or are not at hand.
        """


class Fetched:
    """Reads them from the registry."""

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
    """

    given: Path | None = None
    kept: Callable[[Resource], Path] | None = None

    def read(self, sought: Sought, source: ByteSource) -> bytes:
        """Read one; see `Bundles.read`."""
        _check_length(sought)
        places = [self.given] if self.given else self._places(sought)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            looked = " and ".join(str(place) for place in places) or "nothing"
            raise NotAtHand(f"the attestation of {sought.file_name} is not at hand: {looked} was looked for")
        try:
            with path.open("rb") as file:
                data = file.read(sought.named.length + 1)
        except OSError as error:
            raise LocalState(f"{path}: {error.strerror or error}", "Make it readable.") from error
        try:
            compare(sought.named, Measured(sha256_of(data), Length(len(data))), str(path))
        except ArtifactRefused as error:
            raise AttestationAltered(error.problem) from error
        return data

    def _places(self, sought: Sought) -> list[Path]:
        beside = [] if sought.file is None else [sought.file.with_name(sought.file.name + SUFFIX)]
        return beside + ([] if self.kept is None else [self.kept(sought.named)])


def _check_length(sought: Sought) -> None:
    if sought.named.length > MAX_BUNDLE_BYTES:
        raise AttestationAltered(
            f"the attestation of {sought.file_name} has {sought.named.length} bytes, and {MAX_BUNDLE_BYTES} are allowed"
        )
