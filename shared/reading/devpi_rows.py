"""What devpi's documents are made of, as the catalogue says it: projects, releases, files and attachments. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.ids import FileId, IndexId, ProjectId, ReleaseId

History = Sequence[Mapping[str, Any]]
"""Where a file came from, in devpi's form; see `shared.catalogue.tables.File`."""

FROM_MIRROR = "mirror"
"""Key of a `push` entry that says that it took a file from a mirror: nobody uploaded that. devpi has no such key."""

DOC = "doc"
"""Kind of an attachment that is documentation of a release; the other is a test result of a file."""


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project in the present life of an index; `display_name` as it was first written."""

    id: ProjectId
    index_id: IndexId
    display_name: str
    quarantined: bool


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release that is shown: it has a visible file, or was registered without any.

    Attributes:
        weight: bytes that its metadata take in the catalogue, where they may be compressed.
    """

    id: ReleaseId
    project_id: ProjectId
    version: str
    weight: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A visible file of a release."""

    id: FileId
    release: ReleaseRow
    file_name: FileName
    sha256: Sha256
    uploaded_at: datetime
    uploader: str
    history: History


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    """Documentation of a release, or a test result of its file `file_id`.

    Attributes:
        path_key: the 16 hex digits of its address.
        added_by: None when nobody was signed in.
    """

    release_id: ReleaseId
    file_id: FileId | None
    kind: str
    file_name: FileName
    path_key: str
    sha256: Sha256
    history: History
    added_at: datetime
    added_by: str | None


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the members of a merged view have of a project.

    Attributes:
        projects: the project by index; an index that does not know it is left out.
        registered: releases that never had a file, by project.
        files: visible ones, by project.
        attachments: by release.
    """

    projects: Mapping[IndexId, ProjectRow]
    registered: Mapping[ProjectId, Sequence[ReleaseRow]] = field(default_factory=dict)
    files: Mapping[ProjectId, Sequence[FileRow]] = field(default_factory=dict)
    attachments: Mapping[ReleaseId, Sequence[AttachmentRow]] = field(default_factory=dict)

    def empty(self, project: ProjectRow) -> bool:
        """Return whether nothing of a project is shown, though its index knows it."""
        return not self.registered.get(project.id) and not self.files.get(project.id)
