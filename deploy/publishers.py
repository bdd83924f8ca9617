"""Who a token is made for, as an operator's broker says: the CI run whose identity token it has verified.

Source: contract python-index section 4.2; ADR 0037.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.errors import UsageError
from shared.strict_json import BadJson, read_json

KINDS = ("GitHub", "GitLab", "Google")

_MOST = 64 << 10
"""Bytes of the file; the claims of an identity token have some 2,000."""

_KEYS = frozenset(["kind", "claims", "environment"])


def read_publisher(path: Path) -> dict[str, Any]:
    """Return the publisher that a file names: `kind`, the `claims` of an identity token, and perhaps `environment`.

    Raises:
        UsageError: it cannot be read, or names none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        document = read_json(content) if len(content) <= _MOST else None
    except BadJson as error:
        raise UsageError(f"{path} is no JSON that can be read") from error
    if not isinstance(document, dict) or not {"kind", "claims"} <= document.keys() <= _KEYS:
        raise UsageError(f'{path} must be an object: {{"kind": "GitHub", "claims": {{...}}, "environment": "release"}}')
    if document["kind"] not in KINDS:
        raise UsageError(f"{path}: there is no kind {document['kind']!r} of publisher: use {', '.join(KINDS)}")
    claims, environment = document["claims"], document.get("environment")
    if not isinstance(claims, dict) or not isinstance(claims.get("iss"), str):
        raise UsageError(f"{path}: claims must be those of an identity token, with its issuer as iss")
    if environment is not None and not isinstance(environment, str):
        raise UsageError(f"{path}: environment must be a text")
    return document
