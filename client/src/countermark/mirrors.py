"""Other addresses of the same index, asked when the one before them fails; nothing of what they say is believed.

A mirror is one more place where the bytes may come from. Root, cache, recorded bases and the index's name are those of
the repository, so what one address showed protects against a rollback by the next. TUF cannot tell a mirror that is
merely behind, and not expired, from a registry that published nothing since.

- *metadata and targets* (`MirroredIndex`): the next address is asked after what the network or the metadata's checks
  say (10, 20 to 23), and when it is the metadata of another index (31);
- *artifact and attestation* (`first_good`): after 10, 40, 41 and 50, beginning with the address that proved the
  pointer. What comes behind the attestation's digest (51 to 62) is about the same bytes everywhere, so no other is
  asked.

Source: trust contract section 6 row 14.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self, TypeVar

from tuf.api.exceptions import DownloadError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from countermark.core.errors import (
    ArtifactRefused,
    AttestationAltered,
    ClientError,
    MetadataRefused,
    NetworkFailure,
    PointerMismatch,
    UsageFault,
)
from countermark.credentials import Credentials, Notify
from countermark.location import Location, parse_location
from countermark.transport import ByteSource, Limits, Transport
from countermark.updater import Starting, TrustedIndex

MOST_MIRRORS = 8
"""Mirrors of one run, at the most: the time for metadata is divided among all addresses."""

Passing = tuple[type[ClientError], ...]
"""The failures after which the next address is asked."""

FILE: Passing = (NetworkFailure, ArtifactRefused, AttestationAltered)
"""Of artifacts and attestations."""

_METADATA: Passing = (NetworkFailure, MetadataRefused, PointerMismatch)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an index can be read, with what is sent to that origin alone."""

    location: Location
    credentials: Credentials | None = None


def read_mirrors(
    urls: Sequence[str], home: Location, credentials_of: Callable[[str], Credentials | None]
) -> tuple[Address, ...]:
    """Return the mirrors that a person names, each once, without the repository itself.

    Args:
        home: the repository.
        credentials_of: finds those of an URL.

    Raises:
        UsageFault: one is no address of an index, or of another index, or there are too many.
    """
    found: dict[str, Address] = {}
    for url in urls:
        location = parse_location(url)
        if location.index != home.index:
            raise UsageFault(
                f"the mirror {location.url} is of {location.index}, and {home.index} is asked for",
                "A mirror is another address of the same index: both end in the same owner/index.",
            )
        if location.url != home.url and location.url not in found:
            found[location.url] = Address(location, credentials_of(url))
    if len(found) > MOST_MIRRORS:
        raise UsageFault(f"{len(found)} mirrors are named", f"Name at most {MOST_MIRRORS}.")
    return tuple(found.values())


@dataclass(slots=True)
class _Failures:
    """What addresses failed with, in the order in which they were asked."""

    notify: Notify
    _failed: list[tuple[Location, ClientError]] = field(default_factory=list)

    def add(self, here: Location, error: ClientError, following: Location) -> None:
        """Tell a failure, and who is asked next."""
        self._failed.append((here, error))
        self.notify(f"{here.url} failed: {error.link}: {error.problem} [{error.exit_code}]; asking {following.url}")

    def closed(self, here: Location, last: ClientError) -> ClientError:
        """Return what to raise when the last address failed too: the error of the first that was reached."""
        if not self._failed:
            return last
        failed = [*self._failed, (here, last)]
        reached = [each for each in failed if not isinstance(each[1], NetworkFailure)]
        place, first = (reached or failed)[0]
        others = "; ".join(f"{at.url}: {each.link}: {each.problem}" for at, each in failed if each is not first)
        error = copy.copy(first)
        error.problem = f"{first.problem}; and the other addresses failed too: {others}"
        if place is not failed[0][0]:
            # What the error advises is about a repository: nobody is to pin the root of a mirror.
            error.remedy = f"{place.url} is a mirror: tell the people who run it, or name another one."
        return error


def first_good(places: Sequence[Location], do: Callable[[Location], _T], passing: Passing, notify: Notify) -> _T:
    """Return what the first address gives that does not fail.

    Args:
        places: where, in the order to ask.
        do: reads from one.
        passing: failures after which the next is asked; others end it.
        notify: is told of each address that failed while another one is left.

    Raises:
        ClientError: all failed: as the first that was reached, with words about the others.
    """
    failures = _Failures(notify)
    for place, following in zip(places, [*places[1:], None], strict=True):
        try:
            return do(place)
        except passing as error:
            if following is None:
                closed = failures.closed(place, error)
                if closed is error:
                    raise
                raise closed from error
            failures.add(place, error, following)
    raise AssertionError("there is at least one address")


class MirroredIndex(TrustedIndex):
    """The verified metadata of one index, from the first of its addresses that does not fail.

    The next address starts from the same folder, so it has to be as new as what was seen already. An address that
    failed is not asked again.

    Args:
        startings: the same index at each address, the repository first.
        source: reads from all of them.
        notify: is told of each address that failed.
        refreshed: is told of each refresh.
    """

    def __init__(
        self,
        startings: Sequence[Starting],
        source: FetcherInterface,
        notify: Notify,
        refreshed: Callable[[TrustedIndex], None],
    ) -> None:
        super().__init__(startings[0], source)
        self._others = list(startings[1:])
        self._failures = _Failures(notify)
        self._refreshed = refreshed
        self._versions: Mapping[str, int] | None = None

    @property
    def location(self) -> Location:
        """The address that is read now."""
        return self._starting.location

    def refresh(self) -> Mapping[str, int]:
        """Bring the metadata up to date; see `TrustedIndex.refresh`."""
        return self._from_any(lambda versions: versions)

    def holds(self, path: str) -> bool:
        """Return whether a target is listed; see `TrustedIndex.holds`."""
        look = super().holds
        return self._from_any(lambda _versions: look(path))

    def read_target(self, path: str, limit: int, *, keep: bool = True) -> bytes:
        """Return the bytes of a target; see `TrustedIndex.read_target`."""
        read = super().read_target
        return self._from_any(lambda _versions: read(path, limit, keep=keep))

    def _from_any(self, do: Callable[[Mapping[str, int]], _T]) -> _T:
        while True:
            try:
                if self._versions is None:
                    self._versions = super().refresh()
                    self._refreshed(self)
                return do(self._versions)
            except _METADATA as error:
                if not self._others:
                    closed = self._failures.closed(self.location, error)
                    if closed is error:
                        raise
                    raise closed from error
                following = self._others.pop(0)
                self._failures.add(self.location, error, following.location)
                self._versions = None
                self._begin(following)


class _Line:
    """One address and the transport to it, opened when it is first used."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.prefix = f"{address.location.deployment}/"
        self.is_spent = False
        self._address, self._limits = address, limits
        self._open = contextlib.ExitStack()
        self._transport: Transport | None = None

    def transport(self) -> Transport:
        """Return the transport; the same one until it is closed."""
        if self._transport is None:
            self._transport = self._open.enter_context(Transport(self._limits, self._address.credentials))
        return self._transport

    def close(self) -> None:
        """Close the transport: one whose deadline passed has shut its connections down for good."""
        self._transport = None
        self._open.close()


class MirroredSource(ByteSource):
    """Reads from several addresses, each with its own credentials and an equal share of the time for metadata.

    So a first address that is slow leaves time for the others, and all together take no longer than one would.

    Args:
        addresses: the repository first.
        limits: of the whole run.
    """

    def __init__(self, addresses: Sequence[Address], limits: Limits) -> None:
        share = replace(limits, metadata_total=limits.metadata_total / len(addresses))
        self._lines = [_Line(address, share) for address in addresses]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()

    def stream(self, url: str, length: int) -> Iterator[bytes]:
        """Yield an artifact's bytes; see `ByteSource.stream`."""
        line = self._line(url)
        try:
            yield from line.transport().stream(url, length)
        except DownloadError:
            line.close()
            raise

    def _fetch(self, url: str) -> Iterator[bytes]:
        line = self._line(url)
        if line.is_spent:
            raise SlowRetrievalError(f"no time left to read {url}: this address was too slow before")
        try:
            yield from line.transport().fetch(url)
        except SlowRetrievalError:
            line.is_spent = True
            line.close()
            raise

    def _line(self, url: str) -> _Line:
        """Return the address that a URL is of: that with the longest deployment it begins with."""
        return max(self._lines, key=lambda line: len(line.prefix) if url.startswith(line.prefix) else 0)
