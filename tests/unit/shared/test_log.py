"""Logs hold identifiers, never secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from shared.auth.tokens import new_secret
from shared.log import configure_logging, redact_text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _kept() -> Iterator[None]:
    """Leave logging as it was before."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**configuration)


@pytest.fixture
def stream() -> io.StringIO:
    """Where JSON lines go."""
    out = io.StringIO()
    configure_logging("json", stream=out)
    return out


@pytest.mark.parametrize(
    ("log_format", "out", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", _Terminal(), False),
        ("console", io.StringIO(), False),
        ("json", _Terminal(), True),
    ],
)
def test_people_read_lines_at_a_terminal_and_machines_objects(
    log_format: Literal["auto", "console", "json"], out: io.StringIO, *, is_json: bool
) -> None:
    """Unless it is said otherwise, what is written into a file or a pipe is for machines."""
    configure_logging(log_format, stream=out)
    structlog.get_logger().info("uploaded", file_id=7)
    logging.getLogger("asyncio").warning("slow")
    assert [line.startswith("{") for line in out.getvalue().splitlines()] == [is_json, is_json]


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, {7: "x"}, {"\ud800": 1}])
def test_what_json_can_hold_is_always_written(stream: io.StringIO, value: object) -> None:
    """Halves of characters, integers of any length, names that are no texts: no line is an exception of its own."""
    structlog.get_logger().info("told", value=value)
    expected = {"7": "x"} if value == {7: "x"} else value
    assert json.loads(stream.getvalue())["value"] == expected


def test_json_is_utf_8_whatever_the_locale() -> None:
    """A stream of another encoding is told to write UTF-8."""
    out = io.BytesIO()
    text = io.TextIOWrapper(out, encoding="latin-1", errors="backslashreplace", write_through=True)
    configure_logging("json", stream=text)
    structlog.get_logger().info("told", name="Zo\u00eb \u20ac")
    assert json.loads(out.getvalue().decode())["name"] == "Zo\u00eb \u20ac"


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
    "secret",
    [
        {"text": "AUTHORIZATION: anything else"},
        {"text": "Bearer abcdefgh12345678"},
        {"text": "bea\u0280er Ba\u017fic abcdefgh12345678"},
        {"text": b"cmk_abcdefgh12345678"},
        {"text": ("harmless", {"deep": "x-devpi-auth=abcdefgh12345678"})},
        {"Set_Cookie": "abcdefgh12345678"},
        {"event_of": "harmless", "password": "abcdefgh12345678"},
    ],
)
def test_one_secret_among_harmless_values_is_found(stream: io.StringIO, secret: dict[str, object]) -> None:
    """By the name or by the look, in any letters, at any depth; what stands beside it stays."""
    structlog.get_logger().info("asked", path="/root/stable/", status=200, ratio=0.5, ok=True, none=None, **secret)
    line = json.loads(stream.getvalue())
    assert (line["path"], line["status"], line["ratio"], line["ok"], line["none"]) == (
        "/root/stable/",
        200,
        0.5,
        True,
        None,
    )
    assert "abcdefgh12345678" not in stream.getvalue()
    assert "anything" not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()


def test_what_is_bound_is_looked_through(stream: io.StringIO) -> None:
    """A secret that a logger or the request has bound is no exception."""
    with structlog.contextvars.bound_contextvars(token="abcdefgh12345678"):
        structlog.get_logger().bind(url="https://u:abcdefgh12345678@host/").info("asked")
    assert "abcdefgh12345678" not in stream.getvalue()


@pytest.mark.parametrize(
    "text", ["token=5 files", "status 200 for /root/stable/", "basic is a word", "cmk_ is a prefix"]
)
def test_ordinary_text_stays(text: str) -> None:
    """Redaction does not eat what is no secret."""
    assert redact_text(text) == text
