"""What people may write into documents of accounts and indexes, bounded so that it can be kept and shown. Pure."""

from __future__ import annotations

import math
from typing import Any

import orjson

from shared.errors import ErrorKind, ServiceError
from shared.strict_json import BadJson, read_json

MAX_TEXT = 10_000
"""Characters of a title, a description and the like."""

MAX_CUSTOM_DATA = 64 << 10
"""Bytes of `custom_data` as JSON."""

MAX_DEPTH = 20
"""Levels of `custom_data`."""


class Unfit(ValueError):
    """A value that cannot be kept; the message is for the client."""


def json_body(body: bytes) -> Any:
    """Read a request's JSON.

    Raises:
        ServiceError: INVALID, in devpi's words.
    """
    try:
        return read_json(body)
    except BadJson as error:
        raise ServiceError(ErrorKind.INVALID, str(error)) from error


def json_object(body: bytes) -> dict[str, Any]:
    """Read a request's JSON, which must be an object.

    Raises:
        ServiceError: INVALID.
    """
    document = json_body(body)
    if not isinstance(document, dict):
        raise ServiceError(ErrorKind.INVALID, "Bad request: could not decode json: send an object")
    return document


def checked_text(option: str, value: object) -> str:
    """Return a text that can be kept.

    Raises:
        Unfit: it is none.
    """
    if not isinstance(value, str):
        raise Unfit(f"'{option}' option must be a text.")
    if len(value) > MAX_TEXT or "\0" in value:
        raise Unfit(f"'{option}' option has at most {MAX_TEXT} characters, and no null character.")
    return value


def checked_json(option: str, value: object) -> object:
    """Return a JSON value that can be kept.

    Raises:
        Unfit: it is too large, too deep, or holds what the catalogue cannot keep.
    """
    if not _shallow(value, MAX_DEPTH):
        raise Unfit(f"'{option}' option has at most {MAX_DEPTH} levels, numbers of 64 bits and no null character.")
    if len(orjson.dumps(value)) > MAX_CUSTOM_DATA:
        raise Unfit(f"'{option}' option has at most {MAX_CUSTOM_DATA} bytes.")
    return value


def _shallow(value: object, levels: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, int):
        return abs(value) < 1 << 63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return levels > 0 and all(_shallow(key, 1) and _shallow(item, levels - 1) for key, item in value.items())
    if isinstance(value, list):
        return levels > 0 and all(_shallow(item, levels - 1) for item in value)
    return True
