"""Errors of the catalogue, in words."""

from __future__ import annotations

import socket

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.catalogue.engine import CatalogueUnreachable
from shared.catalogue.faults import catalogue_fault


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error that was raised from another."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words", "passing"),
    [
        (asyncpg.InvalidPasswordError("no"), "refuses the user or the password", False),
        (asyncpg.InvalidCatalogNameError("no"), "no such database", False),
        (asyncpg.DiskFullError("no"), "the disk of Postgres is full: make room there", True),
        (asyncpg.ReadOnlySQLTransactionError("no"), "read-only (a standby?)", True),
        (asyncpg.TooManyConnectionsError("no"), "max_connections", True),
        (asyncpg.CannotConnectNowError("no"), "starting or stopping", True),
        (asyncpg.ConnectionDoesNotExistError("no"), "the connection was cut", True),
        (asyncpg.InterfaceError("connection is closed"), "the connection was cut", True),
        (PoolTimeoutError("no"), "raise database.pool", True),
        (
            caused(CatalogueUnreachable("x"), ConnectionRefusedError(111, "Connection refused")),
            "(Connection refused)",
            True,
        ),
        (caused(CatalogueUnreachable("x"), socket.gaierror(-2, "unknown")), "host of database.url is not known", True),
        (caused(CatalogueUnreachable("x"), TimeoutError()), "timed out", True),
        (CatalogueUnreachable("x"), "no connection", True),
    ],
)
def test_every_fault_has_its_words(error: Exception, words: str, passing: bool) -> None:
    """One line, what to do, and whether waiting may help; the same when SQLAlchemy has wrapped it."""
    for told in (error, caused(DBAPIError("select 1", None, error), error)):
        fault = catalogue_fault(told)
        assert fault is not None
        assert words in fault.text
        assert "\n" not in fault.text
        assert fault.passing is passing


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(28, "No space left"), TimeoutError(), asyncpg.UniqueViolationError("x")]
)
def test_other_errors_are_not_the_catalogues(error: Exception) -> None:
    """A full disk of ours, a bug and a broken constraint stay what they are."""
    assert catalogue_fault(error) is None
