"""Asks the upstreams of mirrors for pages: one question, and what its answer means.

An upstream that fails is left alone for a while, longer each time, and as long as it says (`Retry-After`); all mirrors
of one place share that. What it sends is bounded in bytes and time, and taken over only as far as it can be checked.
Source: contract python-index section 5.1; contract devpi section 14.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from urllib.parse import quote, urlsplit

import httpx2

from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.clock import Clock
from shared.formats.python.packed_lists import pack_rows
from shared.formats.python.simple_lists import read_projects
from shared.formats.python.simple_pages import ACCEPT, UnreadablePage, read_page
from shared.formats.python.upstream import UpstreamPage, take_over
from shared.outgoing import Answer, Outgoing, Patience, Unreachable
from shared.reading.mirror_options import MirrorOptions

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=2)
"""How long a place is left alone after its first failure, and at the most; it doubles with each."""

_PATIENT = 3
"""Failures in a row after which a place as a whole is left alone: one page may fail for reasons of its own."""

_REFUSED_PAUSE = timedelta(seconds=30)
"""How long a page that was refused is not asked for again."""

_LONGEST_RETRY = timedelta(hours=1)
"""How long an upstream may ask to be left alone."""

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])")
_GONE = frozenset([404, 410])


class AskFailed(Exception):
    """An upstream gave no answer that can be used: `pause` is how long it is left alone."""

    def __init__(self, why: str, pause: timedelta) -> None:
        self.pause = pause
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept already, for a conditional question."""

    etag: str | None
    serial: int | None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The upstream still has what is kept; `max_age` in seconds, None where it says nothing."""

    max_age: int | None


@dataclass(frozen=True, slots=True)
class Absent:
    """The upstream has no such project."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page as it is taken over."""

    page: UpstreamPage
    etag: str | None
    max_age: int | None


@dataclass(frozen=True, slots=True)
class Projects:
    """A list of projects, normalised and sorted, as `pack_rows` packs it."""

    packed: bytes
    serial: int | None
    etag: str | None
    max_age: int | None


@dataclass(slots=True)
class _Trouble:
    failures: int
    until: float


class Upstreams:
    """Asks; remembers which places fail."""

    def __init__(self, outgoing: Outgoing, clock: Clock, *, page_bytes: int, patience: Patience | None = None) -> None:
        self._outgoing = outgoing
        self._clock = clock
        self._page_bytes = page_bytes
        self._patience = patience or Patience()
        self._troubles: dict[str, _Trouble] = {}

    def shut(self, options: MirrorOptions) -> timedelta | None:
        """Return for how long a mirror's upstream is still left alone, None when it may be asked."""
        trouble = self._troubles.get(_place(options.url or ""))
        left = 0.0 if trouble is None else trouble.until - asyncio.get_running_loop().time()
        return timedelta(seconds=left) if left > 0 else None

    async def page(
        self, options: MirrorOptions, credentials: str | None, project: NormalizedName, known: Known | None
    ) -> Unchanged | Absent | Found:
        """Ask for the page of a project.

        Args:
            credentials: `user:password`.

        Raises:
            AskFailed: there is no usable answer.
        """
        answer = await self._ask(options, credentials, f"{quote(project)}/", known)
        if not isinstance(answer, _Body):
            return answer
        try:
            raw = await asyncio.to_thread(read_page, answer.content, answer.content_type, answer.url)
            page = await asyncio.to_thread(take_over, raw, project, serial=answer.serial if options.serials else None)
        except UnreadablePage as error:
            raise AskFailed(f"its page of {project} is refused: {error}", _REFUSED_PAUSE) from error
        _check_serial(options, project, known, page.serial)
        return Found(page, answer.etag, answer.max_age)

    async def projects(
        self, options: MirrorOptions, credentials: str | None, known: Known | None
    ) -> Unchanged | Absent | Projects:
        """Ask for the list of projects; as `page`."""
        answer = await self._ask(options, credentials, "", known)
        if not isinstance(answer, _Body):
            return answer
        _check_serial(options, "its list of projects", known, answer.serial)
        try:
            packed = await asyncio.to_thread(_projects, answer.content, answer.content_type)
        except UnreadablePage as error:
            raise AskFailed(f"its list of projects is refused: {error}", _REFUSED_PAUSE) from error
        return Projects(packed, answer.serial if options.serials else None, answer.etag, answer.max_age)

    async def _ask(
        self, options: MirrorOptions, credentials: str | None, path: str, known: Known | None
    ) -> _Body | Unchanged | Absent:
        if options.url is None:
            raise AskFailed("no upstream is set (mirror_url)", LONGEST_PAUSE)
        headers = {"accept": ACCEPT, "accept-encoding": "gzip"}
        if known is not None and known.etag:
            headers["if-none-match"] = known.etag
        given = None if credentials is None else f"Basic {base64.b64encode(credentials.encode()).decode()}"
        try:
            async with (
                asyncio.timeout(self._patience.head * 2),
                self._outgoing.get(
                    f"{options.url}{path}", headers, authorization=given, patience=self._patience
                ) as answer,
            ):
                return await self._understood(options, answer, conditional="if-none-match" in headers)
        except (Unreachable, TimeoutError) as error:
            raise self._failed(options, str(error) or "the page did not arrive in time") from error

    async def _understood(
        self, options: MirrorOptions, answer: Answer, *, conditional: bool
    ) -> _Body | Unchanged | Absent:
        if answer.status == 304 and conditional:
            self._troubles.pop(_place(options.url or ""), None)
            return Unchanged(_max_age(answer.headers))
        if answer.status in _GONE:
            self._troubles.pop(_place(options.url or ""), None)
            return Absent()
        if answer.status != 200:
            raise self._failed(options, f"it answers {answer.status}", self._retry_after(answer.headers))
        content = await answer.read(self._page_bytes)
        self._troubles.pop(_place(options.url or ""), None)
        serial = answer.headers.get("x-pypi-last-serial", "")
        return _Body(
            content,
            answer.headers.get("content-type", ""),
            answer.url,
            answer.headers.get("etag"),
            int(serial) if serial.isdecimal() and len(serial) < 19 else None,
            _max_age(answer.headers),
        )

    def _failed(self, options: MirrorOptions, why: str, retry: timedelta | None = None) -> AskFailed:
        """Note a failure of a place, and return what is to be raised."""
        place = _place(options.url or "")
        trouble = self._troubles.setdefault(place, _Trouble(0, 0.0))
        trouble.failures += 1
        pause = min(FIRST_PAUSE * 2 ** min(trouble.failures - 1, 10), LONGEST_PAUSE)
        pause = max(pause, min(retry or timedelta(0), _LONGEST_RETRY))
        if trouble.failures >= _PATIENT or retry is not None:
            trouble.until = asyncio.get_running_loop().time() + pause.total_seconds()
        return AskFailed(why, pause)

    def _retry_after(self, headers: httpx2.Headers) -> timedelta | None:
        """Return how long an upstream asks to be left alone. Source: RFC 9110 section 10.2.3."""
        said = headers.get("retry-after", "").strip()
        if said.isdecimal() and len(said) < 10:
            return timedelta(seconds=int(said))
        try:
            return max(parsedate_to_datetime(said) - self._clock.now(), timedelta(0))
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    content_type: str
    url: str
    etag: str | None
    serial: int | None
    max_age: int | None


def _projects(body: bytes, content_type: str) -> bytes:
    """Return a list of projects, packed; names that are none are left out. Blocking."""
    names = []
    for name in read_projects(body, content_type):
        try:
            names.append(parse_project_name(name))
        except InvalidName:
            continue
    # Upstreams sort their lists, nearly: then this takes a few hundredths of a second for the public index's.
    names.sort()
    return pack_rows((name, None) for name, _ in groupby(names))[0]


def _check_serial(options: MirrorOptions, what: str, known: Known | None, now: int | None) -> None:
    """Refuse what is older than what is kept: a node that is behind; another node may answer next time.

    Raises:
        AskFailed: it is older.
    """
    before = None if known is None else known.serial
    if options.serials and before is not None and now is not None and now < before:
        raise AskFailed(f"its serial of {what} went back from {before} to {now}", FIRST_PAUSE)


def _place(url: str) -> str:
    return urlsplit(url).netloc


def _max_age(headers: httpx2.Headers) -> int | None:
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    return None if found is None else int(found[1])
