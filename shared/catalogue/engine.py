"""Opens the catalogue: one engine per process."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

STATEMENT_TIMEOUT = 30_000
"""Milliseconds after which Postgres ends a statement: nothing we run takes seconds."""

CATALOGUE_AWAY = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a loop meets while Postgres is away or restarts; some errors of connecting arrive as the driver raises them."""


def open_engine(url: str, *, pool: int = 10) -> AsyncEngine:
    """Return an engine for a `postgresql+asyncpg://` URL; it connects on first use.

    Args:
        pool: connections kept at the most; as many again may be opened under load.
    """
    return create_async_engine(
        url,
        pool_size=pool,
        max_overflow=pool,
        pool_pre_ping=False,
        connect_args={
            "server_settings": {
                "statement_timeout": str(STATEMENT_TIMEOUT),
                "application_name": "countermark",
                "jit": "off",
            }
        },
    )
