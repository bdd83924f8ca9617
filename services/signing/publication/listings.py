"""The listings of projects, kept between batches so that a publication reads and renders only what changed.

A listing is good for the page document it was last signed as, and for no other: the catalogue names that by its digest,
so a batch of another signer in between, or one that failed, is noticed. It is taken out to be changed and comes back
only when its batch was committed.
"""

from __future__ import annotations

from collections import OrderedDict

from countermark.core.digest import Sha256
from shared.catalogue.publication_rows import ProjectState
from shared.formats.interface import Listing
from shared.ids import ProjectId

MOST_BYTES = 48 << 20
"""Bytes of listings kept at the most, by their own account; those used longest ago go first. A project of ten thousand
files takes about 11 MB."""


class ListingCache:
    """Listings by project, bounded by their weight."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[ProjectId, tuple[Sha256, str, int, Listing]] = OrderedDict()
        self.weight = 0
        """Bytes kept now."""

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, project: ProjectState) -> Listing | None:
        """Return the listing of a project if it is of its current page document and status, ready to be changed."""
        kept = self._kept.pop(project.id, None)
        if kept is None:
            return None
        sha256, status, weight, listing = kept
        self.weight -= weight
        return listing if (sha256, status) == (project.page_sha256, project.status) else None

    def keep(self, project: ProjectState, sha256: Sha256, listing: Listing) -> None:
        """Keep a listing whose batch was committed.

        Args:
            project: as its page shows it.
            sha256: of the page document that was committed.
        """
        self._drop(project.id)
        self._kept[project.id] = (sha256, project.status, listing.weight, listing)
        self.weight += listing.weight
        while self.weight > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, project_id: ProjectId) -> None:
        kept = self._kept.pop(project_id, None)
        if kept is not None:
            self.weight -= kept[2]
