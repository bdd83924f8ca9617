"""What signing reads from and writes to the catalogue, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from packaging.utils import NormalizedName

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName
from shared.ids import FileId, IndexId, ProjectId


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What signing needs to know of an index."""

    id: IndexId
    name: IndexName
    life: int
    public: bool
    deleted: bool

    def is_over(self, project: ProjectState) -> bool:
        """Return whether a project is of a life of the index that has ended: nothing of it is shown."""
        return self.deleted or project.life != self.life


@dataclass(frozen=True, slots=True)
class HeadState:
    """The head as the next batch finds it."""

    serial: int
    snapshot_version: int
    snapshot_expires_at: datetime
    timestamp_version: int
    timestamp_expires_at: datetime
    root_version: int
    registry_version: int
    targets_version: int
    trust_version: int

    @property
    def shared_versions(self) -> dict[str, int]:
        """Versions of the deployment's shared files that it is signed with, by role."""
        return {
            "root": self.root_version,
            "targets": self.targets_version,
            "trust": self.trust_version,
            "registry": self.registry_version,
        }


@dataclass(frozen=True, slots=True)
class CurrentFile:
    """The current version of an online role's metadata, without its bytes."""

    role: str
    version: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project of an index as its page shows it; `page_sha256` is of its current page document, None before the
    first, and `removed` whether it was removed."""

    id: ProjectId
    name: NormalizedName
    format: str
    status: str
    status_reason: str | None
    life: int
    page_sha256: Sha256 | None = None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class NamedBundle:
    """A Sigstore bundle about a file, by its own digest."""

    sha256: Sha256
    length: Length


@dataclass(frozen=True, slots=True)
class FileState:
    """A file with its marks and whether it is visible now."""

    id: FileId
    project_id: ProjectId
    version: str
    file_name: FileName
    package_type: str
    sha256: Sha256
    length: Length
    requires_python: str | None
    core_metadata_sha256: Sha256 | None
    uploaded_at: datetime
    uploader: str
    yanked: str | None
    removed: bool
    held: bool
    published: bool
    was_published: bool = False
    """Whether a publication before the current one showed it."""
    removed_by: str | None = None
    attestation: NamedBundle | None = None
    """The build provenance that its pointer is to name."""
    signed_attestation: NamedBundle | None = None
    """That which its published pointer names; None for a file that is not visible."""
    has_provenance: bool = False
    """Whether there is a provenance object of it (PEP 740)."""

    @property
    def named_sha256(self) -> Sha256 | None:
        """Digest of the attestation that its pointer is to name."""
        return None if self.attestation is None else self.attestation.sha256

    @property
    def repointed(self) -> bool:
        """Whether it is visible with a pointer that names another attestation than it is to name."""
        return self.published and self.attestation != self.signed_attestation

    def as_signed(self) -> FileState:
        """Return it with the attestation that its published pointer names, if it has one."""
        return replace(self, attestation=self.signed_attestation) if self.repointed else self


@dataclass(frozen=True, slots=True)
class Request:
    """Something somebody asked for, as the audit table has it; `version` and `file` say of which part of a project."""

    action: str
    actor: str
    version: str | None = None
    file: str | None = None
    status: str | None = None


STATUS_CHANGE = "project.status"
"""Action of a request that may show or hide a whole project."""


@dataclass(frozen=True, slots=True)
class NewTufFile:
    """A version of an online role's metadata to keep."""

    role: str
    version: int
    sha256: str
    expires_at: datetime
    content: bytes


@dataclass(frozen=True, slots=True)
class NewPage:
    """A page document as published; `gone` when it is of a project that was removed."""

    project_id: ProjectId
    project_name: NormalizedName
    sha256: Sha256
    length: Length
    files: int
    gone: bool = False


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One change in the words of the journal."""

    project: NormalizedName
    version: str | None
    action: str
    actor: str | None


@dataclass(frozen=True, slots=True)
class IntentLine:
    """One target a batch is about to write (`set`) or drop (`unset`)."""

    path: str
    operation: str
    sha256: str | None
    length: int | None


@dataclass(frozen=True, slots=True)
class NewHead:
    """Everything a batch's commit makes current.

    With each file that is shown, or has a new pointer, goes the digest of the attestation that its pointer names.
    """

    fence: int
    version: int
    serial: int
    root_version: int
    registry_version: int
    targets_version: int
    trust_version: int
    snapshot_version: int
    snapshot_expires_at: datetime
    timestamp_expires_at: datetime
    timestamp: bytes
    tuf_files: Sequence[NewTufFile]
    pages: Sequence[NewPage]
    shown: Sequence[tuple[FileId, ProjectId, Sha256 | None]]
    hidden: Sequence[FileId]
    journal: Sequence[JournalLine]
    changes: int
    started_at: datetime
    committed_at: datetime
    repointed: Sequence[tuple[FileId, Sha256 | None]] = ()
