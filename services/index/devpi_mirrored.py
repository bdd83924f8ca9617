"""What devpi's documents say of files of mirrors: what the page shows, and nothing else. Pure.

Pages are where rules, whitelists and digests were decided, so a document is made from the page that is served now.
Source: contract devpi sections 4.4, 7 and 14; architecture section 11.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from countermark.core.names import IndexName, NormalizedName
from services.index.rules import SIGNED_ROOT
from shared.formats.python.foreign import version_named
from shared.formats.python.merged import origin_of
from shared.formats.python.names import release_key


@dataclass(frozen=True, slots=True)
class MirroredPart:
    """One version on one mirror.

    Attributes:
        url: of the mirror, without a slash at its end.
        files: as the page lists them.
    """

    url: str
    project: NormalizedName
    version: str
    files: Sequence[Mapping[str, Any]]

    def verdata(self) -> dict[str, Any]:
        """Return what devpi says of a version that was never uploaded here: no metadata, and links without a log."""
        document: dict[str, Any] = {"name": self.project, "version": self.version}
        for file in self.files:
            # As devpi does: what the last file says that says anything.
            if file.get("requires-python"):
                document["requires_python"] = file["requires-python"]
            if file.get("yanked", False) is not False:
                document["yanked"] = file["yanked"]
        document["+links"] = [self._link(file) for file in self.files]
        return document

    def _link(self, file: Mapping[str, Any]) -> dict[str, Any]:
        sha256 = file["hashes"]["sha256"]
        href = f"{self.url}/{file['url'].removeprefix(SIGNED_ROOT)}"
        return {"rel": "releasefile", "href": href, "hash_spec": f"sha256={sha256}", "hashes": {"sha256": sha256}}


def mirrored_versions(
    page: bytes, index: IndexName, mirrors: Mapping[IndexName, str], project: NormalizedName, version: str | None = None
) -> dict[str, list[MirroredPart]]:
    """Return the versions of a project that mirrors show on a page, each with its part on every mirror that has it.

    Args:
        page: the document of the page.
        index: whose page it is.
        mirrors: their URLs, nearest first.
        version: leaves out those that do not equal it; None for all.
    """
    found: dict[str, dict[IndexName, list[Mapping[str, Any]]]] = {}
    key = None if version is None else release_key(version)
    for file in orjson.loads(page)["files"]:
        origin = origin_of(file, index)
        if origin not in mirrors or (written := version_named(file["filename"], project)) is None:
            continue
        if key is None or written == version or release_key(written) == key:
            found.setdefault(written, {}).setdefault(origin, []).append(file)
    return {
        written: [MirroredPart(mirrors[name], project, written, shown[name]) for name in mirrors if name in shown]
        for written, shown in found.items()
    }
