"""Which index a path means, and whether the caller may read it: from memory, the same for pages, metadata and files.

Source: architecture section 11.5; contract python-index sections 1.2.3 and 1.7.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from countermark.core.names import IndexName
from shared.auth.access import decided, identified, may_read, require
from shared.auth.directory import Directory, IndexRecord
from shared.auth.principal import NOBODY, Verb
from shared.auth.verifier import Verifier
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.http import bind_principal
from shared.ids import IndexId
from shared.reading.views import View, Views


@dataclass(frozen=True, slots=True)
class Place:
    """An index that a path means.

    Attributes:
        open: whether everyone may read it, with or without credentials. Its bases are not asked: what they show here
            is for whoever may read this index.
        view: the index together with its bases, None for one without.
    """

    record: IndexRecord
    open: bool
    view: View | None = None

    def groups(self, what: Hashable) -> tuple[tuple[IndexId, Hashable], ...]:
        """Return the groups of something that is kept in memory: `what` in this index and in each of its bases.

        A publication of any of them then drops it; see `shared.reading.shelf`.
        """
        ids = (self.record.id,) if self.view is None else self.view.ids
        return tuple((index_id, what) for index_id in ids)


class Access:
    """Finds indexes and checks the right to read them."""

    def __init__(self, directory: Directory, verifier: Verifier) -> None:
        self._directory = directory
        self._verifier = verifier
        self._views = Views(directory)
        self._generation = directory.generation
        self._places: dict[IndexName | None, Place] = {}
        """By the index that a face names, those that are: as many as there are indexes, at the most."""

    @property
    def generation(self) -> int:
        """Grows when any index or right changed: what was derived from a `Place` is out of date then."""
        return self._directory.generation

    def place(self, face: Face) -> Place:
        """Return the index that a face belongs to.

        The paths without an index (`/simple/`, `/+f/`, ...) are switched off while not everyone may read the default
        index: its credentials would be sent to every index of the host.

        Raises:
            ServiceError: NOT_FOUND; there is no such index, or the default index is not open. GONE; the file of an
                index that was deleted.
        """
        place = self._remembered(face)
        if place is None:
            place = self._places[face.index] = self._found(face)
        return place

    def _remembered(self, face: Face) -> Place | None:
        if self._generation != self._directory.generation:
            self._places.clear()
            self._generation = self._directory.generation
        return self._places.get(face.index)

    def _found(self, face: Face) -> Place:
        name = face.index or self._directory.default_index
        record = None if name is None else self._directory.index(name)
        was_there = face.index is not None and self._directory.was_public(face.index)
        if record is None and was_there and face.kind is FaceKind.FILE:
            raise ServiceError(ErrorKind.GONE, f"The index {face.index} was deleted.")
        if record is None:
            where = f"There is no index {face.index}." if face.index else "This deployment has no default index yet."
            raise ServiceError(ErrorKind.NOT_FOUND, where)
        everyone = may_read(NOBODY, record)
        if face.index is None and not everyone:
            detail = "The default index is not open to everyone: use its own address, /<owner>/<index>/+simple/."
            raise ServiceError(ErrorKind.NOT_FOUND, detail)
        return Place(record, everyone, self._views.of(record))

    def quick(self, place: Place, authorization: bytes | None) -> bool:
        """Return whether memory alone can tell that the caller may read. For hot paths; False means: ask `enter`."""
        if place.open:
            return True
        header = None if authorization is None else authorization.decode("latin-1")
        principal = self._verifier.quick(header)
        return principal is not None and may_read(principal, place.record)

    async def enter(self, face: Face, authorization: bytes | None) -> Place:
        """Return the index that a face belongs to, once the caller is known to be one who may read it.

        Credentials are not looked at where everyone may read: wrong ones count as none there.

        Raises:
            ServiceError: NOT_FOUND as `place`; UNAUTHENTICATED without credentials or with wrong ones, TOO_MANY after
                too many of those, FORBIDDEN for somebody without the right (never NOT_FOUND, after which uv goes on to
                the next index).
        """
        place = self._remembered(face)
        if place is not None and place.open:
            return place
        return await decided(self._directory, lambda: self._entered(face, authorization))

    async def _entered(self, face: Face, authorization: bytes | None) -> Place:
        place = self.place(face)
        if not place.open:
            header = None if authorization is None else authorization.decode("latin-1")
            principal = await identified(self._verifier, header)
            bind_principal(principal)
            require(principal, Verb.READ, place.record)
        return place
