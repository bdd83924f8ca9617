"""`countermark-server index check`: signed targets and laid documents about attestations, against the catalogue."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from typer.testing import CliRunner, Result

from deploy.errors import LaunchError
from deploy.launch import app
from services.index.laying import lay
from services.index.settings import Limits
from tests.integration.signing.attested_site import WHEEL, Site
from tests.support.builds import policy


async def ran(site: Site, database: str, *more: str) -> Result:
    """Run the command on the site's catalogue and store."""
    pairs = {"database.url": database, "queue.url": "redis://localhost:1/0", "objects.folder": str(site.folder)}
    given = [part for pair in pairs.items() for part in ("--set", "=".join(pair))]
    given += ["--data", str(site.resources.settings.data)]
    return await asyncio.to_thread(CliRunner().invoke, app, ["index", *more, *given])


@pytest.fixture
async def laid(site: Site) -> Site:
    """The site with an attested file, published and laid."""
    await site.policy(policy())
    file = await site.upload()
    await site.attest(file, site.bundle(file))
    await site.publish()
    await lay(site.resources, Limits(), site.index.id)
    return site


async def test_a_lost_document_is_a_fault(laid: Site, database: str) -> None:
    """The command ends with 1, names it, and says how it is laid again; that mends it."""
    found = await ran(laid, database, "check", "root/stable")
    assert (found.exit_code, "2 documents about attestations, no faults" in found.stdout) == (0, True), found.output
    path = laid.folder / f"public/indexes/root/stable/attestations/widget/{WHEEL}.bundles.json"
    path.unlink()
    found = await ran(laid, database, "check")
    assert found.exit_code == 1, found.output
    first, fault, remedy = found.stdout.splitlines()
    assert first.endswith("2 documents about attestations, 1 faults")
    assert fault.strip().endswith(f"attestations/widget/{WHEEL}.bundles.json: not laid, of a file that is shown")
    assert remedy.strip().endswith("countermark-server rebuild root/stable")
    [told] = orjson.loads((await ran(laid, database, "check", "--json")).stdout)
    assert (told["index"], told["documents"], len(told["faults"])) == ("root/stable", 2, 1)
    assert told["remedy"] == remedy.strip()
    await lay(laid.resources, Limits(), laid.index.id, full=True)
    assert (await ran(laid, database, "check")).exit_code == 0


async def test_a_store_that_cannot_be_read_is_no_answer(laid: Site, database: str) -> None:
    """The command fails with words, and says nothing of faults."""
    path = laid.folder / f"public/indexes/root/stable/attestations/widget/{WHEEL}.bundles.json"
    path.unlink()
    path.symlink_to(path)
    found = await ran(laid, database, "check")
    assert isinstance(found.exception, LaunchError), found.output
