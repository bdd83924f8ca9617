"""What is told of a file that waits for approvals: one state and one part of a sentence for each case."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.catalogue.approvals import Standing
from shared.ids import FileId, new_uuid

NOW = datetime(2026, 11, 26, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(days=1), NOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("kept", "needed", "people", "given", "others", "expires_at", "state", "words"),
    [
        (None, 2, None, (), 0, None, "waiting", "waiting for 2 of 2 approvals"),
        ("open", 1, ("ann",), (), 0, LATER, "waiting", "waiting for 1 of 1 approval of ann"),
        ("open", 2, ("ann", "ben"), ("ann",), 0, LATER, "waiting", "waiting for 1 of 2 approvals of ann, ben"),
        ("open", 1, None, ("ann",), 3, LATER, "waiting", "approved, and waiting for 3 more that came with it"),
        ("open", 2, None, ("ann",), 0, BEFORE, "expired", "not approved in time: 1 of 2 approvals were missing"),
        ("open", 2, None, ("ann",), 0, NOW, "expired", "not approved in time: 1 of 2 approvals were missing"),
        ("withdrawn", 2, None, ("ann",), 0, BEFORE, "withdrawn", "withdrawn before it was approved"),
        ("approved", 2, None, ("ann", "ben"), 0, BEFORE, "approved", "approved by ann, ben"),
        ("approved", 0, None, (), 0, LATER, "approved", "approved by nobody, since nothing is demanded any more"),
    ],
)
def test_each_case_has_its_words(
    kept: str | None,
    needed: int,
    people: tuple[str, ...] | None,
    given: tuple[str, ...],
    others: int,
    expires_at: datetime | None,
    state: str,
    words: str,
) -> None:
    """Uploaders and approvers read the same words, wherever they look."""
    standing = Standing(FileId(new_uuid()), kept, needed, people, given, others, expires_at)
    assert (standing.state(NOW), standing.words(NOW)) == (state, words)
