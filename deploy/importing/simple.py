"""Imports what a simple index lists into one index: each file is checked against the index's digest while it arrives.

Files that are here already are not downloaded again, so that the same command goes on where it was cut.
Source: the simple repository API (PEP 503, 691).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2

from countermark.core.digest import Sha256
from countermark.core.names import InvalidName, parse_project_name
from deploy.errors import LaunchError, UsageError
from deploy.importing.report import opened
from deploy.importing.running import Options, Target, batches, index_name, opened_target, stage_for, until_signed
from services.upload.importing import REFUSED, Candidate, Outcome
from services.upload.spool import SUFFIX
from shared.auth.directory import IndexRecord
from shared.formats.interface import Coordinates, InvalidFile
from shared.formats.python.foreign import guessed_coordinates
from shared.formats.python.simple_lists import read_projects
from shared.formats.python.simple_pages import ACCEPT, ListedFile, UnreadablePage, read_files
from shared.settings import Settings

MAX_PAGE = 64 << 20
"""Bytes of one page; the largest list of projects that is known has about 40 MB."""

MOST_REDIRECTS = 5

_AT_ONCE = 8
"""Files downloaded at the same time."""

_BATCH = 64
"""Files that lie in the staging folder at the same time, and are one transaction."""

_TRIES = 3
_PATIENCE = httpx2.Timeout(30.0, connect=10.0)


class _Failed(Exception):
    """Something cannot be had from the index; the message says why."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    listed: ListedFile
    coordinates: Coordinates


@dataclass(frozen=True, slots=True)
class _Source:
    """The index that is read."""

    http: httpx2.AsyncClient
    url: str

    async def page(self, path: str) -> tuple[bytes, str, str]:
        """Return a page: its bytes, their type and the address that it came from."""
        async with self._answer(f"{self.url}{path}", ACCEPT) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_PAGE:
                    raise _Failed(f"the page has more than {MAX_PAGE} bytes")
            return bytes(body), answer.headers.get("content-type", ""), str(answer.url)

    async def file(self, listed: ListedFile, target: Path, most: int) -> None:
        """Write a file to `target`, if its bytes have the digest of the page."""
        digest = listed.best_digest()
        if digest is None or digest[0] not in hashlib.algorithms_guaranteed:
            raise _Failed("the index names no digest of it that could be checked")
        algorithm, length = hashlib.new(digest[0], usedforsecurity=False), 0
        with target.open("wb") as file:
            async with self._answer(listed.url, "*/*") as answer:
                async for chunk in answer.aiter_raw():
                    length += len(chunk)
                    if length > most:
                        raise _Failed(f"it has more than {most} bytes (uploads.max_file_bytes)")
                    algorithm.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if algorithm.hexdigest() != digest[1]:
            found = algorithm.hexdigest()
            raise _Failed(f"its {digest[0]} is {found}, and the page says {digest[1][:128]}")

    @asynccontextmanager
    async def _answer(self, url: str, accept: str) -> AsyncIterator[httpx2.Response]:
        # Compressed files would be decoded by some and not by others: the digest is of what lies there.
        headers = {"accept": accept, "accept-encoding": "identity"}
        try:
            async with self.http.stream("GET", url, headers=headers) as answer:
                if answer.status_code != 200:
                    raise _Failed(f"the index answers {answer.status_code}")
                yield answer
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _Failed(f"{type(error).__name__}: {error}") from error


async def import_simple(
    settings: Settings, url: str, into: str, projects: Sequence[str], options: Options, say: Callable[[str], None]
) -> None:
    """Bring in what a simple index lists.

    Args:
        projects: names of those that are wanted; empty for all.

    Raises:
        UsageError: the address, a name or the report cannot be used.
        LaunchError: the index cannot be read, something was refused, or the deployment cannot be used.
    """
    name, address = index_name(into), _checked(url)
    try:
        wanted = [parse_project_name(project) for project in projects]
    except InvalidName as error:
        raise UsageError(str(error)) from error
    with opened(options.report) as report:
        async with (
            httpx2.AsyncClient(timeout=_PATIENCE, follow_redirects=True, max_redirects=MOST_REDIRECTS) as http,
            opened_target(settings, report) as target,
        ):
            source = _Source(http, address)
            names = wanted or await _listed_projects(source)
            index = await stage_for(target, name, private=options.private, check=False)
            assert index is not None
            for project in names:
                await _import_project(target, source, index, project)
            if options.wait:
                await until_signed(target, [index], say)
        for line in report.summary():
            say(f"{line}\n")
        if report.refused:
            raise LaunchError(f"{report.refused} things did not come in; the same command tries them again")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{url} is no address of a simple index: write it as https://host/simple/")
    return url if url.endswith("/") else f"{url}/"


async def _listed_projects(source: _Source) -> list[str]:
    try:
        body, kind, _ = await source.page("")
        return sorted(set(read_projects(body, kind)))
    except (_Failed, UnreadablePage) as error:
        raise LaunchError(f"the list of projects cannot be read from {_shown(source.url)}: {error}") from error


async def _import_project(target: Target, source: _Source, index: IndexRecord, project: str) -> None:
    try:
        normalised = parse_project_name(project)
        body, kind, where = await source.page(f"{quote(normalised)}/")
        listed = await asyncio.to_thread(read_files, body, kind, where)
    except (_Failed, UnreadablePage, InvalidName) as error:
        target.report.line("project", project[:200], REFUSED, f"{error}.")
        return
    wanted: list[_Wanted] = []
    for file in listed:
        try:
            wanted.append(_Wanted(file, guessed_coordinates(file.file_name, normalised)))
        except InvalidFile as error:
            target.report.line("file", f"{project} {file.file_name[:200]}", REFUSED, " ".join(error.issues))
    for batch in batches(await _new(target, index, wanted), _BATCH):
        await _import_files(target, source, index, batch)


async def _new(target: Target, index: IndexRecord, wanted: list[_Wanted]) -> list[_Wanted]:
    """Return what is not here yet; what is, and what cannot come in, is reported."""
    known = [one for one in wanted if "sha256" in one.listed.digests]
    standing = await target.imports.standing(
        index.name, index, [(one.coordinates, Sha256(one.listed.digests["sha256"])) for one in known]
    )
    settled = {one.listed.file_name: outcome for one, outcome in zip(known, standing, strict=True) if outcome}
    for one in known:
        outcome = settled.get(one.listed.file_name)
        if outcome is not None:
            _report(target, index, one, outcome)
    return [one for one in wanted if one.listed.file_name not in settled]


async def _import_files(target: Target, source: _Source, index: IndexRecord, batch: Sequence[_Wanted]) -> None:
    """Download some files side by side, bring them in with one commit, and remove what was downloaded."""
    settings = target.resources.settings
    staging = settings.data / "staging"
    await asyncio.to_thread(staging.mkdir, parents=True, exist_ok=True, mode=0o700)
    turns = asyncio.Semaphore(_AT_ONCE)
    paths = {one.listed.file_name: staging / f"{secrets.token_hex(16)}{SUFFIX}" for one in batch}

    async def download(one: _Wanted) -> str | None:
        async with turns:
            for number in range(_TRIES):
                try:
                    await source.file(one.listed, paths[one.listed.file_name], settings.uploads.max_file_bytes)
                except _Failed as error:
                    why = str(error)
                    await asyncio.sleep(0.2 * number)
                else:
                    return None
            return f"{why}."

    try:
        faults = await asyncio.gather(*map(download, batch))
        there = [one for one, fault in zip(batch, faults, strict=True) if fault is None]
        for one, fault in zip(batch, faults, strict=True):
            if fault is not None:
                _report(target, index, one, Outcome(REFUSED, fault))
        now = target.resources.clock.now()
        candidates = [
            Candidate(
                path=paths[one.listed.file_name],
                coordinates=one.coordinates,
                sha256=Sha256(one.listed.digests["sha256"]) if "sha256" in one.listed.digests else None,
                uploader=index.name.owner,
                uploaded_at=one.listed.uploaded_at or now,
                requires_python=one.listed.requires_python,
                yanked=one.listed.yanked,
            )
            for one in there
        ]
        for one, outcome in zip(there, await target.imports.add(index, candidates), strict=True):
            _report(target, index, one, outcome)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)


def _report(target: Target, index: IndexRecord, one: _Wanted, outcome: Outcome) -> None:
    digest = one.listed.digests.get("sha256")
    what = f"{index.name} {one.coordinates.file_name}"
    target.report.line("file", what, outcome.status, outcome.why, sha256=digest)


def _shown(url: str) -> str:
    """Return an address without what signs in."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
