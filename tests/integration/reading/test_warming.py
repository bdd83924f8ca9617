"""Caches that are filled from lock files, and what a lock file would miss with the upstream cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import parse_index_name
from deploy.mirrors.warming import Finding, State, Warming
from shared.formats.python.locks import read_lock
from shared.formats.python.targets import Targets, parse_targets
from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_site import MIRRORS, NEW, OLD, Site, mirrored
from tests.support.factories import now
from tests.support.reading import open_reading
from tests.support.upstream import Fault, Upstream

_NATIVE = "thing-1.0-cp312-cp312-win_amd64.whl"


@pytest.fixture
async def site(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with one project, a mirror of it and a stage based on the mirror."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", _NATIVE)
    upstream.add("thing", OLD)
    async with mirrored(Site, engine, open_reading(engine, stores, mirrors=MIRRORS), upstream) as site:
        yield site


async def _found(
    site: Site, lock: str, *, fetch: bool, targets: Targets | None = None, name: str = "requirements.txt"
) -> list[Finding]:
    resources = site.family.reading.resources
    await resources.directory.refresh()
    index = resources.directory.index(parse_index_name("a/top"))
    assert index is not None
    warming = Warming(resources, index, targets or Targets(), fetch=fetch)
    return [finding async for finding in warming.findings(read_lock(name, lock.encode()).releases)]


def _states(found: list[Finding]) -> dict[str, State]:
    return {finding.what: finding.state for finding in found}


async def test_what_is_warm_goes_without_the_upstream(site: Site) -> None:
    """Missing, then fetched with its metadata, then kept; the build goes through with the upstream cut."""
    lock = "thing==1.0\n"
    assert _states(await _found(site, lock, fetch=False)) == {"thing 1.0": State.MISSING}
    assert site.upstream.asked["/simple/thing/"] == 0
    fetched = {WHEEL: State.FETCHED, _NATIVE: State.FETCHED}
    assert _states(await _found(site, lock, fetch=True)) == fetched
    site.upstream.down = Fault(status=503)
    kept = dict.fromkeys(fetched, State.KEPT)
    assert _states(await _found(site, lock, fetch=False)) == kept
    assert _states(await _found(site, lock, fetch=True)) == kept
    site.reopen()
    page = (await site.get("/a/top/+simple/thing/")).json()
    wheel = next(file for file in page["files"] if file["filename"] == WHEEL)
    path = wheel["url"].removeprefix("../../")
    assert (await site.get(f"/a/top/{path}")).content == WHEEL.encode()
    assert (await site.get(f"/a/top/{path}.metadata")).content == b"Name: thing"


async def test_machines_choose_files_and_versions(site: Site) -> None:
    """Only what the named machines would install; without a version the newest that is allowed."""
    linux = parse_targets(["3.12"], ["manylinux_2_28_x86_64"])
    assert _states(await _found(site, "thing<2", fetch=True, targets=linux)) == {WHEEL: State.FETCHED}
    assert _states(await _found(site, "thing<1", fetch=True)) == {OLD: State.FETCHED}
    assert _states(await _found(site, "thing>9", fetch=True)) == {"thing >9": State.MISSING}
    assert _states(await _found(site, "nothing==1", fetch=True)) == {"nothing 1": State.MISSING}


async def test_digests_and_names_of_the_lock_file_count(site: Site) -> None:
    """A file with another digest is not fetched; one that the page does not list is missing."""
    digest = "ab" * 32
    (found,) = await _found(site, f"thing==0.9 --hash=sha256:{digest}", fetch=True)
    assert (found.state, "the lock file another" in found.why) == (State.FAILED, True)
    lock = f"""version = 1
[[package]]
name = "thing"
version = "1.0"
source = {{ registry = "x" }}
wheels = [
    {{ url = "https://x/{WHEEL}", hash = "sha256:{digest}" }},
    {{ url = "https://x/thing-1.0-1-py3-none-any.whl" }},
]
"""
    found_all = await _found(site, lock, fetch=True, name="uv.lock")
    assert _states(found_all) == {WHEEL: State.FAILED, "thing-1.0-1-py3-none-any.whl": State.MISSING}
    assert site.upstream.asked[f"/files/{WHEEL}"] == 0


async def test_what_is_held_back_is_not_fetched(site: Site) -> None:
    """With the rule and the day on which it ends; a denied name with its reason."""
    site.upstream.add("thing", NEW, fields={"upload-time": now().isoformat().replace("+00:00", "Z")})
    await site.set("a/top", policy={"min_age": 86400})
    (found,) = await _found(site, "thing==2.0", fetch=True)
    assert (found.state, "too-new" in found.why, "until 20" in found.why) == (State.HELD, True, True)
    await site.set("a/top", policy={"denied": {"thing": "taken over"}})
    (found,) = await _found(site, "thing==1.0", fetch=True)
    assert (found.state, found.why) == (State.HELD, "a/top (denied): taken over")
    assert site.upstream.asked[f"/files/{NEW}"] == 0


async def test_a_nearer_index_is_enough(site: Site) -> None:
    """A private name is never asked for upstream; a file that the stage does not have is missing."""
    file = await site.family.publish("a/top", WHEEL, b"private")
    lock = f"""[[package]]
name = "thing"
version = "1.0"
files = [{{ file = "{WHEEL}", hash = "sha256:{file.sha256}" }}, {{ file = "{OLD}", hash = "sha256:{file.sha256}" }}]
[metadata]
content-hash = "x"
"""
    states = _states(await _found(site, lock, fetch=True, name="poetry.lock"))
    assert states == {WHEEL: State.HOSTED, OLD: State.MISSING}
    assert site.upstream.asked["/simple/thing/"] == 0


async def test_an_upstream_that_is_away_is_said(site: Site) -> None:
    """Nothing is pretended."""
    site.upstream.down = Fault(status=503)
    (found,) = await _found(site, "thing==1.0", fetch=True)
    assert (found.state, "gives no answer" in found.why) == (State.FAILED, True)
