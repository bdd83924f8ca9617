"""What an index shows together with its bases: from the signed pages of its stages to one listing. Pure.

Mirrors are left out: nothing of theirs is signed, so a whitelist that opens a project to them adds nothing here.
Source: contract devpi section 15 ("Links: first index wins per file name. Versions: union"); ADRs 0022 and 0027.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from countermark.core.names import IndexName
from countermark.core.page import Page, PageFile


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a merged listing, and the index whose repository has to prove it."""

    file: PageFile
    owner: IndexName


def merged(pages: Iterable[Page]) -> Iterator[Listed]:
    """Yield the files that an index shows of a project together with its bases.

    The nearest page that lists a file name decides for it. A project in quarantine is suspect wherever it comes from:
    the page that says so is the last one, and lists nothing itself.

    Args:
        pages: the project's signed pages in resolution order, of those stages that have one. They are taken one by one,
            so whoever looks for one file need not read what lies behind it.
    """
    seen = set()
    for page in pages:
        if page.quarantined:
            return
        for file in page.files:
            name = file.distribution.file_name
            if name not in seen:
                seen.add(name)
                yield Listed(file, page.index)
