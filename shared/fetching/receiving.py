"""Receives bytes of an upstream, and believes nothing: bounded in length and time, held to their digest.

Source: contract python-index section 5.1; architecture section 11.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from shared.catalogue import audit
from shared.errors import ErrorKind, ServiceError
from shared.fetching.flight import Flight
from shared.fetching.wanted import Wanted
from shared.outgoing import Answer, Patience, Unreachable
from shared.outside import server_of
from shared.resources import Resources
from shared.upstream_secrets import authorization_for

log = structlog.get_logger()

_TRIES, _PAUSE = 3, 0.5
"""How often something is asked for that broke off in the middle, and seconds between."""

LATER = timedelta(seconds=60)
"""How long what failed is not tried again where the upstream is wrong."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of fetching.

    Attributes:
        patience: with the upstream.
        slow_seconds: in which `slow_bytes` must arrive at the least.
        others: seconds that a process waits for one that fetches the same, before it does so itself.
        wait: seconds that a client waits for the first bytes, and for the whole where it must be whole.
        at_once: fetches of a process at the same time.
    """

    patience: Patience = field(default_factory=Patience)
    slow_seconds: float = 30.0
    slow_bytes: int = 64 << 10
    others: float = 10.0
    wait: float = 60.0
    at_once: int = 48


class Receiver:
    """Asks upstreams for bytes."""

    def __init__(self, resources: Resources, limits: FetchLimits) -> None:
        self._resources = resources
        self._limits = limits

    async def receive(self, wanted: Wanted, flight: Flight) -> None:
        """Receive something to its end; the last bytes are not released.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
            OSError: it cannot be written.
        """
        for tries in range(_TRIES, 0, -1):
            try:
                await self._attempt(wanted, flight)
                break
            except Unreachable as error:
                if error.refused:
                    # What names and addresses there are inside is not told to whoever asks.
                    log.warning("upstream_refused", index=str(wanted.mirror.name), why=str(error))
                    raise _trouble(wanted, "it leads where nobody is asked", ErrorKind.UPSTREAM) from error
                if not flight.received or tries == 1:
                    raise _trouble(wanted, str(error)) from error
            log.info("fetch_resumed", index=str(wanted.mirror.name), file=wanted.file_name, length=flight.received)
            await asyncio.sleep(_PAUSE)
        if wanted.length not in (None, flight.received):
            await self._alarm(wanted, f"it has {flight.received} bytes and not {wanted.length}")
        if wanted.sha256 not in (None, flight.sha256()):
            await self._alarm(wanted, f"it has the digest {flight.sha256()} and not {wanted.sha256}")

    async def _attempt(self, wanted: Wanted, flight: Flight) -> None:
        """Ask for something, or for the rest of it, and write what comes.

        Raises:
            ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
            Unreachable: there is no answer, or it broke off.
        """
        at = flight.received
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={at}-"} if at else {})
        async with self._resources.outgoing.get(
            wanted.url, headers, authorization=self._authorization(wanted), patience=self._limits.patience
        ) as answer:
            if at and answer.status == 206 and answer.headers.get("content-range", "").startswith(f"bytes {at}-"):
                await self._write(wanted, flight, answer.chunks())
                return
            _check_head(wanted, answer)
            said = _length_of(answer)
            if said is not None and wanted.length not in (None, said):
                await self._alarm(wanted, f"it has {said} bytes and not {wanted.length}")
            await self._write(wanted, flight, _after(answer.chunks(), at) if at else answer.chunks())

    async def _write(self, wanted: Wanted, flight: Flight, chunks: AsyncIterator[bytes]) -> None:
        """Write a body as it arrives, bounded in length, and in the time that a length may take."""
        loop = asyncio.get_running_loop()
        begun, before = loop.time(), flight.received
        async for chunk in chunks:
            if flight.received + len(chunk) > wanted.most:
                await self._alarm(wanted, f"it has more than {wanted.most} bytes")
            await flight.write(chunk)
            if loop.time() - begun >= self._limits.slow_seconds:
                if flight.received - before < self._limits.slow_bytes:
                    raise _trouble(wanted, "it is too slow")
                begun, before = loop.time(), flight.received

    def _authorization(self, wanted: Wanted) -> str | None:
        """Return the mirror's credentials, for its own place and no other."""
        options, secrets = wanted.mirror.mirror, self._resources.settings.mirrors.credentials
        given = authorization_for(secrets, wanted.mirror.name, wanted.url)
        if given is None or options is None or options.url is None:
            return None
        return given if server_of(options.url) == server_of(wanted.url) else None

    async def _alarm(self, wanted: Wanted, why: str) -> None:
        """Tell operators that an upstream sends other bytes than its page says.

        Raises:
            ServiceError: UPSTREAM, always.
        """
        mirror = str(wanted.mirror.name)
        log.error("upstream_sends_wrong_bytes", index=mirror, file=wanted.file_name, host=wanted.host, why=why)
        self._resources.metrics.upstream_alarm("wrong-bytes")
        async with self._resources.engine.begin() as connection:
            await audit.record(
                connection,
                at=self._resources.clock.now(),
                actor="upstream",
                action="mirror.wrong-bytes",
                subject=f"{mirror}/{wanted.project}",
                file_name=wanted.file_name,
                host=wanted.host,
                why=why,
            )
        detail = f"The upstream of {mirror} sends other bytes for {wanted.file_name} than its page says: {why}."
        raise ServiceError(ErrorKind.UPSTREAM, detail, retry_after=LATER)


def _check_head(wanted: Wanted, answer: Answer) -> None:
    """Look at the head of an answer.

    Raises:
        ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE.
    """
    if answer.status in (404, 410):
        detail = f"The upstream of {wanted.mirror.name} does not have {wanted.file_name} any more."
        raise ServiceError(ErrorKind.NOT_FOUND, detail)
    if answer.status != 200:
        passing = answer.status >= 500 or answer.status in (408, 425, 429)
        kind = ErrorKind.UNAVAILABLE if passing else ErrorKind.UPSTREAM
        retry = answer.headers.get("retry-after", "")
        wait = timedelta(seconds=int(retry)) if retry.isdecimal() and len(retry) < 6 else None
        raise _trouble(wanted, f"it answers {answer.status}", kind, wait)


async def _after(chunks: AsyncIterator[bytes], skipped: int) -> AsyncIterator[bytes]:
    """Yield a body without its beginning: not every server gives the rest alone."""
    async for chunk in chunks:
        left = chunk[skipped:]
        skipped = max(0, skipped - len(chunk))
        if left:
            yield left


def _length_of(answer: Answer) -> int | None:
    said = answer.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 19 else None


def _trouble(
    wanted: Wanted, why: str, kind: ErrorKind = ErrorKind.UNAVAILABLE, retry_after: timedelta | None = None
) -> ServiceError:
    mirror = wanted.mirror.name
    log.warning("fetch_failed", index=str(mirror), file=wanted.file_name, host=wanted.host, why=why)
    detail = f"{wanted.file_name} cannot be had from the upstream of {mirror}: {why}."
    return ServiceError(kind, detail.encode("ascii", "replace").decode(), retry_after=retry_after)
