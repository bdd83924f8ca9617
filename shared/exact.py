"""Bytes that are kept take the memory of their own length.

Some encoders give out the buffer that they wrote into, and Python believes what they say of its length: an entry of 300
bytes that orjson wrote holds 4 kB, a page of 96 kB 260 kB; what zstandard compressed holds the length of what went in.
For an answer that is sent and forgotten that does not matter. Whatever is kept, or made by the thousand at the same
time, is copied once.
"""

from __future__ import annotations


def exact(made: bytes) -> bytes:
    """Return the same bytes in as much memory as they need."""
    # To join one alone would give it back as it is; this copies once, in half the time of `bytes(memoryview(made))`.
    return b"".join((made, b""))
