"""The two documents about the attestations of a hosted file, made from what is kept of it.

What PEP 740 can express is in its provenance object; where the other bundles lie is said by a list beside it, so that
whoever has both has all. Nobody needs to trust either: bundles prove themselves.
Source: architecture sections 6 and 11.8; contract python-index section 1.8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from countermark.core.names import FileName
from shared.catalogue.attestations import Stored
from shared.objects.keys import bundle_key
from shared.reading.provenance import Publisher, attestation_of, bundle_list, provenance_object, publisher_in_object

Read = Callable[[Stored], Awaitable[bytes]]
"""Returns the bytes of a bundle, which have its digest."""


def in_object(rows: Iterable[Stored]) -> list[tuple[Stored, Publisher]]:
    """Return the attestations that a provenance object can hold, each with its publisher."""
    judged = ((row, publisher_in_object(row.publisher, row.predicate_type, row.facts)) for row in rows)
    return [(row, publisher) for row, publisher in judged if publisher is not None]


async def provenance_of(rows: Sequence[Stored], read: Read) -> bytes | None:
    """Return a file's provenance object, None where nothing of it can be expressed.

    Args:
        rows: all that is kept of the file, oldest first.
        read: asked for one bundle after the other: no more than one is in memory beside what was made of the others.

    Raises:
        ValueError: a bundle makes no attestation.
        Exception: whatever `read` raises.
    """
    found = [(publisher, attestation_of(await read(row))) for row, publisher in in_object(rows)]
    return provenance_object(found) if found else None


def other_bundles(rows: Sequence[Stored], file_name: FileName) -> bytes | None:
    """Return the list of a file's bundles that are in no provenance object, None when there is none.

    Args:
        rows: all that is kept of the file, oldest first.
    """
    held = {row.id for row, _ in in_object(rows)}
    rest = [row for row in rows if row.id not in held]
    lines = ((bundle_key(row.sha256, file_name), row.sha256, row.length, row.predicate_type) for row in rest)
    return bundle_list(lines) if rest else None
