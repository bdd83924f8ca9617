"""Pages of upstreams as they are kept: packed, settled against what was kept before. Pure; blocking for big pages.

Source: architecture section 11.6 (the digest a name first had is kept); ADR 0028.
"""

from __future__ import annotations

from datetime import datetime

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName
from shared.catalogue.mirror_pages import KeptPage
from shared.formats.python.origins import (
    Settled,
    listed_files,
    pack_files,
    pack_seen,
    settle,
    unpack_seen,
)
from shared.formats.python.upstream import UpstreamPage, page_of_mirror
from shared.zstd import pack, unpack

Changed = tuple[tuple[FileName, Sha256, Sha256], ...]
"""File name, digest as first seen, digest that the upstream gives now."""
Ages = tuple[datetime | None, datetime | None]
"""When a page's newest file was uploaded, None when one has no date, and the oldest of those that have."""


def held_page(index: IndexName, kept: KeptPage | None, page: UpstreamPage, strict: bool) -> tuple[Settled, bytes]:
    """Return a page held to what is kept of it, and its document.

    Args:
        strict: whether names keep their digests.
    """
    settled = Settled(page, {}, ())
    if kept is not None and strict:
        before = {}
        if kept.document is not None and kept.origins is not None:
            before = listed_files(unpack(kept.document), kept.origins)
        settled = settle(page, before, unpack_seen(kept.seen))
    return settled, page_of_mirror(index, settled.page)


def pack_page(document: bytes, settled: Settled) -> tuple[bytes, bytes, bytes | None, Changed, Ages]:
    """Return document, origins and former digests of a page as they are kept, which digests changed, and `Ages`."""
    dates = [listed.origin.uploaded_at for listed in settled.page.files.values()]
    known = sorted(date for date in dates if date is not None)
    ages = (known[-1] if known and None not in dates else None, known[0] if known else None)
    return pack(document), pack_files(settled.page.files), pack_seen(settled.seen), settled.changed, ages


def seen_after(kept: KeptPage) -> bytes | None:
    """Return the digests that names keep once the project is gone."""
    seen = dict(unpack_seen(kept.seen))
    if kept.document is not None and kept.origins is not None:
        files = listed_files(unpack(kept.document), kept.origins)
        seen |= {name: listed.origin.sha256 for name, listed in files.items()}
    return pack_seen(seen)
