"""Reads every file of an import once before anything is written: is it there, with the bytes of its record?"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from countermark.core.digest import Sha256

_AT_ONCE = 4
"""Files that are hashed at the same time."""

_STEP = 1 << 20


class BadFile(Exception):
    """A file that cannot come in; the message says why, in one sentence."""


async def digest_all(root: Path, files: Sequence[tuple[str, Mapping[str, str]]], most: int) -> list[Sha256 | BadFile]:
    """Return the sha256 of each file, or why it cannot come in, in their order.

    Args:
        files: path below `root`, and its recorded digests: name of the algorithm -> hexadecimal.
        most: bytes that a file may have.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    base = await asyncio.to_thread(root.resolve)

    async def one(path: str, recorded: Mapping[str, str]) -> Sha256 | BadFile:
        async with turns:
            try:
                return await asyncio.to_thread(digest_of, base, path, recorded, most)
            except BadFile as error:
                return error

    return await asyncio.gather(*(one(path, recorded) for path, recorded in files))


def digest_of(base: Path, path: str, recorded: Mapping[str, str], most: int) -> Sha256:
    """Return the sha256 of a file that has the digests on record. Blocking.

    Raises:
        BadFile: it is not there, not a regular file, a link, or has other bytes.
    """
    algorithms = {"sha256": hashlib.sha256()}
    for name in recorded:
        if name not in hashlib.algorithms_guaranteed or name.startswith("shake"):
            raise BadFile(f"its record has a digest by {name[:40]!r}, which cannot be computed here.")
        algorithms.setdefault(name, hashlib.new(name, usedforsecurity=False))
    try:
        where = (base / path).resolve(strict=True)
        if where != base / path:
            raise BadFile("it is a link, or lies behind one.")
        descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise BadFile("it is no regular file.")
            if not 0 < state.st_size <= most:
                raise BadFile(f"it has {state.st_size} bytes: 1 to {most} are taken (uploads.max_file_bytes).")
            while chunk := file.read(_STEP):
                for algorithm in algorithms.values():
                    algorithm.update(chunk)
    except FileNotFoundError as error:
        raise BadFile("it is missing.") from error
    except (OSError, ValueError) as error:
        raise BadFile(f"it cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    for name, value in recorded.items():
        if algorithms[name].hexdigest() != value:
            raise BadFile(
                f"its bytes changed: its {name} is {algorithms[name].hexdigest()}, on record is {value[:128]}."
            )
    return Sha256(algorithms["sha256"].hexdigest())
