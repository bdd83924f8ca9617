"""Documents of projects as they were answered last, each with the mark of the rows it was made from.

Whether a document is still true is asked of the catalogue at every request, in one statement that reads far less than
the document: so it shows what the last commit made, whichever process that was, and a list of thousands of releases
costs a twentieth. Source: contract devpi section 7; `shared.catalogue.devpi_reading.Mark`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass

MOST = 24 << 20
"""Bytes of all documents; those asked for longest ago go first."""

MOST_OF_ONE = 8 << 20
"""Bytes of one document that is kept."""

_OVERHEAD = 1024
"""Bytes that a document takes beside its text, roughly."""


@dataclass(frozen=True, slots=True)
class _Kept:
    rows: str
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + _OVERHEAD


class DocumentMemory:
    """Bodies by what they were asked by."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self.size = 0
        """Bytes kept now."""

    def find(self, key: Hashable, rows: str) -> bytes | None:
        """Return a body that was made from these rows."""
        kept = self._kept.get(key)
        if kept is None or kept.rows != rows:
            return None
        self._kept.move_to_end(key)
        return kept.body

    def keep(self, key: Hashable, rows: str, body: bytes) -> None:
        """Keep a body, in place of an older one.

        Args:
            rows: the mark that was taken before the rows were read.
        """
        old = self._kept.pop(key, None)
        self.size -= 0 if old is None else old.size
        new = _Kept(rows, body)
        if len(body) > MOST_OF_ONE or new.size > self._most:
            return
        self._kept[key] = new
        self.size += new.size
        while self.size > self._most:
            _, gone = self._kept.popitem(last=False)
            self.size -= gone.size

    async def passed_on(self, key: Hashable, rows: str, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the parts of a body, and keep it once all were taken; one that is too large is not collected."""
        collected: list[bytes] | None = []
        length = 0
        async for part in parts:
            length += len(part)
            if collected is not None and length <= MOST_OF_ONE:
                collected.append(part)
            else:
                collected = None
            yield part
        if collected is not None:
            self.keep(key, rows, b"".join(collected))
