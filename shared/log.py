"""Logging, configured once by the launcher: structlog for ours, the standard library's loggers routed into it.

Event names are constant and values are keyword arguments. Whatever looks like a credential is cut out of every line, as
the last step before rendering, so that a secret in an error's message does not reach a log either.
Source: style guide section 4 ("Logging"); architecture section 10.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import lru_cache
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["json", "console"]

REDACTED = "[redacted]"

_SECRETS = (
    (re.compile(r"(cm[ks]_)[0-9A-Za-z]{6,}"), rf"\1{REDACTED}"),
    (re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"((?:authorization|x-devpi-auth)['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"(://[^/@\s:]*:)[^/@\s]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"([?&](?:code|state|token|id_token|code_verifier)=)[^&\s'\"]+"), rf"\1{REDACTED}"),
)
"""Text that is a credential wherever it stands: tokens, Authorization values, passwords in URLs, codes in queries."""

_LOOKS = re.compile(
    r"cm[ks]_|basic\s|bearer\s|authorization|x-devpi-auth|://|[?&](?:code|state|token|id_token)", re.IGNORECASE
)
"""In every text that one of these is in: most texts of a line have none of it, and are looked through once."""

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

_DEPTH = 6
"""Levels of nested values that are looked through; what lies deeper is left out."""


def configure_logging(log_format: LogFormat, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set logging up for this process; start servers with their own log configuration off.

    Args:
        log_format: `json` for machines, one object a line; `console` for people.
        level: the least severe level that is written.
        stream: where lines go; None means standard error.
    """
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        # Loggers are made at import; caching would keep the configuration of the first line for ever.
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
    return {key: _value(key, value, _DEPTH) for key, value in event.items()}


def redact_text(text: str) -> str:
    """Return `text` without what looks like a credential."""
    if _LOOKS.search(text) is not None:
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
    return text


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
