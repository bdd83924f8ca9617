"""The Merkle tree of a log; each hash is made once.

Source: RFC 6962 section 2.1.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tree:
    """The tree; it only grows."""

    _levels: list[list[bytes]] = field(default_factory=lambda: [[]])
    """Of each height the full subtrees: of height 0 the leaves."""

    def __len__(self) -> int:
        """Return how many leaves it has."""
        return len(self._levels[0])

    def append(self, body: bytes) -> int:
        """Add a leaf; returns its index."""
        index = len(self)
        node, height = hashlib.sha256(b"\0" + body).digest(), 0
        self._levels[0].append(node)
        while len(self._levels[height]) % 2 == 0:
            left, right = self._levels[height][-2:]
            height += 1
            if height == len(self._levels):
                self._levels.append([])
            self._levels[height].append(_parent(left, right))
        return index

    def root(self) -> bytes:
        """Return the root of all leaves."""
        return self._root(0, len(self))

    def path(self, index: int) -> list[bytes]:
        """Return the hashes beside the way from a leaf to the root, from below."""
        begin, end, path = 0, len(self), list[bytes]()
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if index < middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(begin, middle))
                begin = middle
        return path[::-1]

    def _root(self, begin: int, end: int) -> bytes:
        size = end - begin
        if size & (size - 1) == 0:
            return self._levels[size.bit_length() - 1][begin // size]
        middle = begin + _split(size)
        return _parent(self._root(begin, middle), self._root(middle, end))


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)
