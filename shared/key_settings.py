"""The tables of the settings that are about private keys: what may stand in them. Pure; nothing repeats a secret."""

from __future__ import annotations

import json
import re

from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.uris import parse_uri

_KEYID = re.compile(r"[0-9a-f]{64}\Z")
_SECRET_NAME = re.compile(r"token:[^\x00-\x1f]{1,32}\Z|key:[0-9a-f]{8,64}\Z")


def parse_table(text: str) -> object:
    """Return the table that one variable or file holds.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        table: object = json.loads(text)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ValueError('a table in a variable or file is a JSON object: {"name": "value"}')  # noqa: TRY004 - pydantic's
    return table


def checked_key_uri(keyid: str, uri: str) -> None:
    """Refuse a line of `signing.uris` that can mean no key.

    Raises:
        ValueError: says what it has to be.
    """
    if not _KEYID.match(keyid):
        raise ValueError("each key stands under its whole key id, 64 digits of 0-9a-f")
    try:
        parse_uri(uri)
    except KeyUnusable as error:
        raise ValueError(f"key {keyid[:16]}: {error.problem}. {error.remedy}") from None


def checked_key_secret(name: str, secret: str) -> None:
    """Refuse a line of `signing.secrets` that opens nothing.

    Raises:
        ValueError: says what it has to be.
    """
    if not _SECRET_NAME.match(name):
        raise ValueError("secrets stand under token:<label> or key:<key id, or at least 8 digits of it>")
    if not secret:
        raise ValueError(f"the secret of {name} is empty")
