"""Which projects an index lists, kept between two layings: a change of one project reads one, not all of them.

Source: architecture sections 5.6 and 11.5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.catalogue.heads import PageRef, current_pages
from shared.catalogue.reading import pages_since
from shared.ids import IndexId

MOST_PROJECTS = 300_000
"""Projects kept at the most, over all indexes: about 50 MB. An index that has more by itself is read each time."""


class ProjectLists:
    """Names and serials of the projects with files, by index."""

    def __init__(self, most_projects: int = MOST_PROJECTS) -> None:
        self._most = most_projects
        self._kept: OrderedDict[IndexId, tuple[int, dict[str, int]]] = OrderedDict()

    async def current(self, connection: AsyncConnection, index_id: IndexId, serial: int) -> list[tuple[str, int]]:
        """Return (name, serial of its page) of each project with at least one file, by name.

        Args:
            serial: of the index, read before this is called; what is returned may be newer, never older.
        """
        kept = self._kept.pop(index_id, None)
        if kept is None:
            listed = _changed({}, await current_pages(connection, index_id))
        else:
            # Read again from the serial it was as new as for certain: what it had of later ones already is the same.
            listed = _changed(kept[1], await pages_since(connection, index_id, kept[0]))
        self._kept[index_id] = (serial, listed)
        while sum(len(projects) for _, projects in self._kept.values()) > self._most:
            self._kept.popitem(last=False)
        return sorted(listed.items())


def _changed(listed: dict[str, int], pages: Sequence[PageRef]) -> dict[str, int]:
    for page in pages:
        if page.files:
            listed[page.project] = page.serial
        else:
            listed.pop(page.project, None)
    return listed
