"""Documents that are compressed: what comes back, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from shared import zstd


def test_every_thread_compresses_alike() -> None:
    """A thread's compressor is used again, and keeps nothing of what it compressed before."""
    contents = [bytes([number]) * 1000 for number in range(20)]
    with ThreadPoolExecutor(4) as threads:
        packed = list(threads.map(zstd.pack, contents * 2))
    assert packed[:20] == packed[20:] == [zstd.pack(content) for content in contents]
    assert [zstd.unpack(one) for one in packed] == contents * 2


def test_what_is_damaged_is_refused() -> None:
    """What is cut short, and what is no frame."""
    with pytest.raises(ValueError, match="damaged"):
        zstd.unpack(b"no frame")
    with pytest.raises(ValueError, match="damaged"):
        zstd.unpack(zstd.pack(b"x" * 1000)[:-3])


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the frame names its length, as ours do, or not."""
    unnamed = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    monkeypatch.setattr(zstd, "MAX_UNPACKED", 999)
    with pytest.raises(ValueError, match="too large"):
        zstd.unpack(zstd.pack(b"x" * 1000))
    with pytest.raises(ValueError, match="damaged"):
        zstd.unpack(unnamed)
