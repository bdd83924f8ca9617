"""Listings kept between batches: only what was committed comes back, and memory is bounded."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import NormalizedName
from services.signing.publication.listings import ListingCache
from shared.catalogue.publication_rows import ProjectState
from shared.formats.registry import FORMATS
from shared.ids import ProjectId
from tests.unit.formats.pages import page_file

PAGE, OTHER = sha256_of(b"page"), sha256_of(b"another page")


def project(number: int = 1, *, page: Sha256 | None = PAGE, status: str = "active") -> ProjectState:
    """A project as the catalogue tells of it."""
    return ProjectState(ProjectId(UUID(int=number)), NormalizedName("widget"), "python", status, None, 1, page)


def test_a_listing_comes_back_once() -> None:
    """It is given for the page it was kept for, and is gone until its batch was committed."""
    cache, listing = ListingCache(), FORMATS["python"].listing([page_file("widget-1.0.tar.gz")])
    cache.keep(project(), PAGE, listing)
    assert cache.take(project()) is listing
    assert cache.take(project()) is None
    assert (len(cache), cache.weight) == (0, 0)


def test_a_listing_of_another_page_is_never_given() -> None:
    """A batch of another signer, a project that is new, or one whose status changed meanwhile: all is read again."""
    cache, listing = ListingCache(), FORMATS["python"].listing()
    for now in (project(page=OTHER), project(page=None), replace(project(), status="quarantined")):
        cache.keep(project(), PAGE, listing)
        assert cache.take(now) is None
        assert cache.take(project()) is None, "it is out of date for good"


def test_memory_is_bounded() -> None:
    """The listing used longest ago goes first; one that is too large by itself is not kept."""
    small = FORMATS["python"].listing([page_file("widget-1.0.tar.gz")])
    large = FORMATS["python"].listing([page_file(f"widget-1.{number}.tar.gz") for number in range(4)])
    cache = ListingCache(most_bytes=small.weight * 3)
    for number in (1, 2, 3, 4):
        cache.keep(project(number), PAGE, small)
    assert cache.weight == small.weight * 3
    assert cache.take(project(1)) is None
    assert cache.take(project(4)) is small
    cache.keep(project(5), PAGE, large)
    assert cache.take(project(5)) is None
    assert cache.weight <= small.weight * 3
