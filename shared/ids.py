"""Identifiers of rows: one type per kind of thing, time-ordered so that indexes grow at one end.

Source: RFC 9562 section 5.7 (UUID version 7).
"""

from __future__ import annotations

import os
import time
import uuid
from typing import NewType

IndexId = NewType("IndexId", uuid.UUID)
ProjectId = NewType("ProjectId", uuid.UUID)
ReleaseId = NewType("ReleaseId", uuid.UUID)
FileId = NewType("FileId", uuid.UUID)
AttachmentId = NewType("AttachmentId", uuid.UUID)
TokenId = NewType("TokenId", uuid.UUID)
OutboxId = NewType("OutboxId", int)
AuditId = NewType("AuditId", int)


def new_uuid() -> uuid.UUID:
    """Return a version 7 UUID: 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
