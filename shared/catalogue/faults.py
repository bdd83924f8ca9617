"""Says in one line what is wrong with the catalogue and how to mend it, whatever raised the error.

Errors of the driver arrive as it raises them, or inside SQLAlchemy's; those of reaching it as `CatalogueUnreachable`.
Source: PostgreSQL documentation, appendix A (error codes).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.catalogue.engine import CatalogueUnreachable


@dataclass(frozen=True, slots=True)
class CatalogueFault:
    """What is wrong; `passing` when it may be over in a moment without anybody's doing (a restart, a network)."""

    text: str
    passing: bool


_BY_STATE: Mapping[str, CatalogueFault] = {
    "28P01": CatalogueFault("Postgres refuses the user or the password: correct database.url", passing=False),
    "28000": CatalogueFault(
        "Postgres lets this user or machine not in: correct database.url, or pg_hba.conf there", passing=False
    ),
    "3D000": CatalogueFault("Postgres has no such database: create it, or correct database.url", passing=False),
    "42501": CatalogueFault(
        "Postgres denies a right that is needed: grant it to the user of database.url", passing=False
    ),
    "42P01": CatalogueFault("the catalogue lacks a table: run countermark-server init", passing=False),
    "25006": CatalogueFault(
        "Postgres is read-only (a standby?): let database.url name the primary server", passing=True
    ),
    "53100": CatalogueFault("the disk of Postgres is full: make room there; work goes on by itself then", passing=True),
    "53200": CatalogueFault("Postgres is out of memory: give it more", passing=True),
    "53300": CatalogueFault(
        "Postgres takes no more connections: raise max_connections there, or lower database.pool", passing=True
    ),
    "57P01": CatalogueFault("Postgres is shutting down", passing=True),
    "57P02": CatalogueFault("Postgres is starting again after a crash", passing=True),
    "57P03": CatalogueFault("Postgres is starting or stopping", passing=True),
    "57014": CatalogueFault("Postgres took too long over a statement: see what it is busy with", passing=True),
}
"""SQLSTATE -> what it means here."""

_AWAY = "Postgres does not answer ({}): start it, or correct database.url"


def catalogue_fault(error: BaseException) -> CatalogueFault | None:
    """Return what an error says of the catalogue, or None when it has nothing to do with it (or is a fault of ours)."""
    connecting = False
    for one in _chain(error):
        connecting = connecting or isinstance(one, CatalogueUnreachable)
        fault = _of_state(getattr(one, "sqlstate", None))
        if fault is not None:
            return fault
        if isinstance(one, PoolTimeoutError):
            return CatalogueFault("no connection to Postgres became free: raise database.pool", passing=True)
        if isinstance(one, asyncpg.InterfaceError) and "closed" in str(one):
            return CatalogueFault(_AWAY.format("the connection was cut"), passing=True)
        if connecting:
            if isinstance(one, socket.gaierror):
                return CatalogueFault("the host of database.url is not known: correct it, or see to DNS", passing=True)
            if isinstance(one, TimeoutError):
                return CatalogueFault(_AWAY.format("timed out"), passing=True)
            if isinstance(one, OSError) and one.strerror:
                return CatalogueFault(_AWAY.format(one.strerror), passing=True)
    return CatalogueFault(_AWAY.format("no connection"), passing=True) if connecting else None


def _of_state(state: object) -> CatalogueFault | None:
    if not isinstance(state, str):
        return None
    if state.startswith("08"):
        return CatalogueFault(_AWAY.format("the connection was cut"), passing=True)
    return _BY_STATE.get(state)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps, outermost first."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or any(one is known for known in seen):
            continue
        seen.append(one)
        yield one
        inner = getattr(one, "orig", None)
        waiting += [inner if isinstance(inner, BaseException) else None, one.__cause__]
