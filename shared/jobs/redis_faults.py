"""Says in one line what is wrong with Redis and how to mend it. Never the URL: it holds the password."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

_FAULTS: tuple[tuple[type[Exception], str, bool], ...] = (
    (AuthenticationError, "Redis refuses the user or the password: correct queue.url", False),
    (AuthenticationWrongNumberOfArgsError, "Redis knows no users: leave the user out of queue.url", False),
    (NoPermissionError, "Redis denies a command that is needed: widen the rights of the user of queue.url", False),
    (BusyLoadingError, "Redis is starting", True),
    (ReadOnlyError, "Redis is read-only (a replica?): let queue.url name the primary server", True),
    (OutOfMemoryError, "Redis is out of memory: give it more", True),
)
"""Kind of error, what it means, and whether it may be over in a moment; the first that fits counts."""


def redis_fault(error: BaseException) -> tuple[str, bool]:
    """Return what an error of Redis or of reaching it means, and whether it may be over in a moment."""
    for kind, text, passing in _FAULTS:
        if isinstance(error, kind):
            return text, passing
    if isinstance(error, ResponseError):
        return f"Redis refuses ({str(error)[:100]}): see its log", True
    if error.__cause__ is not None:
        # What happens while connecting arrives wrapped.
        text, passing = redis_fault(error.__cause__)
        if not passing:
            return text, passing
    return f"Redis does not answer ({type(error).__name__}): start it, or correct queue.url", True
