"""Asks the upstreams of mirrors for pages: one question, and what its answer means.

An upstream that fails is left alone for a while, longer each time, and as long as it says (`Retry-After`); all mirrors
of one place share that. What it sends is bounded in bytes and time, and taken over only as far as it can be checked.
Its JSON API is left alone by itself: whatever becomes of that, pages are still asked for.
Source: contract python-index section 5.1; contract devpi section 14.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from urllib.parse import quote, urlsplit

from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.clock import Clock
from shared.formats.python.json_facts import JsonFacts, UnreadableFacts, read_facts
from shared.formats.python.packed_lists import pack_rows
from shared.formats.python.simple_lists import read_projects
from shared.formats.python.simple_pages import ACCEPT, UnreadablePage, read_page
from shared.formats.python.upstream import UpstreamPage, take_over
from shared.outgoing import Answer, Outgoing, Patience, Unreachable
from shared.reading.mirror_options import MirrorOptions
from shared.threads import sized

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=2)
"""How long a place is left alone after its first failure, and at the most; it doubles with each."""

_PATIENT = 3
"""Failures in a row after which a place as a whole is left alone: one page may fail for reasons of its own."""

_REFUSED_PAUSE = timedelta(seconds=30)
"""How long a page that was refused is not asked for again."""

_LONGEST_RETRY = timedelta(hours=1)
"""How long an upstream may ask to be left alone."""

MOST_JSON = 32 << 20
"""Bytes of a document of the JSON API at the most, decoded: half of a page, since it is parsed as a whole."""

_JSON = "application/json"
_SIMPLE = re.compile(r"/\+?simple/\Z")
"""How a simple index's address ends beside which its JSON API is."""

_TAG = re.compile(r"(?:W/)?\"[\x21\x23-\x7e]{0,500}\"\Z")
"""Entity tags that are kept and sent again. Source: RFC 9110 section 8.8.3, without its bytes beyond ASCII."""

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


@dataclass(frozen=True, slots=True)
class Told:
    """What is taken over of a document of the JSON API."""

    facts: JsonFacts
    etag: str | None
    max_age: int | None


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked for; failures count for `place`."""

    url: str
    place: str
    accept: str
    most: int


@dataclass(slots=True)
class _Trouble:
    failures: int
    until: float
    why: str = ""


class Upstreams:
    """Asks; remembers which places fail."""

    def __init__(self, outgoing: Outgoing, clock: Clock, *, page_bytes: int, patience: Patience | None = None) -> None:
        self._outgoing = outgoing
        self._clock = clock
        self._page_bytes = page_bytes
        self._patience = patience or Patience()
        self._troubles: dict[str, _Trouble] = {}

    def shut(self, options: MirrorOptions, *, json: bool = False) -> AskFailed | None:
        """Return why a mirror's upstream is left alone, and for how long still; None when it may be asked.

        Args:
            json: whether its JSON API is meant, which is left alone with its pages, and for failures of its own.
        """
        place, now = _place(options.url or ""), asyncio.get_running_loop().time()
        places = [place, _json_place(place)] if json else [place]
        troubles = [trouble for one in places if (trouble := self._troubles.get(one)) and trouble.until > now]
        longest = max(troubles, key=lambda trouble: trouble.until, default=None)
        return None if longest is None else AskFailed(longest.why, timedelta(seconds=longest.until - now))

    async def page(
        self, options: MirrorOptions, credentials: str | None, project: NormalizedName, known: Known | None
    ) -> Unchanged | Absent | Found:
        """Ask for the page of a project.

        Args:
            credentials: the Authorization header.

        Raises:
            AskFailed: there is no usable answer.
        """
        answer = await self._ask(self._of_simple(options, f"{quote(project)}/"), credentials, known)
        if not isinstance(answer, _Body):
            return answer
        try:
            serial = answer.serial if options.serials else None
            page = await sized(len(answer.content), _page, answer, project, serial)
        except UnreadablePage as error:
            raise AskFailed(f"its page of {project} is refused: {error}", _REFUSED_PAUSE) from error
        _check_serial(options, project, known, page.serial)
        return Found(page, answer.etag, answer.max_age)

    async def projects(
        self, options: MirrorOptions, credentials: str | None, known: Known | None
    ) -> Unchanged | Absent | Projects:
        """Ask for the list of projects; as `page`."""
        answer = await self._ask(self._of_simple(options, ""), credentials, known)
        if not isinstance(answer, _Body):
            return answer
        _check_serial(options, "its list of projects", known, answer.serial)
        try:
            packed = await asyncio.to_thread(_projects, answer.content, answer.content_type)
        except UnreadablePage as error:
            raise AskFailed(f"its list of projects is refused: {error}", _REFUSED_PAUSE) from error
        return Projects(packed, answer.serial if options.serials else None, answer.etag, answer.max_age)

    async def json(
        self,
        options: MirrorOptions,
        credentials: str | None,
        project: NormalizedName,
        version: str | None,
        known: Known | None,
    ) -> Unchanged | Absent | Told:
        """Ask for a document of the JSON API, of a version or else of the project; absent where there is no such API.

        Raises:
            AskFailed: there is no usable answer.
        """
        url = json_address(options, project, version)
        if url is None:
            return Absent()
        question = _Question(url, _json_place(_place(url)), _JSON, min(MOST_JSON, self._page_bytes))
        answer = await self._ask(question, credentials, known)
        if not isinstance(answer, _Body):
            return answer
        kind = answer.content_type.partition(";")[0].strip().lower()
        what = f"its JSON document of {project}{'' if version is None else f' {version}'}"
        try:
            if kind != _JSON:
                raise UnreadableFacts(f"it is of the type {kind[:100]!r}")
            facts = await asyncio.to_thread(read_facts, answer.content, project, version)
        except UnreadableFacts as error:
            raise AskFailed(f"{what} is refused: {error}", _REFUSED_PAUSE) from error
        _check_serial(options, what, known, facts.serial)
        return Told(facts, answer.etag, answer.max_age)

    def _of_simple(self, options: MirrorOptions, path: str) -> _Question:
        """Return the question for something of a simple index.

        Raises:
            AskFailed: no upstream is set.
        """
        if options.url is None:
            raise AskFailed("no upstream is set (mirror_url)", LONGEST_PAUSE)
        return _Question(f"{options.url}{path}", _place(options.url), ACCEPT, self._page_bytes)

    async def _ask(
        self, question: _Question, credentials: str | None, known: Known | None
    ) -> _Body | Unchanged | Absent:
        headers = {"accept": question.accept, "accept-encoding": "gzip"}
        if known is not None and known.etag:
            headers["if-none-match"] = known.etag
        try:
            async with (
                asyncio.timeout(self._patience.head * 2),
                self._outgoing.get(question.url, headers, authorization=credentials, patience=self._patience) as answer,
            ):
                return await self._understood(question, answer, conditional="if-none-match" in headers)
        except (Unreachable, TimeoutError) as error:
            if isinstance(error, Unreachable) and error.crowded:
                # Whoever asks for many names at once does not get the place left alone for all others.
                raise AskFailed(str(error), FIRST_PAUSE) from error
            raise self._failed(question.place, str(error) or "the answer did not arrive in time") from error

    async def _understood(
        self, question: _Question, answer: Answer, *, conditional: bool
    ) -> _Body | Unchanged | Absent:
        if answer.status == 304 and conditional:
            self._troubles.pop(question.place, None)
            return Unchanged(_max_age(answer.headers))
        if answer.status in _GONE:
            self._troubles.pop(question.place, None)
            return Absent()
        if answer.status != 200:
            raise self._failed(question.place, f"it answers {answer.status}", self._retry_after(answer.headers))
        content = await answer.read(question.most)
        self._troubles.pop(question.place, None)
        serial = answer.headers.get("x-pypi-last-serial", "")
        return _Body(
            content,
            answer.headers.get("content-type", ""),
            answer.url,
            _tag(answer.headers),
            int(serial) if serial.isdecimal() and len(serial) < 19 else None,
            _max_age(answer.headers),
        )

    def _failed(self, place: str, why: str, retry: timedelta | None = None) -> AskFailed:
        """Note a failure of a place, and return what is to be raised."""
        trouble = self._troubles.setdefault(place, _Trouble(0, 0.0))
        trouble.failures += 1
        trouble.why = why
        pause = min(FIRST_PAUSE * 2 ** min(trouble.failures - 1, 10), LONGEST_PAUSE)
        pause = max(pause, min(retry or timedelta(0), _LONGEST_RETRY))
        if trouble.failures >= _PATIENT or retry is not None:
            trouble.until = asyncio.get_running_loop().time() + pause.total_seconds()
        return AskFailed(why, pause)

    def _retry_after(self, headers: Mapping[str, str]) -> timedelta | None:
        """Return how long an upstream asks to be left alone. Source: RFC 9110 section 10.2.3."""
        said = headers.get("retry-after", "").strip()
        if said.isdecimal() and len(said) < 10:
            return timedelta(seconds=int(said))
        try:
            return max(parsedate_to_datetime(said) - self._clock.now(), timedelta(0))
        except (TypeError, ValueError):
            return None


def json_address(options: MirrorOptions, project: NormalizedName, version: str | None) -> str | None:
    """Return where an upstream's JSON document is: beside its simple index. None where that is at no such address."""
    root, found = _SIMPLE.subn("", options.url or "")
    part = "" if version is None else f"/{quote(version, safe='')}"
    return f"{root}/pypi/{quote(project)}{part}/json" if found else None


@dataclass(frozen=True, slots=True)
class _Body:
    content: bytes
    content_type: str
    url: str
    etag: str | None
    serial: int | None
    max_age: int | None


def _page(answer: _Body, project: NormalizedName, serial: int | None) -> UpstreamPage:
    """Return a page as it is taken over. Blocking.

    Raises:
        UnreadablePage: nothing of it is.
    """
    return take_over(read_page(answer.content, answer.content_type, answer.url), project, serial=serial)


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


def _json_place(place: str) -> str:
    """Return what stands for the JSON API of a place among failures."""
    return f"{place} json"


def _tag(headers: Mapping[str, str]) -> str | None:
    """Return the entity tag of an answer, None for one that cannot be sent again: then everything is asked for."""
    said = headers.get("etag", "").strip()
    return said if _TAG.match(said) else None


def _max_age(headers: Mapping[str, str]) -> int | None:
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    return None if found is None else int(found[1])
