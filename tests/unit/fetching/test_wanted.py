"""Where bytes of upstreams are, and under what they are kept."""

from __future__ import annotations

from uuid import UUID

import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.auth.directory import IndexRecord
from shared.fetching.wanted import wanted_file, wanted_metadata, wanted_provenance
from shared.formats.python.upstream import Origin
from shared.ids import IndexId
from shared.objects.keys import MIRRORED, check_key

NAME, PROJECT, SHA256 = FileName("thing-1.0+x-py3-none-any.whl"), NormalizedName("thing"), sha256_of(b"x")


def mirror(number: int, life: int = 1) -> IndexRecord:
    """Return a mirror."""
    return IndexRecord(
        IndexId(UUID(int=number)), IndexName("root", "pypi"), life, "mirror", True, False, "strict", frozenset()
    )


def origin(url: str = "https://up.test/f/thing.whl", length: int | None = 7) -> Origin:
    """Return where a file comes from."""
    size = None if length is None else Length(length)
    return Origin(SHA256, url, size, None, sha256_of(b"metadata"), "https://up.test/p")


def test_each_mirror_has_its_own_objects() -> None:
    """And each life of a mirror: a digest alone gives nobody what another one fetched."""
    keys = {wanted_file(mirror(*which), PROJECT, NAME, origin(), 100).key for which in ((1,), (2,), (1, 2))}
    assert len(keys) == 3
    for key in keys:
        assert check_key(key).startswith(MIRRORED)


def test_what_is_beside_a_file_has_other_keys() -> None:
    """Also when its content changes, by its digest, or its address where it has none."""
    found = [wanted_metadata(mirror(1), PROJECT, NAME, origin()), wanted_provenance(mirror(1), PROJECT, NAME, origin())]
    keys = {wanted_file(mirror(1), PROJECT, NAME, origin(), 100).key, *(one.key for one in found if one is not None)}
    assert len(keys) == 3
    assert all(map(check_key, keys))
    bare = Origin(SHA256, "https://up.test/f")
    assert wanted_metadata(mirror(1), PROJECT, NAME, bare) is None
    assert wanted_provenance(mirror(1), PROJECT, NAME, bare) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://up.test/f/a.whl", "https://up.test/f/a.whl.metadata"),
        ("https://up.test/f/a.whl?x=1", "https://up.test/f/a.whl.metadata?x=1"),
    ],
)
def test_where_metadata_is(url: str, expected: str) -> None:
    """PEP 658: beside the file, behind the path."""
    found = wanted_metadata(mirror(1), PROJECT, NAME, origin(url))
    assert found is not None
    assert found.url == expected


def test_lengths_are_bounded() -> None:
    """By what the page says, else by what is taken at the most."""
    assert wanted_file(mirror(1), PROJECT, NAME, origin(length=7), 100).most == 7
    assert wanted_file(mirror(1), PROJECT, NAME, origin(length=None), 100).most == 100
