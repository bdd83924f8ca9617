"""Which of the rows that a relay claimed together it sends."""

from __future__ import annotations

from uuid import UUID

from shared.ids import IndexId, OutboxId
from shared.jobs.messages import Envelope, LayPages, Message, PublishIndex, RefreshIndex
from shared.jobs.relay import without_repeats

ONE, OTHER = IndexId(UUID(int=1)), IndexId(UUID(int=2))


def test_one_wake_up_stands_for_all_changes_of_an_index() -> None:
    """The newest change of each index is sent; jobs that their own handler must see done are all sent, in order."""
    messages: list[Message] = [
        PublishIndex(ONE),
        LayPages(ONE),
        PublishIndex(OTHER),
        PublishIndex(ONE),
        RefreshIndex(ONE),
        LayPages(ONE),
        PublishIndex(ONE),
    ]
    envelopes = [Envelope(OutboxId(number), message) for number, message in enumerate(messages, 1)]
    assert [each.outbox_id for each in without_repeats(envelopes)] == [2, 3, 5, 6, 7]
    assert without_repeats([]) == []
