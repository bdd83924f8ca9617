"""What administrators see of jobs and of the audit log at the dashboard."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import Outbox
from tests.support.browser import Browser
from tests.support.dashboard import post
from tests.support.gateway import TestGateway


async def test_administrators_see_jobs_and_try_dead_ones_again(
    gateway: TestGateway, engine: AsyncEngine, root: Browser
) -> None:
    """A job that was given up is listed with its error; the button opens it again, once."""
    assert "publish" in (await root.get("/jobs")).text
    assert "No job was given up" in (await root.get("/jobs?state=dead")).text
    async with engine.begin() as connection:
        job = await connection.scalar(select(func.min(Outbox.id)))
        dead = (
            update(Outbox).where(Outbox.id == job).values(dead_at=func.now(), attempts=9, last_error="the disk is full")
        )
        await connection.execute(dead)
    assert "the disk is full" in (await root.get("/jobs?state=dead")).text
    again = await post(root, "/jobs?state=dead", f"/jobs/{job}/retry")
    assert (again.status_code, again.headers["location"]) == (303, "/jobs")
    assert "No job was given up" in (await root.get("/jobs?state=dead")).text
    assert (await post(root, "/jobs", f"/jobs/{job}/retry")).status_code == 404


async def test_administrators_see_the_audit_log(root: Browser) -> None:
    """What changed rights is there, newest first, with who did it."""
    page = (await root.get("/audit")).text
    assert page.index("account.create") < page.index("deployment.create")
    assert "index.create" in page
