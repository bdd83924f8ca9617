"""Where the files of a mirrored project come from, as the catalogue keeps it beside the page document. Pure.

One JSON object for all files of a project, compressed: read for one file in milliseconds, while a row for each would
make every page of a big project ten thousand rows.
Source: ADR 0028.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.formats.python.merged import entries
from shared.formats.python.upstream import Listed, Origin, UpstreamPage
from shared.zstd import pack, unpack

Origins = bytes | Mapping[FileName, Listed]
"""The files of a page: packed by `pack_files`, or as they were taken over a moment ago."""

Seen = Mapping[FileName, Sha256]
"""Names that were listed once, with the digest that each keeps."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A page after it was compared with what was seen before.

    Attributes:
        page: as it is kept: a file whose digest changed is listed as before, or not at all.
        seen: names that the page does not list, and listed once.
        changed: file name, digest as first seen, digest that the upstream gives now.
    """

    page: UpstreamPage
    seen: Seen
    changed: tuple[tuple[FileName, Sha256, Sha256], ...]


def settle(page: UpstreamPage, before: Mapping[FileName, Listed], seen: Seen) -> Settled:
    """Hold a page to the digests that its file names had when they were first seen.

    Args:
        before: the files of the page that is kept.
        seen: names that were listed before that.
    """
    files, changed = dict(page.files), []
    for name, listed in page.files.items():
        old = before.get(name)
        first = seen.get(name) if old is None else old.origin.sha256
        if first is None or first == listed.origin.sha256:
            continue
        changed.append((name, first, listed.origin.sha256))
        if old is None:
            del files[name]
        else:
            files[name] = old
    gone = {name: listed.origin.sha256 for name, listed in before.items() if name not in files}
    still = {name: sha256 for name, sha256 in seen.items() if name not in files}
    kept = UpstreamPage(page.project, page.serial, page.status, page.versions, files, page.skipped)
    return Settled(kept, {**still, **gone}, tuple(changed))


def pack_files(files: Mapping[FileName, Listed]) -> bytes:
    """Return the origins of files, in the page's order, compressed."""
    return pack(orjson.dumps({name: _row(listed) for name, listed in files.items()}))


def unpack_origins(origins: Origins) -> dict[FileName, tuple[Origin, str]]:
    """Return origin and version of each file of a page."""
    if isinstance(origins, bytes):
        return {FileName(name): _origin(row) for name, row in orjson.loads(unpack(origins)).items()}
    return {name: (listed.origin, listed.version) for name, listed in origins.items()}


def unpack_origin(origins: Origins, file_name: FileName) -> tuple[Origin, str] | None:
    """Return origin and version of one file of a page, None when it is not among them."""
    if isinstance(origins, bytes):
        row = orjson.loads(unpack(origins)).get(file_name)
        return None if row is None else _origin(row)
    listed = origins.get(file_name)
    return None if listed is None else (listed.origin, listed.version)


def listed_files(document: bytes, packed: bytes) -> dict[FileName, Listed]:
    """Return the files of a page that is kept: its document, and what `pack_files` kept of them."""
    origins = unpack_origins(packed)
    return {name: Listed(entry, *origins[name]) for name, entry in entries(document)}


def pack_seen(seen: Seen) -> bytes | None:
    """Return what was seen, compressed; None for nothing."""
    return pack(orjson.dumps(seen)) if seen else None


def unpack_seen(packed: bytes | None) -> dict[FileName, Sha256]:
    """Return what `pack_seen` kept."""
    return (
        {} if packed is None else {FileName(name): Sha256(text) for name, text in orjson.loads(unpack(packed)).items()}
    )


def _row(listed: Listed) -> list[object]:
    sha256, url, length, uploaded_at, metadata, provenance = listed.origin
    dated = None if uploaded_at is None else uploaded_at.isoformat()
    return [sha256, url, listed.version, length, dated, metadata, provenance]


def _origin(row: list[object]) -> tuple[Origin, str]:
    sha256, url, version, length, uploaded_at, metadata, provenance = row
    origin = Origin(
        sha256=Sha256(str(sha256)),
        url=str(url),
        length=Length(length) if isinstance(length, int) else None,
        uploaded_at=datetime.fromisoformat(uploaded_at) if isinstance(uploaded_at, str) else None,
        metadata_sha256=Sha256(metadata) if isinstance(metadata, str) else None,
        provenance=provenance if isinstance(provenance, str) else None,
    )
    return origin, str(version)
