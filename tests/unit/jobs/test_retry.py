"""When a failed job is tried again."""

from __future__ import annotations

from datetime import timedelta

from shared.ids import IndexId, new_uuid
from shared.jobs.consumer import RetryPolicy
from shared.jobs.messages import LayPages, PublishIndex

INDEX = IndexId(new_uuid())


def seconds(*numbers: int) -> list[timedelta]:
    """Return durations."""
    return [timedelta(seconds=number) for number in numbers]


def test_pauses_double_up_to_a_minute_then_the_job_is_dead() -> None:
    """A job is tried ten times: after 1, 2, 4, ... seconds, never more than 60."""
    pauses = [RetryPolicy().retry_in(LayPages(INDEX), failures) for failures in range(1, 11)]
    assert pauses == [*seconds(1, 2, 4, 8, 16, 32, 60, 60, 60), None]


def test_what_an_upload_waits_for_is_never_given_up() -> None:
    """A publication is tried again for ever, at least every 15 seconds."""
    policy = RetryPolicy()
    pauses = [policy.retry_in(PublishIndex(INDEX), failures) for failures in (1, 2, 4, 5, 10, 11, 10_000)]
    assert pauses == seconds(1, 2, 8, 15, 15, 15, 15)
