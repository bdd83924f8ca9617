"""What devpi's documents of a view say of its mirrors, together with the page that it is read from.

Source: contract devpi sections 4.4, 7 and 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from countermark.core.names import IndexName, NormalizedName
from services.index.devpi_mirrored import MirroredPart, mirrored_versions
from services.index.documents import STALE, Document
from shared.reading.headers import http_date
from shared.threads import sized


@dataclass(frozen=True, slots=True)
class MirroredVersions:
    """What mirrors show of a project; nothing without a page.

    Attributes:
        mirrors: their URLs, nearest first.
        page: of the project in the index, which shows what stages have as well; `etag` is of its JSON form.
    """

    index: IndexName
    project: NormalizedName
    mirrors: Mapping[IndexName, str]
    page: Document | None = None
    etag: bytes = b""

    @property
    def known(self) -> bool:
        """Whether there is a page."""
        return self.page is not None and self.page.status == HTTPStatus.OK

    @property
    def mark(self) -> str:
        """Another one for another page."""
        return self.etag.decode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """What is to be said of it: since when it was not confirmed, though it should have been."""
        since = None if self.page is None else self.page.shape.stale_since
        return {} if since is None else {STALE.decode("ascii"): http_date(since).decode("ascii")}

    async def versions(self, version: str | None = None) -> dict[str, list[MirroredPart]]:
        """Return each version with its part on every mirror that has it, or those that equal one."""
        if self.page is None or not self.known:
            return {}
        given = (await self.page.text(), self.index, self.mirrors, self.project, version)
        return await sized(self.page.length, mirrored_versions, *given)
