"""Bounds of the index service's memory and time."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.outgoing import Patience


@dataclass(frozen=True, slots=True)
class Limits:
    """What the index service keeps at the most; the defaults fit the smallest deployment we support.

    Attributes:
        memory: bytes of pages, metadata and their compressed forms kept in memory.
        past_memory: the same of pages and lists as they stood at some moment, which anybody may name.
        document: bytes of one stored page document or metadata file that is read at all.
        absent_seconds: seconds for which it is remembered that something does not exist; a new head ends it earlier.
        big_list: projects above which a project list is rendered at most every `list_seconds`.
        list_seconds: seconds for which a big list may lag behind its index.
        list_rows: projects above which it is more, in proportion.
        list_slowest: how many times `list_seconds` at the most.
        respelled_at_once: pages with absolute links that are made at the same time; they are not kept.
        laid_at_once: pages laid at the same time.
        lay_rest: seconds between the end of one laying of an index and the next, at the least.
        lay_share: how many times as long as a laying took is rested, so that large pages are laid seldom.
        lay_longest_rest: seconds at the most.
        lay_patience: seconds to wait for another's laying to end; what is left of a job's time is for laying.
        upstream: how long an upstream is waited for; the whole of its answer has twice the time of its head.
        resting_at_once: indexes that may rest at a time; they take the places of other jobs meanwhile.
    """

    memory: int = 32 << 20
    past_memory: int = 8 << 20
    document: int = 64 << 20
    absent_seconds: float = 30.0
    big_list: int = 10_000
    list_seconds: float = 2.0
    list_rows: int = 25_000
    list_slowest: float = 30.0
    respelled_at_once: int = 2
    laid_at_once: int = 8
    lay_rest: float = 1.0
    lay_share: float = 10.0
    lay_longest_rest: float = 30.0
    lay_patience: float = 30.0
    resting_at_once: int = 5
    upstream: Patience = field(default_factory=Patience)
