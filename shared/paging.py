"""Keyset paging of every list of `/api/v1`: an opaque cursor says after which row the next page begins.

A cursor is the key of the last row shown, so a page costs the same wherever it begins and no row is missed or shown
twice when others come and go. Cursors are not signed: whoever makes one up sees the same rows as with another filter.
Source: RFC 4648 section 5 (base64url); architecture section 11.8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import ErrorKind, ServiceError

Row = TypeVar("Row")
Item = TypeVar("Item")

MAX_CURSOR = 2048
"""Characters of a cursor."""

MAX_LIMIT = 200
"""Rows of a page at the most."""

DEFAULT_LIMIT = 50
"""Rows of a page unless the client asks otherwise."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="rows of this page at the most")]
"""The query parameter `limit`; give it `DEFAULT_LIMIT` as default."""

After = Annotated[str | None, Query(max_length=MAX_CURSOR, description="the `next` of the page before")]
"""The query parameter `after`; give it None as default."""


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next` is the cursor of the page after it, None on the last."""

    model_config = ConfigDict(frozen=True)

    items: list[Item]
    next: str | None = Field(None, description="give it as `after` to get the page after this one")


def encode_cursor(position: Mapping[str, Any]) -> str:
    """Return the cursor of a position.

    Args:
        position: the sort key of the last row shown; strings, numbers, times and UUIDs.
    """
    return base64.urlsafe_b64encode(orjson.dumps(dict(position))).decode("ascii").rstrip("=")


def decode_cursor(cursor: str) -> dict[str, Any]:
    """Return the position of a cursor; times and UUIDs come back as strings.

    Raises:
        ServiceError: malformed, when it is none of ours.
    """
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError
        position = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise _malformed() from error
    if not isinstance(position, dict):
        raise _malformed()
    return position


def cursor_text(position: Mapping[str, Any], key: str) -> str:
    """Return a text of a decoded cursor.

    Raises:
        ServiceError: malformed, when it is not there or no text.
    """
    value = position.get(key)
    if not isinstance(value, str) or "\x00" in value:
        raise _malformed()
    return value


def cursor_number(position: Mapping[str, Any], key: str) -> int:
    """Return a whole number of a decoded cursor, one that fits 64 bits.

    Raises:
        ServiceError: malformed, when it is not there or no such number.
    """
    value = position.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _malformed()
    return value


def page_of(
    rows: Sequence[Row], limit: int, item: Callable[[Row], Item], position: Callable[[Row], Mapping[str, Any]]
) -> Page[Item]:
    """Return a page from the rows of a query that asked for one row more than the page holds.

    Args:
        rows: at most `limit` + 1 rows in the list's order.
        item: makes what the page shows of a row.
        position: the sort key of a row.
    """
    shown = rows[:limit]
    more = encode_cursor(position(shown[-1])) if len(rows) > limit else None
    return Page(items=[item(row) for row in shown], next=more)


def _malformed() -> ServiceError:
    return ServiceError(ErrorKind.MALFORMED, "The cursor in `after` is none of this server: start without one.")
