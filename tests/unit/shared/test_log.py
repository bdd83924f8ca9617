"""Logs hold identifiers, never secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shared.auth.tokens import new_secret
from shared.log import configure_logging, redact_text


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where JSON lines go; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers, root.level, structlog.get_config()
    out = io.StringIO()
    configure_logging("json", stream=out)
    yield out
    root.handlers, root.level = handlers, level
    structlog.configure(**configuration)


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    """Machines read one object a line, with time, level and what is bound."""
    with structlog.contextvars.bound_contextvars(request_id="request-0004"):
        structlog.get_logger().info("uploaded", file_id=7)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["file_id"], line["request_id"]) == (
        "uploaded",
        "info",
        7,
        "request-0004",
    )
    assert line["timestamp"].endswith("Z")


def test_secrets_are_cut_out_wherever_they_stand(stream: io.StringIO) -> None:
    """A token, an Authorization value or a password in a URL never reaches the log, not even in a traceback."""
    token = new_secret()
    log = structlog.get_logger()
    log.info("asked", authorization="anything", url=f"https://host/?code=abc123&x=1 {token}", nested={"a": [token]})
    try:
        raise ValueError(f"postgresql://user:hunter2@host/db {token}")
    except ValueError:
        log.exception("failed", header=f"Basic {'QWxhZGRpbjpvcGVu'}")
    text = stream.getvalue()
    assert token not in text
    for secret in ("anything", "abc123", "hunter2", "QWxhZGRpbjpvcGVu"):
        assert secret not in text
    assert "Traceback" in text
    assert "x=1" in text


def test_the_servers_own_lines_go_the_same_way(stream: io.StringIO) -> None:
    """The standard library's loggers have the same form and lose the same secrets; access lines are left out."""
    token = new_secret()
    logging.getLogger("uvicorn.error").warning("bad %s", token)
    logging.getLogger("uvicorn.access").info("GET / 200")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["logger"], line["event"]) for line in lines] == [
        ("warning", "uvicorn.error", "bad cmk_[redacted]")
    ]


@pytest.mark.parametrize(
    "text", ["token=5 files", "status 200 for /root/stable/", "basic is a word", "cmk_ is a prefix"]
)
def test_ordinary_text_stays(text: str) -> None:
    """Redaction does not eat what is no secret."""
    assert redact_text(text) == text
