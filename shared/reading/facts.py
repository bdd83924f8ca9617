"""What the catalogue says of a file that is asked for, and of a project in an index. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, NormalizedName
from shared.ids import FileId


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a download needs to know of a file.

    Attributes:
        visible: whether a publication shows it now.
        was_visible: whether a publication ever did.
        removed: whether it is marked so; that shows with the next publication.
        held_reason: why it is held, "" without words, None when it is not held.
    """

    id: FileId
    project: NormalizedName
    file_name: FileName
    sha256: Sha256
    length: Length
    uploaded_at: datetime
    core_metadata_sha256: Sha256 | None
    core_metadata_length: Length | None
    visible: bool
    was_visible: bool
    removed: bool
    held_reason: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a project stands in an index.

    Attributes:
        registered: whether the index's present life knows it, with files or without.
        files: that its current page lists.
        quarantined: why it is in quarantine, "" without words, None when it is not. A mark: it shows with the next
            publication.
    """

    registered: bool
    files: int
    quarantined: str | None

    @property
    def holds(self) -> bool:
        """Whether the index holds the name: what others have under it does not show without its leave."""
        return self.registered or self.files > 0

    @property
    def closed(self) -> bool:
        """Whether its quarantine shows."""
        return self.quarantined is not None and self.files == 0
