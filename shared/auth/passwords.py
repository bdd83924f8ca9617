"""Passwords of local accounts, hashed with argon2id. Blocking (tens of milliseconds): run in a thread."""

from __future__ import annotations

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106 section 4, second recommended option cut to 19 MiB as in OWASP's sheet: many logins at once must fit a small
# machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

MAX_PASSWORD = 1024
"""Characters; longer ones are refused before any hashing."""

MAX_MEMORY, MAX_PASSES, MAX_LANES = 131_072, 10, 16
"""What a hash of another program may ask for at each login: KiB of memory, passes, lanes. devpi-server's take 65,536,
3 and 4."""


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


def is_usable_hash(encoded: str) -> bool:
    """Return whether passwords can be compared with a hash that another program made, at a price that logins can bear.

    Source: RFC 9106 section 4 (its first recommended option takes 2 GiB, which is none for a server of many).
    """
    try:
        asked = extract_parameters(encoded)
    except InvalidHashError:
        return False
    return asked.memory_cost <= MAX_MEMORY and asked.time_cost <= MAX_PASSES and asked.parallelism <= MAX_LANES
