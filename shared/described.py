"""What is not an answer of a route's own, in OpenAPI: problem documents, and when to ask again.

Source: RFC 9457; `shared.problems`, which makes them; RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

from typing import Any

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}

_LATER: dict[str, Any] = {
    "Retry-After": {
        "description": "seconds after which to ask again",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}


def problem(description: str = "What is wrong, in words (RFC 9457)") -> dict[str, Any]:
    """Return the description of an answer that is a problem document."""
    return {"description": description, "content": {"application/problem+json": {"schema": _SCHEMA}}}


def problem_for_now(description: str) -> dict[str, Any]:
    """Return the description of a problem that passes: the answer says when to ask again."""
    return problem(description) | {"headers": _LATER}
