"""The index service's part of our own API: what was published, and what is current.

Source: architecture sections 3 and 11.2.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from services.index.holds_api import HoldRoutes
from services.index.osv_api import AsJson, OsvRoutes
from shared.auth.verifier import Verifier
from shared.bodies import BoundedBodies
from shared.catalogue.publishing_log import JOURNAL_LINES, PublicationLine, publications
from shared.errors import ErrorKind, ServiceError
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_number, decode_cursor, page_of
from shared.problems import install_problem_handlers, problem_answer
from shared.reading.api import readable_index
from shared.resources import Resources


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class JournalLine(_Answer):
    """One change."""

    project: str
    version: str | None = Field(description="null when it is about the whole project")
    action: str
    actor: str | None


class Publication(_Answer):
    """One signed batch of changes."""

    serial: int
    committed_at: datetime
    changes: int = Field(description="changes in all")
    journal: list[JournalLine] = Field(description=f"the first {JOURNAL_LINES} changes")


class CurrentHead(_Answer):
    """What is current in an index, and served by the process that answers."""

    serial: int
    root_version: int
    snapshot_version: int
    timestamp_version: int
    timestamp_expires_at: datetime
    committed_at: datetime


def api_app(resources: Resources, verifier: Verifier, holds: HoldRoutes) -> FastAPI:
    """Return the application of the index service's routes below /api/v1, and of OSV's below /v1.

    Args:
        holds: those about what is held back.
    """
    app = FastAPI(title="Countermark index", version="1", docs_url=None, redoc_url=None)
    router = APIRouter(prefix="/api/v1/indexes/{owner}/{index}")

    @router.get("/publications")
    async def list_publications(
        owner: str, index: str, request: Request, limit: Limit = DEFAULT_LIMIT, after: After = None
    ) -> Page[Publication]:
        """List what was published in an index, newest first; for those who may read it."""
        record = await readable_index(resources, verifier, request, owner, index)
        before = None if after is None else cursor_number(decode_cursor(after), "serial")
        async with resources.engine.connect() as connection:
            found = await publications(connection, record.id, before, limit + 1)
        return page_of(found, limit, Publication.model_validate, _position)

    @router.get("/head")
    async def current_head(owner: str, index: str, request: Request) -> CurrentHead:
        """Tell what is current in an index; for those who may read it."""
        record = await readable_index(resources, verifier, request, owner, index)
        head = resources.heads.get(record.id)
        if head is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"Index {record.name} has no publication yet.")
        return CurrentHead.model_validate(head)

    app.include_router(router)
    app.include_router(holds.router)
    app.include_router(OsvRoutes(resources).router)
    app.add_middleware(AsJson)
    app.add_middleware(BoundedBodies)
    install_problem_handlers(app, problem_answer)
    return app


def _position(line: PublicationLine) -> dict[str, int]:
    return {"serial": line.serial}
