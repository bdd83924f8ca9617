"""How questions and answers go through the pipes of a verifying process: their length in four bytes, then JSON."""

from __future__ import annotations

import struct
from typing import BinaryIO

LENGTH = struct.Struct(">I")

MAX_QUESTION = 32 << 20
"""Bytes of a question: as many bundles as a file may have, of the largest that are taken, in base64."""

MAX_ANSWER = 16 << 20


def framed(content: bytes) -> bytes:
    """Return content with its length in front."""
    return LENGTH.pack(len(content)) + content


def read_frame(pipe: BinaryIO) -> bytes | None:
    """Return the next content of a pipe, None at its end. Blocking.

    Raises:
        EOFError: it ends inside.
        ValueError: it is too long.
    """
    head = pipe.read(LENGTH.size)
    if not head:
        return None
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    if length > MAX_QUESTION:
        raise ValueError(f"a question of {length} bytes")
    content = pipe.read(length)
    if len(head) < LENGTH.size or len(content) < length:
        raise EOFError("the pipe ended within a question")
    return content
