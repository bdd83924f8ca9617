"""What a push carries from one index to another, as plain values.

Source: contract devpi section 11; architecture section 11.1 ("promotion is a new row over the same bytes").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packaging.utils import NormalizedName

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue.attestation_rows import AttestationRow
from shared.ids import FileId, ReleaseId, TokenId

History = Sequence[Mapping[str, Any]]
"""Where a file came from, oldest first: entries of contract devpi section 4.5."""


@dataclass(frozen=True, slots=True)
class SourceRelease:
    """The release that is pushed; `status` is its project's."""

    id: ReleaseId
    project: NormalizedName
    display_name: str
    status: str
    version: str
    version_key: str | None
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Carried:
    """A living file of the source. The fields are the columns of the row that goes along; `id` and `held` stay."""

    id: FileId
    held: bool
    file_name: FileName
    package_type: str
    sha256: Sha256
    blake2b_256: str
    md5: str
    length: Length
    requires_python: str | None
    core_metadata_sha256: Sha256 | None
    core_metadata_length: Length | None
    uploaded_at: datetime
    uploader: str
    token_id: TokenId | None
    yanked_at: datetime | None
    yanked_by: str | None
    yanked_reason: str | None
    warnings: Sequence[str]
    history: History

    @property
    def path_key(self) -> str:
        """What its URL has of its digest."""
        return self.sha256[:16]


@dataclass(frozen=True, slots=True)
class CarriedAttachment:
    """Documentation of the release (`file_id` is None), or what was tested of one of its files."""

    kind: str
    file_id: FileId | None
    file_name: str
    path_key: str
    sha256: Sha256
    length: Length
    added_at: datetime
    added_by: str | None
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedAttestation(AttestationRow):
    """An attestation of a file of the source; `file_name` is that of its bytes. Who added it, when and by which token
    goes along: it was verified then."""

    file_name: FileName
