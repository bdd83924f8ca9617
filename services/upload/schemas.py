"""Wire models of the upload service's own API.

A model holds what it documents; the rows of `shared.catalogue.projects` become models here and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.catalogue.approvals import Standing
from shared.catalogue.projects import FileLine, ProjectLine, ReleaseLine
from shared.reading.provenance_labels import Label, ReleaseProvenance

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")
]
"""A line of text for people. Source: contract python-index section 2.7 (point 1)."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    """What a project's owner says of it. Source: PEP 792."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    DEPRECATED = "deprecated"
    QUARANTINED = "quarantined"


class FileState(_Model):
    """How far an uploaded file has come."""

    id: UUID
    index: str = Field(description="owner/name of the index")
    project: str
    version: str
    filename: str
    sha256: str
    length: int = Field(description="bytes")
    uploaded_at: datetime
    state: str = Field(
        description="received, published, failed, removed; where approvals are needed also waiting, withdrawn, expired"
    )
    serial: int | None = Field(description="the publication that lists the file")
    error: str | None = Field(description="why signing refused the file, when it did")
    approval: FileApproval | None = Field(None, description="how far its approvals are, where it needs or needed some")


class FileApproval(_Model):
    """How far the approvals of a file are."""

    words: str = Field(description="the state, as a part of a sentence: waiting for 1 of 2 approvals of ...")
    needed: int
    given_by: list[str]
    people: list[str] | None = Field(description="whose approvals count; null: whoever may approve")
    expires_at: datetime | None

    @classmethod
    def of(cls, standing: Standing, now: datetime) -> FileApproval:
        """Return what a file's state shows."""
        return cls(
            words=standing.words(now),
            needed=standing.needed,
            given_by=list(standing.given),
            people=None if standing.people is None else list(standing.people),
            expires_at=standing.expires_at,
        )


class ProjectItem(_Model):
    """A project in a list."""

    name: str = Field(description="normalised")
    display_name: str = Field(description="as first uploaded")
    status: Status
    summary: str | None
    latest_version: str | None = Field(description="the newest release that is neither yanked nor a pre-release")
    releases: int
    files: int
    updated_at: datetime | None = Field(description="when the newest file came")

    @classmethod
    def of(cls, line: ProjectLine) -> ProjectItem:
        """Return what a list shows of a project."""
        return cls(
            name=line.name,
            display_name=line.display_name,
            status=Status(line.status),
            summary=line.summary,
            latest_version=line.latest_version,
            releases=line.releases,
            files=line.files,
            updated_at=line.updated_at,
        )


class Provenance(_Model):
    """What is said of a release's provenance: by itself, and beside the release before it."""

    label: Label = Field(
        description="lost: the release before was attested and this one is not; changed: by somebody else; else full, "
        "partial, none"
    )
    words: str = Field(description="for people; may change")
    files: int
    attested: int = Field(description="files with an attestation")
    identities: list[str] = Field(description="who signed: workflows without refs, addresses, keys")

    @classmethod
    def of(cls, found: ReleaseProvenance) -> Provenance:
        """Return what is shown of a release's provenance."""
        return cls(
            label=found.label,
            words=found.words,
            files=found.files,
            attested=found.attested,
            identities=list(found.identities),
        )


class ReleaseItem(_Model):
    """A release in a project."""

    version: str
    created_at: datetime
    files: int
    yanked: bool = Field(description="whether all its files are yanked")
    provenance: Provenance

    @classmethod
    def of(cls, line: ReleaseLine, provenance: ReleaseProvenance) -> ReleaseItem:
        """Return what a project shows of a release."""
        return cls(
            version=line.version,
            created_at=line.created_at,
            files=line.files,
            yanked=line.yanked,
            provenance=Provenance.of(provenance),
        )


class ProjectView(_Model):
    """A project with its releases, the highest version first, at most 1,000."""

    name: str
    display_name: str
    status: Status
    status_reason: str | None
    created_at: datetime
    serial: int | None = Field(description="the publication that changed the project's page last")
    releases: list[ReleaseItem]
    latest_version: str | None


class FileItem(_Model):
    """A file of a release."""

    id: UUID
    filename: str
    package_type: str = Field(description="the word of the upload form: sdist, bdist_wheel, bdist_egg and so on")
    length: int = Field(description="bytes")
    sha256: str
    blake2b_256: str
    md5: str
    uploaded_at: datetime
    uploader: str
    requires_python: str | None
    yanked: bool
    yanked_reason: str | None
    held_reason: str | None = Field(description="why it is held for review and not served; null when it is not held")
    state: str = Field(
        description="received, published, failed, removed; where approvals are needed also waiting, withdrawn"
    )
    serial: int | None = Field(description="the publication that lists the file")
    error: str | None = Field(description="why signing refused the file, when it did")
    warnings: list[str] = Field(description="what its uploader was told though the file was taken, a sentence each")

    @classmethod
    def of(cls, line: FileLine) -> FileItem:
        """Return what a release shows of a file."""
        return cls.model_validate(
            {name: getattr(line, "file_name" if name == "filename" else name) for name in cls.model_fields}
        )


class ReleaseView(_Model):
    """A release: the metadata of its first file, with the keys of `packaging.metadata.RawMetadata`, and its files."""

    version: str
    created_at: datetime
    metadata: dict[str, Any]
    files: list[FileItem]
    provenance: Provenance


class StatusChange(_Request):
    """What a project's status becomes."""

    status: Status
    reason: Reason | None = None


class YankRequest(_Request):
    """Why something is yanked."""

    reason: Reason | None = None


class ChangeAnswer(_Model):
    """What became of a change: `published` once its publication is served here, `pending` until then."""

    state: Literal["published", "pending"]
    serial: int | None = Field(None, description="of the project's page that shows the change")
