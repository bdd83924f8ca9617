"""What is remembered of bytes that were found right."""

from __future__ import annotations

from dataclasses import replace

from countermark.core.digest import Length, Sha256
from services.signing.publication.verified import VerifiedFiles
from tests.unit.signing.publication.test_rules import wheel


def test_a_file_counts_only_as_exactly_what_was_checked() -> None:
    """Another digest, length, core metadata or side of the store is another file."""
    verified, file = VerifiedFiles(), wheel("1.0", number=1)
    verified.add(file, public=True)
    assert verified.has(file, public=True)
    assert not verified.has(file, public=False)
    for other in (
        wheel("1.0", number=2),
        replace(file, sha256=Sha256("f" * 64)),
        replace(file, length=Length(101)),
        replace(file, core_metadata_sha256=Sha256("e" * 64)),
    ):
        assert not verified.has(other, public=True)
    verified.forget([file], public=True)
    assert not verified.has(file, public=True)


def test_it_is_bounded_in_number_and_age() -> None:
    """When it is full those that are too old make room; nothing else does, so that a long batch keeps what it has."""
    time = 0.0
    verified = VerifiedFiles(most=2, good_for=10, now=lambda: time)
    first, second, third = (wheel("1.0", number=number) for number in (1, 2, 3))
    verified.add(first, public=True)
    time = 5.0
    verified.add(second, public=True)
    verified.add(third, public=True)
    assert [verified.has(file, public=True) for file in (first, second, third)] == [True, True, False]
    time = 11.0
    assert not verified.has(first, public=True)
    verified.add(third, public=True)
    assert [verified.has(file, public=True) for file in (first, second, third)] == [False, True, True]
    assert len(verified) == 2
