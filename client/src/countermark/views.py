"""Which indexes are asked for a project: an index with its bases, in an order that a person or an earlier run fixed.

No role of TUF signs the bases of an index, so what the registry says of them is taken once, recorded, and held to: a
registry that says something else later is refused until a person agrees. Whoever cannot trust the first answer either
names the bases (`--base`, `countermark bases pin`); then the registry is not asked.

A registry that lies in its first answer can make nothing be taken that its keys did not sign for the index it is said
to be of, and cannot hide what the asked index or a recorded base holds: each is asked for proof, the absence included.

Source: architecture section 11.5; contract devpi sections 6 and 15; ADR 0027.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from countermark.cache import repository_key
from countermark.core.errors import BasesChanged, BasesUnknown, LocalState, OnlyMirrored
from countermark.core.names import IndexName, InvalidName, parse_index_name
from countermark.core.resolution import MIRROR, MOST_MEMBERS, STAGE, resolution_order
from countermark.credentials import Notify
from countermark.location import Location
from countermark.records import write_record

MAX_DOCUMENT = 256 * 1024
"""Bytes of an index's document: room for 200 bases, whitelists and words about it."""


class ViewOrigin(StrEnum):
    """Who said what the bases are."""

    NAMED = "named"
    SERVED = "served"


@dataclass(frozen=True, slots=True)
class View:
    """An index and its bases: `stages` are asked in this order, the index first; nothing of `mirrors` can be proven."""

    stages: tuple[IndexName, ...]
    mirrors: tuple[IndexName, ...] = ()
    origin: ViewOrigin = ViewOrigin.SERVED

    def __str__(self) -> str:
        bases = [*map(str, self.stages[1:]), *(f"{name} (mirror)" for name in self.mirrors)]
        return ", ".join(bases) or "none"

    def facts(self) -> Mapping[str, object]:
        """Return what there is to say of it, JSON-ready."""
        return {
            "order": list(map(str, self.stages)),
            "mirrors": list(map(str, self.mirrors)),
            "origin": self.origin.value,
        }

    def is_as(self, other: View) -> bool:
        """Return whether both ask the same indexes in the same order."""
        return (self.stages, self.mirrors) == (other.stages, other.mirrors)


def named_view(index: IndexName, bases: Sequence[IndexName]) -> View:
    """Return the view that a person names."""
    return View(tuple(dict.fromkeys((index, *bases))), origin=ViewOrigin.NAMED)


class ViewStore:
    """Recorded views, one small file for each index.

    Args:
        folder: where they lie; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, location: Location) -> View | None:
        """Return what is recorded of an index, or None.

        Raises:
            LocalState: the file is unreadable or damaged. It is never ignored: the bases would be learnt anew.
        """
        path = self._path(location)
        try:
            fields = json.loads(path.read_bytes())
            stages, mirrors = ([parse_index_name(name) for name in fields[key]] for key in ("stages", "mirrors"))
            if fields["index"] != location.url or stages[:1] != [location.index]:
                raise ValueError("it is of another index")
            return View(tuple(stages), tuple(mirrors), ViewOrigin(fields["origin"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalState(f"the recorded bases {path} cannot be used: {error}", _record(location)) from error

    def keep(self, location: Location, view: View) -> Path:
        """Record a view in place of the index's earlier one; return the file.

        Raises:
            LocalState: it cannot be written.
        """
        document = {
            "index": location.url,
            "origin": view.origin.value,
            "stages": list(map(str, view.stages)),
            "mirrors": list(map(str, view.mirrors)),
        }
        return write_record(self._path(location), document)

    def _path(self, location: Location) -> Path:
        return self._folder / f"{repository_key(location.url)}.json"


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """What the person said: the bases (None: nothing), and whether a registry on this machine may have new ones."""

    bases: tuple[IndexName, ...] | None = None
    may_be_remade: bool = False


def choose_view(
    location: Location, choice: ViewChoice, store: ViewStore, source: FetcherInterface, notify: Notify
) -> View:
    """Return which indexes are asked: as named now, else as recorded, which has to agree with what the registry says.

    Without a record what is said is recorded. A static tree says nothing: without a name or record it stands alone.

    Raises:
        BasesUnknown: nothing is recorded and the registry does not say.
        BasesChanged: it says something else than what is recorded.
        LocalState: the record cannot be read or written.
    """
    if choice.bases is not None:
        return named_view(location.index, choice.bases)
    known = store.find(location)
    if location.is_tree:
        return known or View((location.index,))
    if known is not None and known.origin is ViewOrigin.NAMED:
        return known
    try:
        served = ask_view(location, source)
    except BasesUnknown as error:
        if known is None:
            raise
        # Whoever keeps the answer back gains nothing: what is recorded counts for more than the answer.
        notify(f"{error.problem}; going on with those recorded: {known}")
        return known
    if known is None or (not known.is_as(served) and choice.may_be_remade and location.is_loopback):
        store.keep(location, served)
        if known is not None or not served.is_as(View((location.index,))):
            notify(f"recorded what {location.index} is based on: {served}; another answer will be refused")
        return served
    if not known.is_as(served):
        raise BasesChanged(
            f"{location.url} says it is based on: {served}; recorded is: {known}",
            f"If its owner confirms the change: {_record(location)}",
        )
    return known


def recorded_view(location: Location, choice: ViewChoice, store: ViewStore) -> View:
    """Return which indexes are asked when the registry cannot be: as named now, else as recorded, else the index alone.

    Raises:
        LocalState: the record cannot be read.
    """
    if choice.bases is not None:
        return named_view(location.index, choice.bases)
    return store.find(location) or View((location.index,))


@dataclass(frozen=True, slots=True)
class _Index:
    name: IndexName
    type: str
    bases: tuple[IndexName, ...]


def ask_view(location: Location, source: FetcherInterface) -> View:
    """Return the index and its bases as the registry describes them now, at most `MOST_MEMBERS`.

    Bases that are gone are skipped, as the registry skips them; one that may not be read is a failure, since nothing
    could be proven of what it holds.

    Raises:
        BasesUnknown: an index is not described, or not usably.
        OnlyMirrored: the index itself is a mirror.
    """
    asked = _describe(location, location.index, source)
    if asked is None:
        raise BasesUnknown(
            f"there is no index at {location.url}, or it does not say what it is based on",
            f"Check the address. {_how_to_name(location)}",
        )
    if asked.type == MIRROR:
        raise OnlyMirrored(f"{location.url} is a mirror: what it has is not signed and cannot be proven")
    order = resolution_order(asked, lambda name: _describe(location, name, source))
    return View(
        tuple(member.name for member in order if member.type != MIRROR),
        tuple(member.name for member in order if member.type == MIRROR),
    )


def _describe(location: Location, name: IndexName, source: FetcherInterface) -> _Index | None:
    """Return what the registry says of an index, None when it is gone."""
    url = f"{location.deployment}/{name}?no_projects="
    try:
        return _parsed(name, source.download_bytes(url, MAX_DOCUMENT))
    except DownloadHTTPError as error:
        if error.status_code in {404, 410}:
            return None
        reason = "may not be read with these credentials" if error.status_code in {401, 403} else str(error)
    except DownloadError as error:
        reason = str(error)
    except ValueError as error:
        reason = f"is described unusably: {error}"
    raise BasesUnknown(f"what {location.index} is based on cannot be learnt: {name} {reason}", _how_to_name(location))


def _parsed(name: IndexName, data: bytes) -> _Index:
    """Return what an index's document says. Source: contract devpi sections 4.3 and 6.

    Raises:
        ValueError: it is none, or has more bases than an index can have.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("not JSON") from error
    config = document.get("result") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping) or config.get("type") not in {STAGE, MIRROR}:
        raise ValueError("it is no document of an index")
    bases = config.get("bases", [])
    if not isinstance(bases, list) or len(bases) > MOST_MEMBERS or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"its bases are not a list of at most {MOST_MEMBERS} names")
    try:
        named = tuple(map(parse_index_name, bases))
    except InvalidName as error:
        raise ValueError(str(error)) from error
    return _Index(name, config["type"], named if config["type"] == STAGE else ())


def _record(location: Location) -> str:
    return f"Record its bases again with `countermark bases pin {location.url}`, or name them there."


def _how_to_name(location: Location) -> str:
    return (
        "Use credentials that may read all of its bases; or say yourself which indexes to ask, with --base OWNER/INDEX "
        f"for each in order (--base none for none), or once for all with `countermark bases pin {location.url} ...`."
    )
