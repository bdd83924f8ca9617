"""An index together with its bases, each read from its own signed repository under the one trusted root.

Whether an index holds a project is proven both ways: by its signed page, or by signed metadata that lists none. Indexes
share their keys, so the latter counts only where the snapshot says whose it is (`core.binding.check_snapshot`);
else the empty tree of another index could be served in the place of a nearer one, to have a further one asked.

Source: architecture sections 11.3 and 11.5; ADR 0027.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from packaging.utils import NormalizedName

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.binding import check_page
from countermark.core.digest import Sha256
from countermark.core.errors import ClientError, InvalidMetadata, NoSuchTarget, OnlyMirrored, PointerUnreadable
from countermark.core.merging import Listed, merged
from countermark.core.names import IndexName, page_target
from countermark.core.page import MAX_PAGE_BYTES, MalformedPage, Page, parse_page
from countermark.credentials import Notify
from countermark.location import Location
from countermark.mirrors import MirroredIndex
from countermark.reading import Reading
from countermark.roots import TrustedRoot
from countermark.transport import ByteSource
from countermark.trusting import read_material
from countermark.updater import Starting, TrustedIndex
from countermark.views import View

Refreshed = Callable[[IndexName, TrustedIndex], None]
"""Is told of each index whose metadata was brought up to date."""


class Folders(Protocol):
    """Has the metadata of indexes: the cache (`countermark.cache.Cache`), or evidence."""

    @property
    def reading(self) -> Reading:
        """What a run over it may read."""

    def opened(self, location: Location, root: Sha256, notify: Notify, /) -> contextlib.AbstractContextManager[Path]:
        """Yield the metadata folder of an index under a trusted root; for this run alone."""


class Read(Protocol):
    """What is needed to read an index; see `countermark.verification.Repository`."""

    @property
    def location(self) -> Location:
        """Where it lies."""

    @property
    def mirrors(self) -> Sequence[Location]:
        """Where else it lies; nothing is believed of them."""

    @property
    def source(self) -> ByteSource:
        """Reads it, from everywhere."""

    @property
    def cache(self) -> Folders:
        """Keeps its metadata."""

    @property
    def notify(self) -> Notify:
        """Is told what is neither result nor failure."""


@dataclass(frozen=True, slots=True)
class TrustedView:
    """The verified metadata of an index and its bases; each is refreshed when it is first asked.

    Attributes:
        view: which, in which order.
        starting: of each stage of the view, at each of its addresses: the repository first, then its mirrors.
        source: reads metadata and targets.
        refreshed: is told of each refresh.
        notify: is told of each address that failed while another one is left.
    """

    view: View
    starting: Mapping[IndexName, Sequence[Starting]]
    source: ByteSource
    refreshed: Refreshed
    notify: Notify
    _indexes: dict[IndexName, MirroredIndex] = field(default_factory=dict)
    _failures: dict[IndexName, ClientError] = field(default_factory=dict)
    _material: dict[tuple[IndexName, bool], TrustMaterial] = field(default_factory=dict)

    @property
    def asked(self) -> IndexName:
        """The index itself."""
        return self.view.stages[0]

    @property
    def is_alone(self) -> bool:
        """Whether it has no bases."""
        return len(self.view.stages) == 1 and not self.view.mirrors

    def locations_of(self, name: IndexName) -> tuple[Location, ...]:
        """Return where an index of the view lies: the address that its metadata was read from, then the others."""
        proved = self.index(name).location
        return tuple(dict.fromkeys((proved, *(each.location for each in self.starting[name]))))

    def index(self, name: IndexName) -> MirroredIndex:
        """Return one of the indexes, refreshed; one that failed once is not tried again for each further name.

        Raises:
            ClientError: as `TrustedIndex.refresh`.
        """
        if name in self._failures:
            raise self._failures[name]
        index = self._indexes.get(name)
        if index is None:
            try:
                told = functools.partial(self.refreshed, name)
                index = MirroredIndex(self.starting[name], self.source, self.notify, told)
                index.refresh()
            except ClientError as error:
                self._failures[name] = error
                raise
            self._indexes[name] = index
        return index

    def read(self) -> Mapping[IndexName, TrustedIndex]:
        """Return the indexes that were asked by now."""
        return self._indexes

    def material(self, name: IndexName, *, with_roots: bool) -> TrustMaterial:
        """Return what the trust role of an index signs about attestations, read once; errors as `read_material`."""
        key = (name, with_roots)
        if key not in self._material:
            self._material[key] = read_material(self.index(name), with_roots=with_roots)
        return self._material[key]

    def listed(self, project: NormalizedName) -> Iterator[Listed]:
        """Yield the files of a project, nearest first; indexes are asked as far as the caller goes.

        Raises:
            NoSuchTarget: no index has the project.
            InvalidMetadata: an index does not prove that it has none.
            ClientError: as `TrustedIndex.read_target`.
        """
        is_there = False
        for listed in merged(self._pages(project)):
            is_there = True
            yield listed
        if not is_there:
            raise self.missing(f"no file of {project}")

    def missing(self, what: str, remedy: str = "") -> NoSuchTarget:
        """Return the error that says that nothing of the view is what was asked for.

        Args:
            what: as in "the index has ...".
            remedy: what to do, when more is known.
        """
        bases = ", ".join(map(str, self.view.stages[1:]))
        problem = f"{self.asked} has {what}" + (f", nor has any of its bases {bases}" if bases else "")
        if not self.view.mirrors:
            return NoSuchTarget(problem, remedy)
        mirrors = ", ".join(map(str, self.view.mirrors))
        return OnlyMirrored(f"{problem}; what the mirrors {mirrors} have is not signed and cannot be proven", remedy)

    def _pages(self, project: NormalizedName) -> Iterator[Page]:
        for name in self.view.stages:
            index = self.index(name)
            try:
                # An index by itself is asked for a file by its name without its page: that may be large.
                page = read_page(index, name, project, keep=not self.is_alone)
            except NoSuchTarget as error:
                if self.is_alone:
                    raise
                if not index.names_itself:
                    raise InvalidMetadata(
                        f"the metadata served as {name} lists no {project}, but is not signed as that of {name}",
                        "Bases behind it are not asked: it could be the metadata of another index. The registry signs "
                        "the name with its next publication or refresh; if it stays, tell the people who run it.",
                    ) from error
            else:
                yield page


@contextlib.contextmanager
def opened_view(view: View, here: Read, root: TrustedRoot, refreshed: Refreshed) -> Iterator[TrustedView]:
    """Open an index and its bases; their caches stay locked while the block runs.

    Args:
        here: where the index lies and how it is read; bases lie beside it, and beside its mirrors, and are read alike.

    Raises:
        LocalState: a cache cannot be used.
    """
    with contextlib.ExitStack() as locks:
        starting = {}
        # In an order that is the same for all: two runs whose indexes are based on each other would wait for ever.
        for beside in sorted(map(here.location.beside, view.stages), key=lambda beside: beside.url):
            folder = locks.enter_context(here.cache.opened(beside, root.sha256, here.notify))
            places = (beside, *(mirror.beside(beside.index) for mirror in here.mirrors))
            starting[beside.index] = [Starting(place, root, folder, here.cache.reading) for place in places]
        yield TrustedView(view, starting, here.source, refreshed, here.notify)


def read_page(index: TrustedIndex, name: IndexName, project: NormalizedName, *, keep: bool = False) -> Page:
    """Return the signed page of a project; `keep` as of `TrustedIndex.read_target`.

    Raises:
        PointerUnreadable: it is malformed.
        PointerMismatch: it is of another index or project.
        ClientError: as `TrustedIndex.read_target`.
    """
    target = page_target(project)
    try:
        page = parse_page(index.read_target(target, MAX_PAGE_BYTES, keep=keep))
    except MalformedPage as error:
        raise PointerUnreadable(f"{target}: {error}") from error
    check_page(page, name, project)
    return page
