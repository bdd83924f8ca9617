"""Logging, configured once by the launcher: structlog for ours, the standard library's loggers routed into it.

Event names are constant and values are keyword arguments. Whatever looks like a credential is cut out of every line, as
the last step before level, time and rendering, so that a secret in an error's message does not reach a log either.
Source: style guide section 4 ("Logging"); architecture section 10; structlog's documentation ("Performance").
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "json"]

REDACTED = "[redacted]"

_SECRETS = (
    (re.compile(r"(cm[ks]_)[0-9A-Za-z]{6,}"), rf"\1{REDACTED}"),
    (re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"((?:authorization|x-devpi-auth)['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"(://[^/@\s:]*:)[^/@\s]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"([?&](?:code|state|token|id_token|code_verifier)=)[^&\s'\"]+"), rf"\1{REDACTED}"),
)
"""Text that is a credential wherever it stands: tokens, Authorization values, passwords in URLs, codes in queries."""

_LOOKS = re.compile(r"cm[ks]_|basic\s|bearer\s|authorization|x-devpi-auth|://|[?&](?:code|state|token|id_token)")
"""In every ASCII text, in small letters, that one of these is in: most lines have none of it, and are looked through
once. Without `re.IGNORECASE`, which takes three times as long."""

_SECRET_KEYS = frozenset(
    [
        "authorization",
        "x-devpi-auth",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "password",
        "secret",
        "token",
        "code",
        "id-token",
    ]
)
"""Names whose values are never logged, whatever they look like."""

_HARMLESS = frozenset([int, float, bool, type(None)])
"""Types of values that cannot hold a credential."""

_DEPTH = 6
"""Levels of nested values that are looked through; what lies deeper is left out."""


def configure_logging(log_format: LogFormat, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set logging up for this process; start servers with their own log configuration off.

    Args:
        log_format: `json` for machines, one object a line in UTF-8; `console` for people, at twice the cost; `auto` is
            `console` on a terminal and `json` elsewhere.
        level: the least severe level that is written.
        stream: where lines go; None means standard error.
    """
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        redact,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = _console(out) if log_format == "console" or (log_format == "auto" and out.isatty()) else _json(out)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        # Loggers are made at import; caching would keep the configuration of the first line for ever. Who writes a line
        # for each request binds a logger once.
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    _adopt_libraries()


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut credentials out of a line: by the name of a value, and by their look anywhere in text."""
    if _is_harmless(event):
        return event
    return {key: _value(key, value, _DEPTH) for key, value in event.items()}


def redact_text(text: str) -> str:
    """Return `text` without what looks like a credential."""
    if _may_hold(text):
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


def _console(out: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _json(out: TextIO) -> Processor:
    if isinstance(out, io.TextIOWrapper):
        # Whatever the locale says, JSON is UTF-8 (RFC 8259 section 8.1).
        out.reconfigure(encoding="utf-8", errors=out.errors)
    return structlog.processors.JSONRenderer(serializer=_dumped)


def _dumped(event: EventDict, *, default: Callable[[object], object]) -> str:
    try:
        return orjson.dumps(event, default).decode()
    except TypeError:
        # Integers of more than 64 bits, and halves of characters, which names of files may have.
        return json.dumps(event, default=default)


def _is_harmless(event: EventDict) -> bool:
    """Return whether neither a name nor a value of a line can be a credential; all texts are searched as one."""
    texts = []
    for value in event.values():
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind not in _HARMLESS:
            return False
    return not _names_secret(tuple(event)) and not _may_hold("\n".join(texts))


def _may_hold(text: str) -> bool:
    """Return whether a text is to be gone through for credentials; one with letters beyond ASCII always is, as some of
    them are forms of ASCII's for a pattern that ignores case."""
    return not text.isascii() or _LOOKS.search(text.lower()) is not None


@lru_cache(maxsize=1024)
def _names_secret(keys: tuple[str, ...]) -> bool:
    """Return whether one of the names of a line's values is a secret's: a place that logs has few sets of names."""
    return any(_is_secret(key) for key in keys)


def _value(key: object, value: object, depth: int) -> object:
    secret = isinstance(key, str) and _is_secret(key)
    return REDACTED if secret and value and isinstance(value, str | bytes) else _clean(value, depth)


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return key.lower().replace("_", "-") in _SECRET_KEYS


def _clean(value: object, depth: int) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        if depth == 0:
            return REDACTED
        return {key: _value(key, item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return REDACTED if depth == 0 else [_clean(item, depth - 1) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else redact_text(str(value))


def _adopt_libraries() -> None:
    """Make libraries write through the root logger: the server's access log is off, our canonical line replaces it."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "arq", "alembic", "sqlalchemy"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
    for name in ("httpx2", "httpcore2", "botocore", "aiobotocore", "asyncio", "tuf", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
