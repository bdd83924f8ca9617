"""What the catalogue's rows say of a file, and where that contradicts what is signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256
from countermark.core.filenames import Distribution
from countermark.core.pointer import Pointer
from services.download.verification.pages import Listed
from shared.auth.directory import IndexRecord
from shared.catalogue.attestations import Stored, of_file
from shared.catalogue.bundles import Coordinates, files_called
from shared.objects.keys import file_key


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file that an index shows; `file` is None when it shows none of this name in this project."""

    file: Coordinates | None
    attestations: Sequence[Stored] = ()

    @property
    def bundles(self) -> list[Sha256]:
        """Digests of all bundles, oldest first."""
        return [row.sha256 for row in self.attestations]

    def contradictions(self, pointer: Pointer, asked: Distribution) -> list[str]:
        """Return every row that says something else than a signed pointer, in words. Pure."""
        if self.file is None:
            return [f"the catalogue shows no {asked.file_name} of {asked.project}, which is signed"]
        row, facts, signed = self.file, self.file.facts, pointer.file
        found = []
        for what, told, right in (
            ("sha256 of the file", facts.sha256, signed.digest),
            ("length of the file", facts.length, signed.length),
            ("address of the file", row.path_key, signed.digest[:16]),
            ("project", facts.project, pointer.name),
            ("digest of the named attestation", row.named, pointer.attestation and pointer.attestation.digest),
        ):
            if told != right:
                found.append(f"the catalogue's row has {told} as the {what}, {right} is signed")
        if not _same_version(row.version, pointer.version):
            found.append(f"the catalogue's row has {row.version} as the version, {pointer.version} is signed")
        if signed.uri != f"/{file_key(signed.digest, asked.file_name)}":
            found.append(f"{signed.uri} is signed, where no file of this digest is kept")
        named = pointer.attestation
        if named is not None and named.digest not in self.bundles:
            found.append(f"the catalogue has no row of the attestation {named.digest}, which the pointer names")
        lengths = {one.sha256: one.length for one in self.attestations}
        if named is not None and lengths.get(named.digest, named.length) != named.length:
            found.append(f"the catalogue's row of the attestation has {lengths[named.digest]} bytes")
        strange = [one.sha256 for one in self.attestations if one.facts.get("bundle_sha256") != one.sha256]
        found += [f"what the catalogue has on record of the attestation {one} is of another one" for one in strange]
        return found

    def unlike_page(self, listed: Listed | None) -> list[str]:
        """Return what the row of a file that is shown says otherwise than the signed page, in words. Pure."""
        assert self.file is not None
        facts = self.file.facts
        if listed is None:
            return [f"the catalogue shows {facts.file_name}, which the signed page does not list"]
        found = []
        for what, told, right in (
            ("sha256 of the file", facts.sha256, listed.sha256),
            ("sha256 of its core metadata", facts.core_metadata_sha256, listed.core_metadata),
        ):
            if told != right:
                found.append(f"the catalogue's row has {told} as the {what}, {right} stands in the signed page")
        return found


async def rows_of(connection: AsyncConnection, index: IndexRecord, asked: Distribution) -> Rows:
    """Return the rows of a file that an index shows."""
    found = await files_called(connection, index.id, asked.project, asked.file_name)
    shown = next((file for file in found if file.facts.visible), None)
    return Rows(shown, () if shown is None else await of_file(connection, shown.id))


def _same_version(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
