"""Fills the caches of mirrors from lock files, and says what a lock file would miss with the upstream cut.

It works beside a running server, by the same rules as pages and downloads: what a policy holds back is not fetched,
what a nearer index has is not asked for upstream, and nothing is kept whose digest is not the page's and the lock
file's.
Source: contract python-index section 5.1; ADR 0028.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.version import Version

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, InvalidName, parse_index_name
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.index.mirror_subjects import UpstreamAway
from services.index.mirroring import Mirroring
from services.index.upstreams import Upstreams
from shared.auth.directory import IndexRecord
from shared.catalogue.merged import files_named, standings
from shared.catalogue.mirror_pages import MirrorId, kept_page
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.fetching.fetching import Fetching
from shared.fetching.wanted import Wanted, wanted_file, wanted_metadata
from shared.formats.python.locks import MAX_LOCK, Lock, Locked, UnreadableLock, read_lock
from shared.formats.python.origins import unpack_origins
from shared.formats.python.targets import Targets
from shared.formats.python.upstream import Origin
from shared.formats.python.versions import parsed
from shared.objects.interface import ObjectStoreError
from shared.reading.merging import members_showing
from shared.reading.mirrored import policies_of
from shared.reading.policy import judge_file, judge_name
from shared.reading.resolution import MIRROR, resolution_order
from shared.resources import Resources
from shared.settings import Settings

_AT_ONCE = 8
"""Releases that are looked at, and so files that are fetched, at the same time."""


class State(StrEnum):
    """How a file, or a release of which there is none, stands."""

    HOSTED = "hosted"
    """A stage has it."""
    KEPT = "kept"
    FETCHED = "fetched"
    MISSING = "missing"
    """It would have to be fetched."""
    HELD = "held back"
    FAILED = "failed"


GOOD = frozenset([State.HOSTED, State.KEPT, State.FETCHED])


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a file; `what` is its name, or project and version where no file is known."""

    state: State
    what: str
    why: str = ""


@dataclass(slots=True)
class Findings:
    """All of them, as far as they are told: what is good is counted only."""

    counts: Counter[State] = field(default_factory=Counter)

    @property
    def bad(self) -> int:
        """How many are not there."""
        return sum(count for state, count in self.counts.items() if state not in GOOD)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: the index that machines use, the lock files, and the machines."""

    index: str
    files: Sequence[Path]
    targets: Targets


async def warm(settings: Settings, order: Order, say: Callable[[str], None]) -> None:
    """Fetch every locked file that is not kept yet, and say what could not be had.

    Raises:
        UsageError: the index, or a file, is none.
        LaunchError: something could not be had.
    """
    found = await _run(settings, order, say, fetch=True)
    if found.bad:
        raise LaunchError(f"{found.bad} of the locked files cannot be had")


async def check(settings: Settings, order: Order, say: Callable[[str], None]) -> None:
    """Say which locked files would be missing with the upstream cut; nothing is asked for.

    Raises:
        UsageError: the index, or a file, is none.
        LaunchError: something would be missing.
    """
    found = await _run(settings, order, say, fetch=False)
    if found.bad:
        raise LaunchError(f"{found.bad} of the locked files would be missing: countermark-server mirror warm gets them")


async def _run(settings: Settings, order: Order, say: Callable[[str], None], *, fetch: bool) -> Findings:
    locks = [await asyncio.to_thread(_read, path) for path in order.files]
    found = Findings()
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        await resources.directory.refresh()
        record = resources.directory.index(_index_name(order.index))
        if record is None:
            raise UsageError(f"there is no index {order.index}")
        warming = Warming(resources, record, order.targets, fetch=fetch)
        for path, lock in zip(order.files, locks, strict=True):
            for line in lock.left_out:
                say(f"{path.name}: left out: {line}\n")
        releases = {(one.project, str(one.version), str(one.allowed)): one for lock in locks for one in lock.releases}
        try:
            async for finding in warming.findings(releases.values()):
                found.counts[finding.state] += 1
                if finding.state not in GOOD:
                    say(f"{finding.state}: {finding.what}{f': {finding.why}' if finding.why else ''}\n")
        except ObjectStoreError as error:
            raise LaunchError(f"the object store fails: {error}; run it again to go on") from error
    say(", ".join(f"{found.counts[state]} {state}" for state in State if found.counts[state]) + "\n")
    return found


class Warming:
    """Looks at releases as one index shows them."""

    def __init__(self, resources: Resources, index: IndexRecord, targets: Targets, *, fetch: bool) -> None:
        """Args: fetch: whether upstreams are asked."""
        self._resources = resources
        self._order = (index,) if index.type == MIRROR else resolution_order(index, resources.directory.index)
        self._targets = targets
        self._fetch = fetch
        page_bytes = resources.settings.mirrors.page_bytes
        self._mirroring = Mirroring(resources, Upstreams(resources.outgoing, resources.clock, page_bytes=page_bytes))
        self._fetching = Fetching(resources)

    async def findings(self, releases: Iterable[Locked]) -> AsyncIterator[Finding]:
        """Yield what is found of each release, some at the same time, in their order."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def look(locked: Locked) -> list[Finding]:
            async with turns:
                return await self._release(locked)

        tasks = [asyncio.create_task(look(locked)) for locked in releases]
        try:
            for task in tasks:
                for finding in await task:
                    yield finding
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _release(self, locked: Locked) -> list[Finding]:
        ids = [member.id for member in self._order]
        async with self._resources.engine.connect() as connection:
            held = await standings(connection, ids, locked.project)
        members = members_showing(self._order, locked.project, held)
        if any(member.id in held and held[member.id].holds for member in members):
            return await self._hosted(locked)
        what = f"{locked.project} {locked.version or locked.allowed}".strip()
        reasons: list[Finding] = []
        for mirror in (member for member in members if member.type == MIRROR):
            hidden = judge_name(policies_of(self._order[0], mirror), locked.project)
            if hidden is not None:
                reasons.append(Finding(State.HELD, what, f"{hidden.index} ({hidden.rule}): {hidden.reason}"))
                continue
            try:
                origins = await self._origins(mirror, locked)
            except UpstreamAway as error:
                reasons.append(Finding(State.FAILED, what, str(error)))
                continue
            chosen = _chosen(locked, origins)
            if chosen:
                return await self._files(mirror, locked, chosen)
        return reasons or [Finding(State.MISSING, what, "no index that is asked here has it")]

    async def _hosted(self, locked: Locked) -> list[Finding]:
        """Return what a stage has of a release; of one without files named, nothing can be missing here."""
        found = []
        ids = [member.id for member in self._order]
        for name, sha256 in (locked.files or {}).items():
            if not self._targets.take(name):
                continue
            async with self._resources.engine.connect() as connection:
                named = await files_named(connection, ids, self._order[0].id, name)
            there = any(facts.visible and sha256 in (None, facts.sha256) for _, facts in named)
            found.append(Finding(State.HOSTED if there else State.MISSING, name, "" if there else "no stage has it"))
        return found or [Finding(State.HOSTED, locked.project)]

    async def _origins(self, mirror: IndexRecord, locked: Locked) -> dict[FileName, tuple[Origin, str]]:
        """Return the files of a project on a mirror.

        Raises:
            UpstreamAway: nothing is kept, and the upstream gives no answer.
        """
        if self._fetch:
            packed = (await self._mirroring.page(mirror, locked.project)).origins
        else:
            async with self._resources.engine.connect() as connection:
                kept = await kept_page(connection, MirrorId(mirror.id, mirror.life), locked.project)
            packed = None if kept is None else kept.origins
        return {} if packed is None else await asyncio.to_thread(unpack_origins, packed)

    async def _files(
        self, mirror: IndexRecord, locked: Locked, chosen: dict[FileName, tuple[Origin, str]]
    ) -> list[Finding]:
        """Return what is found of the files that machines would use, those included that the page does not list."""
        found = []
        for name in chosen if locked.files is None else locked.files:
            if not self._targets.take(name):
                continue
            if name in chosen:
                found.append(await self._file(mirror, locked, name, *chosen[name]))
            else:
                found.append(Finding(State.MISSING, name, f"{mirror.name} does not list it"))
        return found

    async def _file(self, mirror: IndexRecord, locked: Locked, name: FileName, origin: Origin, version: str) -> Finding:
        allowed = _digests(locked, name)
        if allowed and origin.sha256 not in allowed:
            return Finding(
                State.FAILED, name, f"the upstream gives it the digest {origin.sha256}, the lock file another"
            )
        policies = policies_of(self._order[0], mirror)
        hidden = judge_file(policies, locked.project, version, origin.uploaded_at, self._resources.clock.now())
        if hidden is not None:
            until = "" if hidden.until is None else f", until {hidden.until:%Y-%m-%d %H:%M} UTC"
            return Finding(State.HELD, name, f"{hidden.index} ({hidden.rule}): {hidden.reason}{until}")
        file = wanted_file(mirror, locked.project, name, origin, self._fetching.most)
        wanted = [file]
        metadata = wanted_metadata(mirror, locked.project, name, origin)
        if metadata is not None and not await self._fetching.is_withdrawn(metadata):
            wanted.append(metadata)
        return await self._had(name, wanted)

    async def _had(self, name: FileName, wanted: Sequence[Wanted]) -> Finding:
        """Have everything of a file in the store, or say what of it is not."""
        missing = [one for one in wanted if not await self._fetching.ready(one)]
        if not missing:
            return Finding(State.KEPT, name)
        if not self._fetch:
            return Finding(State.MISSING, name)
        try:
            for one in missing:
                await self._fetching.whole(one)
        except ServiceError as error:
            return Finding(State.FAILED, name, error.detail)
        return Finding(State.FETCHED, name)


def _chosen(locked: Locked, origins: dict[FileName, tuple[Origin, str]]) -> dict[FileName, tuple[Origin, str]]:
    """Return the files of the version that a release means: the one that is locked, else the newest allowed."""
    version = locked.version
    if version is None:
        there = {found for _, text in origins.values() if (found := parsed(text)) is not None}
        version = max(locked.allowed.filter(there), default=None)
    return {name: found for name, found in origins.items() if version is not None and _is(found[1], version)}


def _is(text: str, version: Version) -> bool:
    return parsed(text) == version


def _digests(locked: Locked, name: FileName) -> frozenset[Sha256]:
    """Return the digests that a file may have; none when the lock file says nothing of it."""
    own = (locked.files or {}).get(name)
    return locked.digests if own is None else frozenset([own])


def _read(path: Path) -> Lock:
    try:
        with path.open("rb") as file:
            return read_lock(path.name, file.read(MAX_LOCK + 1))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnreadableLock as error:
        raise UsageError(f"{path}: {error}") from error


def _index_name(text: str) -> IndexName:
    try:
        return parse_index_name(text)
    except InvalidName as error:
        raise UsageError(str(error)) from error
