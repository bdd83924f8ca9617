"""What OpenAPI says of problems is what is sent. RFC 9457; RFC 9110 section 10.2.3."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from deploy.openapi import FOLDER
from shared.described import problem, problem_for_now
from shared.errors import ErrorKind, ServiceError
from shared.problems import STATUS, problem_answer

VERIFY = "/api/v1/verify/{owner}/{index}/{project}/{version}/{filename}"
JSON_TYPES: dict[str, type] = {"string": str, "integer": int}


@pytest.mark.parametrize("kind", [ErrorKind.TOO_MANY, ErrorKind.UNAVAILABLE])
def test_a_problem_that_passes_is_as_described(kind: ErrorKind) -> None:
    """Media type, keys with their types, and in how many seconds to ask again."""
    told = problem_for_now("why")
    answer = problem_answer(ServiceError(kind, "Wait.", retry_after=timedelta(seconds=1.2)))
    [(media_type, described)] = told["content"].items()
    assert answer.headers["content-type"] == media_type
    body, schema = orjson.loads(answer.body), described["schema"]
    assert set(schema["required"]) <= body.keys() <= schema["properties"].keys()
    assert all(isinstance(value, JSON_TYPES[schema["properties"][key]["type"]]) for key, value in body.items())
    assert int(answer.headers["retry-after"]) >= told["headers"]["Retry-After"]["schema"]["minimum"]


def test_other_problems_say_nothing_of_later() -> None:
    """What waiting does not change has no such header."""
    assert "headers" not in problem()
    assert "retry-after" not in problem_answer(ServiceError(ErrorKind.NOT_FOUND, "No.")).headers


def test_verifying_describes_what_passes() -> None:
    """The committed description of the route has both answers, with the header that says when to ask again."""
    described: dict[str, Any] = orjson.loads((FOLDER / "download.json").read_bytes())["paths"][VERIFY]["get"]
    for kind in (ErrorKind.TOO_MANY, ErrorKind.UNAVAILABLE):
        answer = described["responses"][str(STATUS[kind].value)]
        assert list(answer["content"]) == ["application/problem+json"]
        assert answer["headers"]["Retry-After"]["required"] is True
