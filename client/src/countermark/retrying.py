"""When a request may be sent again, and how long to wait before.

Source: RFC 9110 sections 9.2.2 (idempotent methods), 10.2.3 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

PASSING = frozenset({429, 502, 503, 504})
"""Answers that say: not now."""

LONGEST_PAUSE = 60.0
"""Seconds: a server that wants a longer one is told of as a failure at the next attempt."""


def may_pass(error: httpx2.HTTPError) -> bool:
    """Return whether a failure is one of the line, so that the same request may succeed later."""
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError | httpx2.TimeoutException)


def pause_before(attempt: int, headers: Mapping[str, str] | None = None) -> float:
    """Return the seconds to wait after a failed attempt: half a second, then three times as long each time.

    Args:
        attempt: which one failed, from 1.
        headers: of the answer, when there was one; its `Retry-After` in seconds is respected, up to `LONGEST_PAUSE`.
    """
    pause = 0.5 * 3.0 ** (attempt - 1)
    wanted = (headers or {}).get("retry-after", "")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        pause = max(pause, float(wanted))
    return float(min(pause, LONGEST_PAUSE))
