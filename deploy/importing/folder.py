"""Imports a folder of wheels and source archives, also of older kinds, into one index."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName
from deploy.errors import UsageError
from deploy.importing.digesting import BadFile, digest_all
from deploy.importing.report import opened
from deploy.importing.running import (
    BATCH,
    Options,
    Target,
    add_files,
    batches,
    index_name,
    opened_target,
    refuse,
    stage_for,
    until_signed,
)
from services.upload.importing import LEFT, REFUSED, Candidate, inspected_for
from shared.auth.directory import IndexRecord
from shared.formats.interface import Coordinates, InvalidFile
from shared.formats.python.foreign import guessed_coordinates, kind_of
from shared.settings import Settings

MOST_FILES = 1_000_000
"""Files of one folder."""


async def import_folder(
    settings: Settings, folder: Path, into: str, options: Options, say: Callable[[str], None]
) -> None:
    """Bring the files of a folder and of those below it in; other files are passed over.

    Raises:
        UsageError: the folder cannot be read, or the name of the index or the report cannot be used.
        LaunchError: something was refused, or the deployment cannot be used.
    """
    name = index_name(into)
    found = await asyncio.to_thread(_found_in, folder)
    with opened(options.report) as report:
        async with opened_target(settings, report) as target:
            here = await target.index(name)
            candidates = await _check(target, folder, found, name, here)
            if report.refused and not options.skip_bad:
                refuse(report, str(folder))
            index = await stage_for(target, name, private=options.private, check=options.check)
            if index is not None and not options.check:
                await add_files(target, index, candidates)
                if options.wait:
                    await until_signed(target, [index], say)
        for line in report.summary():
            say(f"{line}\n")
        if options.check:
            say(f"nothing was written: {len(candidates)} files would come into {name}; leave --check out to import\n")


def _found_in(folder: Path) -> list[str]:
    """Return the paths of the files that may be packages, relative to the folder and sorted. Blocking."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    found: list[str] = []
    for where, _, names in os.walk(folder, onerror=_unreadable):
        found += [str((Path(where) / name).relative_to(folder)) for name in names if kind_of(name) is not None]
        if len(found) > MOST_FILES:
            raise UsageError(f"{folder} has more than {MOST_FILES} files: import it in parts")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


async def _check(
    target: Target, folder: Path, found: list[str], name: IndexName, here: IndexRecord | None
) -> list[Candidate]:
    """Look at every file before anything is written; what is wrong is reported."""
    most = target.resources.settings.uploads.max_file_bytes
    good: list[Candidate] = []
    seen: dict[FileName, tuple[str, Sha256]] = {}
    for batch in batches(found, BATCH):
        named: list[tuple[str, Coordinates]] = []
        for path in batch:
            try:
                named.append((path, guessed_coordinates(Path(path).name)))
            except InvalidFile as error:
                target.report.line("file", path, REFUSED, " ".join(error.issues))
        digests = await digest_all(folder, [(path, {}) for path, _ in named], most)
        for (path, at), digest in zip(named, digests, strict=True):
            if isinstance(digest, BadFile):
                target.report.line("file", path, REFUSED, str(digest))
                continue
            before = seen.setdefault(at.file_name, (path, digest))
            if before[0] != path:
                status = LEFT if before[1] == digest else REFUSED
                target.report.line("file", path, status, f"{before[0]} has this name already.", sha256=digest)
                continue
            modified = (await asyncio.to_thread((folder / path).stat)).st_mtime
            at_time = datetime.fromtimestamp(int(modified), UTC)
            good.append(Candidate(folder / path, at, digest, name.owner, at_time))
    return await _standing(target, good, name, here)


async def _standing(
    target: Target, good: list[Candidate], name: IndexName, here: IndexRecord | None
) -> list[Candidate]:
    """Return what an index would take, which is there or not yet."""
    kept: list[Candidate] = []
    for batch in batches(good, BATCH):
        pairs = [(one.coordinates, one.sha256) for one in batch if one.sha256 is not None]
        for one, outcome in zip(batch, await target.imports.standing(name, here, pairs), strict=True):
            why = outcome.why if outcome is not None and outcome.status == REFUSED else None
            if outcome is None and here is not None:
                try:
                    await asyncio.to_thread(inspected_for, here.admission, one.path, one.coordinates)
                except InvalidFile as error:
                    why = " ".join(error.issues)
            if why is None:
                kept.append(one)
            else:
                target.report.line("file", one.coordinates.file_name, REFUSED, why, sha256=one.sha256)
    return kept
