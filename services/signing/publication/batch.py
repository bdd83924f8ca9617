"""One batch of a publication, as it passes from one step to the next: what was read, what is signed. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from countermark.core.audit import AuditHead
from countermark.core.digest import Sha256
from countermark.core.names import TargetPath
from services.signing.keys.custody import Custody
from services.signing.publication.rules import ProjectPlan
from shared.catalogue.leases import Held
from shared.catalogue.outbox import Waiting
from shared.catalogue.publication_rows import CurrentFile, HeadState, IndexFacts, Request
from shared.catalogue.trust import StoredTrustFile
from shared.formats.interface import Listing
from shared.ids import AuditId, OutboxId, ProjectId
from shared.trust.metadata import TargetEntry


@dataclass(frozen=True, slots=True)
class Batch:
    """What one round of an index's lease found.

    Attributes:
        bins: current version of each bin, by name.
        custody: the keys that sign it.
        audit_head: the head of the audit chain that it publishes.
        version: the number of every file this batch signs; 0 until it was allocated.
        has_former_root: whether a newer root waits for what this batch signs, the snapshot too; another batch follows.
    """

    index: IndexFacts
    held: Held
    head: HeadState | None
    waiting: list[Waiting]
    requests: dict[AuditId, Request]
    shared: dict[str, StoredTrustFile]
    bins: Mapping[str, CurrentFile]
    started_at: datetime
    custody: Custody
    version: int = 0
    audit_head: AuditHead | None = None
    has_former_root: bool = False

    def with_former_root(self, root: StoredTrustFile) -> Batch:
        """Return the same with the root that the index has."""
        return replace(self, shared=self.shared | {root.role: root}, has_former_root=True)

    @property
    def serial(self) -> int:
        """The serial this batch gets: it grows with changes, not with refreshes."""
        if self.head is None:
            return 1 if self.waiting else 0
        return self.head.serial + (1 if self.waiting else 0)

    def requests_for(self, project_id: ProjectId) -> list[Request]:
        """What people asked for of a project, in their order."""
        asked = (w.message.audit_id for w in self.waiting if w.message.project_id == project_id)
        return [self.requests[number] for number in asked if number is not None and number in self.requests]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a batch signs, and what its commit marks.

    Attributes:
        targets: target path -> bytes.
        entries: what targets metadata says of each of them, hashed once.
        unset: targets that stop existing.
        listings: the files each touched project lists once this is committed.
        refused: waiting changes that are not signed, with the reason.
        kept: targets that no row can tell again; the catalogue keeps their bytes.
    """

    plans: Sequence[ProjectPlan]
    targets: Mapping[TargetPath, bytes]
    entries: Mapping[TargetPath, TargetEntry]
    unset: Sequence[TargetPath]
    listings: Mapping[ProjectId, Listing]
    refused: Mapping[OutboxId, str]
    kept: Sequence[bytes] = ()

    def digests(self) -> dict[TargetPath, Sha256]:
        """Return the digest of each target."""
        return {path: entry.sha256 for path, entry in self.entries.items()}
