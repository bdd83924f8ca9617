"""What the API answers, as far as the pages show it; fields they do not show may come and go."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ProjectLine(Shape):
    """A project in the list of its index."""

    name: str
    display_name: str
    status: str
    summary: str | None = None
    latest_version: str | None = None
    releases: int
    files: int
    updated_at: datetime | None = None


class ProjectList(Shape):
    """One page of an index's projects."""

    items: list[ProjectLine]
    next: str | None = None


class ReleaseProvenance(Shape):
    """What is said of a release's provenance, beside the release before it."""

    label: str
    words: str = ""


class ReleaseLine(Shape):
    """A release in the list of its project."""

    version: str
    created_at: datetime
    files: int
    yanked: bool
    provenance: ReleaseProvenance | None = None


class Project(Shape):
    """A project with its releases, newest first."""

    name: str
    display_name: str
    status: str
    status_reason: str | None = None
    created_at: datetime
    serial: int | None = None
    latest_version: str | None = None
    releases: list[ReleaseLine]


class File(Shape):
    """A file of a release."""

    id: str
    filename: str
    package_type: str
    length: int
    sha256: str
    blake2b_256: str | None = None
    md5: str | None = None
    uploaded_at: datetime
    uploader: str | None = None
    requires_python: str | None = None
    yanked: bool
    yanked_reason: str | None = None
    held_reason: str | None = None
    state: Literal["received", "published", "failed", "removed", "waiting", "withdrawn"]
    serial: int | None = None
    error: str | None = None
    warnings: list[str] = Field(default_factory=list)


class Release(Shape):
    """A release with its files and what its metadata says (keys as in `packaging.metadata.RawMetadata`)."""

    version: str
    created_at: datetime
    metadata: dict[str, Any] = Field(default_factory=dict)
    files: list[File]
    provenance: ReleaseProvenance | None = None


class FileDownloads(Shape):
    """How often a file was downloaded."""

    filename: str
    downloads: int


class Downloads(Shape):
    """How often a project's files were downloaded; `files` are the newest of them."""

    total: int
    files: list[FileDownloads]


class Change(Shape):
    """The answer to a change: published with the serial that shows it, or pending."""

    state: Literal["published", "pending"]
    serial: int | None = None


class JournalLine(Shape):
    """One thing that a publication changed."""

    project: str
    version: str | None = None
    action: str
    actor: str | None = None


class Publication(Shape):
    """A publication of an index."""

    serial: int
    committed_at: datetime
    changes: int
    journal: list[JournalLine] = Field(default_factory=list)


class PublicationList(Shape):
    """One page of publications, newest first."""

    items: list[Publication]
    next: str | None = None


class Head(Shape):
    """Which publication of an index is current."""

    serial: int
    root_version: int
    snapshot_version: int
    timestamp_version: int
    timestamp_expires_at: datetime
    committed_at: datetime


class Nothing(Shape):
    """An answer of which only the status counts."""


class Held(Shape):
    """Why something is held back; `index` is whose rule it is, None when that is not for the visitor to know."""

    rule: str
    index: str | None = None
    reason: str = ""
    until: datetime | None = None


class UpstreamState(Shape):
    """How a mirror stands with its upstream about a project."""

    url: str | None = None
    confirmed_at: datetime | None = None
    stale_since: datetime | None = None
    failing_since: datetime | None = None
    failure: str | None = None


class ExplainedMember(Shape):
    """An index that is asked for a project, and what it does."""

    index: str | None = None
    type: str
    state: str
    by: str | None = None
    reason: str | None = None
    hidden: Held | None = None
    upstream: UpstreamState | None = None


class ExplainedFile(Shape):
    """A file that is shown or held back."""

    filename: str
    version: str | None = None
    index: str | None = None
    mirrored: bool
    shown: bool
    yanked: bool
    uploaded_at: datetime | None = None
    hidden: Held | None = None


class ClientTakes(Shape):
    """What a kind of client takes."""

    kind: str
    who: str
    latest: str | None = None


class Explained(Shape):
    """Why a project shows as it does in an index."""

    project: str
    found: bool
    members: list[ExplainedMember]
    clients: list[ClientTakes]
    without_rules: str | None = None
    whitelist_opens: bool = False
    shown: int
    hidden: int
    files: list[ExplainedFile]

    @property
    def held_back(self) -> list[ExplainedFile]:
        """The files that a rule holds back."""
        return [file for file in self.files if file.hidden is not None]


class HoldLine(Shape):
    """A release that is held back, or a whole project (`version` None)."""

    project: str
    version: str | None = None
    files: int
    uploaded_at: datetime | None = None
    mirror: str | None = None
    hidden: Held


class HoldList(Shape):
    """One page of what an index holds back."""

    items: list[HoldLine]
    next: str | None = None


class MirrorLine(Shape):
    """A mirror that an index shows, and how it stands."""

    index: str
    url: str | None = None
    projects: int
    confirmed_at: datetime | None = None
    failing: int
    failing_since: datetime | None = None
    failure: str | None = None


class MirrorList(Shape):
    """The mirrors of an index that the visitor may read."""

    items: list[MirrorLine]


class StepLine(Shape):
    """A step of the chain as the API tells it."""

    number: int
    name: str
    result: str
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class Verification(Shape):
    """What the API found of a file's chain."""

    index: str
    verified: bool
    exit_code: int
    failed: str | None = None
    reason: str
    serial: int
    checked_at: datetime
    steps: list[StepLine]
