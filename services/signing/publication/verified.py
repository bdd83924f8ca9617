"""Which new files' bytes were found right, for the tries of a batch that come after one that was cut short.

Bytes are hashed again before each publication that shows a file (trust contract section 2.6). What is remembered here
only carries a batch that takes longer than its job: each file counts as soon as its own check succeeded, so that the
next try goes on where this one stopped, and is forgotten when the batch is committed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

from shared.catalogue.publication_rows import FileState

MOST_FILES = 100_000
"""Files remembered at the most: about 20 MB. No further ones are taken then: to drop the first would have a batch that
is larger than this begin anew each time."""

GOOD_FOR = 6 * 3600.0
"""Seconds for which a file counts as checked."""


class VerifiedFiles:
    """Files whose bytes this process has hashed, bounded in number and age."""

    def __init__(
        self, most: int = MOST_FILES, good_for: float = GOOD_FOR, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._good_for = good_for
        self._now = now
        self._since: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, file: FileState, *, public: bool) -> None:
        """Note that the store's bytes of a file are what its row says now.

        Args:
            public: on which side of the store they lie.
        """
        if len(self._since) >= self._most:
            oldest = self._now() - self._good_for
            self._since = {key: since for key, since in self._since.items() if since > oldest}
        if len(self._since) < self._most:
            self._since[_key(file, public)] = self._now()

    def has(self, file: FileState, *, public: bool) -> bool:
        """Return whether a file with exactly this digest, length and core metadata was checked, and not long ago."""
        since = self._since.get(_key(file, public))
        return since is not None and self._now() - since < self._good_for

    def forget(self, files: Iterable[FileState], *, public: bool) -> None:
        """Forget files that are published now: when they are hidden and shown again they are hashed again."""
        for file in files:
            self._since.pop(_key(file, public), None)


def _key(file: FileState, public: bool) -> bytes:
    facts = (file.id.hex, file.file_name, file.sha256, int(file.length), file.core_metadata_sha256, public)
    return hashlib.sha256(repr(facts).encode()).digest()
