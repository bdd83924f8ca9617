"""Facts about objects in parts that need no store."""

from __future__ import annotations

from hashlib import md5

from shared.objects.s3_buffers import PART
from shared.objects.s3_multipart import MAX_PARTS, etag_of_parts


def test_etag_of_parts() -> None:
    """The ETag of an object in parts is the digest of its parts' digests, and their number."""
    parts = [md5(b"a", usedforsecurity=False), md5(b"b", usedforsecurity=False)]
    expected = md5(b"".join(part.digest() for part in parts), usedforsecurity=False).hexdigest()
    assert etag_of_parts([f'"{part.hexdigest()}"' for part in parts]) == f"{expected}-2"


def test_etag_of_parts_that_are_no_digests() -> None:
    """ETags that are no digests tell nothing, which is not the same as a difference."""
    assert etag_of_parts(["not-a-digest"]) is None


def test_the_largest_file() -> None:
    """Parts of the usual length reach far beyond the largest file that is taken by default."""
    assert MAX_PARTS * PART > 10 * (4 << 30)
