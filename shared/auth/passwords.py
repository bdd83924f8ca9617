"""Passwords of local accounts, hashed with argon2id. Blocking (tens of milliseconds): run in a thread."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106 section 4, second recommended option cut to 19 MiB as in OWASP's sheet: many logins at once must fit a small
# machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

MAX_PASSWORD = 1024
"""Characters; longer ones are refused before any hashing."""


def hash_password(password: str) -> str:
    """Return the encoded argon2id hash of a password."""
    return _HASHER.hash(password)


def password_matches(encoded: str, password: str) -> bool:
    """Return whether `password` belongs to the encoded hash; False for a hash that cannot be read."""
    if len(password) > MAX_PASSWORD:
        return False
    try:
        return _HASHER.verify(encoded, password)
    except (VerificationError, InvalidHashError):
        return False
