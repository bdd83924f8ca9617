"""What processes tell Prometheus, on a port of its own."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.ports import port_of, take_port
from services.signing.ceremonies.trust_root import ensure_trust
from shared.settings import Listen, Settings
from tests.support.alone import alone, alone_settings
from tests.support.archives import make_wheel
from tests.support.factories import make_default, make_index, make_token
from tests.support.outbox import row
from tests.support.resources import service_resources
from tests.support.uploading import basic, form_body

WHEEL = "widget-1.0-py3-none-any.whl"


class Scraped:
    """The metrics of a process at a moment."""

    def __init__(self, text: str) -> None:
        self.text = text

    def value(self, series: str) -> float:
        """Return the value of a series as it is written."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.text, re.MULTILINE)
        assert found is not None, f"no {series} in\n{self.text}"
        return float(found[1])


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with take_port("127.0.0.1", 0, "X") as listening:
        return port_of(listening)


@pytest.fixture
def settings(database: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings with a port for metrics."""
    listen = Listen(service_port=0, api_port=0, ui_port=0, metrics_port=free_port())
    return alone_settings(database, valkey_url, tmp_path, listen=listen)


async def scrape(settings: Settings) -> Scraped:
    """Ask the port of the metrics."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{settings.listen.metrics_port}/metrics")
    assert answer.status_code == 200
    return Scraped(answer.text)


async def until(settings: Settings, line: str) -> Scraped:
    """Return the metrics once they have this line."""
    async with asyncio.timeout(20):
        while line not in (seen := await scrape(settings)).text:
            await asyncio.sleep(0.05)
    return seen


async def test_an_upload_and_its_publication_are_counted(
    settings: Settings, engine: AsyncEngine, tmp_path: Path
) -> None:
    """Bytes in the upload service; the batch, its time, the queue and what expires in the others."""
    async with service_resources(engine, tmp_path) as resources:
        await ensure_trust(resources)
    await make_default(engine, await make_index(engine))
    body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
    async with alone("upload", settings) as upload, httpx2.AsyncClient() as client:
        headers = basic(await make_token(engine)) | form
        assert (await client.post(f"{upload.url}/root/stable/", content=body, headers=headers)).status_code == 200
        seen = await scrape(settings)
    assert seen.value('countermark_requests_total{kind="upload",status="200"}') == 1
    assert seen.value('countermark_received_bytes_total{kind="upload"}') == len(body)
    assert seen.value('countermark_store_seconds_count{operation="put"}') == 2
    assert seen.value("process_resident_memory_bytes") > 1e6
    assert abs(seen.value("countermark_clock_skew_seconds")) < 1
    assert 0 <= seen.value("countermark_view_age_seconds") < 10
    async with alone("worker", settings):
        waiting = await until(settings, "countermark_outbox_open 1.0")
        assert waiting.value("countermark_outbox_oldest_seconds") > 0
        assert waiting.value("countermark_outbox_dead") == 0
        assert waiting.value('countermark_expiry_seconds{index="",role="root"}') > 86400
        while (await row(engine)).sent_at is None:
            await asyncio.sleep(0.02)
    async with alone("signing", settings):
        signed = await until(settings, 'countermark_jobs_total{kind="publish_index",outcome="done"} 1.0')
        told = await until(settings, 'countermark_expiry_smallest_seconds{role="trust"}')
    assert 'countermark_expiry_short_indexes{role="trust"} 0.0' in told.text
    assert told.value("countermark_signing_seconds_count") == 1
    assert signed.value("countermark_publication_seconds_count") == 1
    assert signed.value("countermark_publication_changes_sum") == 1
    assert signed.value("countermark_lease_conflicts_total") == 0
    async with alone("worker", settings):
        found = await until(settings, 'countermark_expiry_seconds{index="root/stable",role="timestamp"}')
    for role in ("timestamp", "snapshot", "bins"):
        assert found.value(f'countermark_expiry_seconds{{index="root/stable",role="{role}"}}') > 3600
