"""Compresses with zstd: documents for the catalogue, and answers."""

from __future__ import annotations

import threading

import zstandard

from shared.exact import exact

LEVEL = 3
"""A page of 100 files, 49 kB, is 9.8 kB after 0.1 ms; one of 10,000, 5 MB, is 0.9 MB after some 15 ms. Next levels gain
nothing on such pages; the highest save an eighth for 30 to 180 times the time."""

MAX_UNPACKED = 256 << 20
"""Bytes of a document that was compressed here."""

_OF_THREAD = threading.local()
"""Each thread's compressor: to make one takes longer than to compress a small page."""


def pack(document: bytes) -> bytes:
    """Compress a document. Blocking: some milliseconds for a big one."""
    compressor: zstandard.ZstdCompressor | None = getattr(_OF_THREAD, "compressor", None)
    if compressor is None:
        compressor = _OF_THREAD.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return exact(compressor.compress(document))


def unpack(packed: bytes) -> bytes:
    """Return a document that `pack` compressed. Blocking.

    Raises:
        ValueError: it is damaged, or too large.
    """
    try:
        # The library holds a frame to the limit only if that names no length of its own.
        if zstandard.frame_content_size(packed) > MAX_UNPACKED:
            raise ValueError("a kept document is too large")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_UNPACKED)
    except zstandard.ZstdError as error:
        raise ValueError("a kept document is damaged") from error
