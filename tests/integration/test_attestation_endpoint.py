"""Attestations that are added to files that are there, of whatever format: the endpoint, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import sha256_of
from countermark.core.names import NormalizedName
from shared.auth.principal import Scope, Verb
from shared.catalogue.attestations import MOST
from shared.catalogue.tables import Attestation, File, Grant, Outbox, PublishedFile
from tests.support.archives import make_wheel
from tests.support.builds import Forge, body, policy
from tests.support.factories import make_account, make_file, make_index, make_token, now
from tests.support.hooked_store import HookedStore
from tests.support.sigstore.instance import SLSA, statement
from tests.support.sigstore.tokens import github
from tests.support.trust_targets import trust
from tests.support.uploader import Uploader, open_uploader
from tests.support.uploading import basic, form_fields

WHEEL, CONTENT = "widget-1.0-py3-none-any.whl", make_wheel("widget", "1.0")
TOOL, TOOL_CONTENT = "tool-2.0.tar.gz", b"any bytes of any format"
SCAN = "https://example.test/scan/v1"


@dataclass
class Site:
    """The service with two files: one of an upload, and one that is no Python at all."""

    uploader: Uploader
    forge: Forge

    def path(self, name: str = WHEEL, content: bytes = CONTENT, index: str = "root/stable") -> str:
        """Return the address of the attestations of a file."""
        return f"/api/v1/indexes/{index}/files/{sha256_of(content)}/{name}/attestations"

    async def post(self, document: Any, path: str | None = None, token: str | None = None) -> httpx2.Response:
        """Send an attestation."""
        content = document if isinstance(document, bytes) else body(document)
        headers = basic(token or self.uploader.token) | {"content-type": "application/json"}
        return await self.uploader.http.post(path or self.path(), content=content, headers=headers)

    async def listed(self, path: str | None = None) -> list[dict[str, Any]]:
        """List what is there."""
        answer = await self.uploader.http.get(path or self.path(), headers=basic(self.uploader.token))
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def jobs(self) -> int:
        """Count the jobs."""
        async with self.uploader.resources.engine.connect() as connection:
            return await connection.scalar(select(func.count()).select_from(Outbox)) or 0


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture
async def site(engine: AsyncEngine, forge: Forge, tmp_path: Path) -> AsyncIterator[Site]:
    """The service; its policy takes build provenance of `widget` from one workflow, and demands none."""
    async with open_uploader(engine, tmp_path) as uploader:
        await trust(engine, forge.material(policy(more="    attested: false\n    continuity: true\n")))
        assert (await uploader.post(WHEEL, CONTENT)).status_code == 200
        await make_file(engine, uploader.index, TOOL, TOOL_CONTENT)
        yield Site(uploader, forge)


async def test_a_bundle_is_added_and_a_pointer_is_asked_for(site: Site, forge: Forge) -> None:
    """202 while nothing signs, with the status; the list shows what was proven; the same again changes nothing."""
    bundle = body(forge.built(WHEEL, CONTENT))
    before = await site.jobs()
    answer = await site.post(bundle)
    assert answer.status_code == 202, answer.text
    assert answer.headers["link"].endswith('; rel="status"')
    found = answer.json()
    assert (found["added"], found["state"], found["serial"]) == (True, "pending", None)
    [item] = await site.listed()
    assert item == found["items"][0]
    sha256 = sha256_of(bundle)
    assert item["uri"] == f"/files/{sha256[:2]}/{sha256[2:]}/{WHEEL}.sigstore.json"
    assert (item["sha256"], item["length"], item["origin"], item["named"]) == (sha256, len(bundle), "bundle", True)
    assert (item["root"], item["log"], item["added_by"]) == ("private", "v1", "root")
    assert item["identity"].startswith("https://github.com/acme/thing/.github/workflows/release.yml@")
    assert not (await site.post(bundle)).json()["added"]
    assert await site.jobs() == before + 1


@pytest.mark.parametrize("log", ["v1", "v2"])
async def test_bundles_of_both_logs_and_of_every_format_are_taken(site: Site, forge: Forge, log: Any) -> None:
    """What PEP 740 has no place for, a stamp and a tiled log, is kept as a bundle; so are files that are no Python."""
    path = site.path(TOOL, TOOL_CONTENT)
    answer = await site.post(forge.built(TOOL, TOOL_CONTENT, log=log), path)
    assert answer.status_code == 202, answer.text
    [item] = await site.listed(path)
    assert (item["log"], item["named"]) == (log, True)


async def test_an_object_of_pep_740_is_taken_too(site: Site, forge: Forge) -> None:
    """It is kept as the bundle that it stands for."""
    assert (await site.post(forge.publish_attestation(WHEEL, CONTENT))).status_code == 202
    [item] = await site.listed()
    assert (item["origin"], item["named"], item["publisher"]["kind"]) == ("pep740", False, "GitHub")


async def test_the_newest_build_provenance_that_the_policy_takes_is_named(site: Site, forge: Forge) -> None:
    """Statements of other types are kept beside it; build provenance of other builders is refused."""
    first = forge.built(WHEEL, CONTENT)
    second = forge.built(WHEEL, CONTENT, log="v2")
    scan = forge.instance.sign(statement(WHEEL, CONTENT, SCAN, predicate={"found": 0}), github("scans/all"))
    for bundle in (first, second, scan):
        assert (await site.post(bundle)).status_code == 202
    foreign = await site.post(forge.built(WHEEL, CONTENT, github("evil/thing")))
    assert foreign.status_code == 403
    assert "evil/thing" in foreign.json()["detail"]
    assert [(one["predicate_type"], one["named"]) for one in await site.listed()] == [
        (SLSA, False),
        (SLSA, True),
        (SCAN, False),
    ]


async def test_once_there_was_provenance_a_release_without_is_refused(site: Site, forge: Forge) -> None:
    """The rule's continuity: the next upload needs it, and gets in with it."""
    assert (await site.post(forge.built(WHEEL, CONTENT))).status_code == 202
    answer = await site.uploader.post("widget-1.1-py3-none-any.whl", make_wheel("widget", "1.1"))
    assert answer.status_code == 403
    assert "had provenance before" in answer.text


async def test_what_is_not_proven_is_told_with_its_check(site: Site, forge: Forge) -> None:
    """400 with the check; what is no attestation, too."""
    good = forge.built(WHEEL, CONTENT)
    cases: list[tuple[Any, str]] = [
        (forge.built("widget-1.1-py3-none-any.whl", CONTENT), "check subject"),
        (Forge().built(WHEEL, CONTENT), "check certificate"),
        (good | {"mediaType": "application/json"}, "check structure"),
        (b"{", "no JSON"),
        (b"[]", "must be one Sigstore bundle"),
        (body(good)[:-30], "no JSON"),
    ]
    for document, words in cases:
        answer = await site.post(document)
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text
    assert (await site.post(b" " * (10 << 20))).status_code == 413
    assert (await site.post(body(good) + b" " * MAX_BUNDLE_BYTES)).status_code == 413
    assert await site.listed() == []


async def test_only_uploaders_of_the_project_add_and_only_readers_list(
    site: Site, forge: Forge, engine: AsyncEngine
) -> None:
    """No credentials 401, others 403, a password 403, unknown files 404, removed ones 410."""
    bundle, path = forge.built(WHEEL, CONTENT), site.path()
    assert (await site.uploader.http.post(path, content=body(bundle))).status_code == 401
    await make_account(engine, "eve")
    eve = await make_token(engine, "eve")
    only = Scope(site.uploader.index.name, None, frozenset({Verb.READ}))
    reader = await make_token(engine, "root", [only])
    await site.uploader.resources.directory.refresh()
    assert [(await site.post(bundle, token=token)).status_code for token in (eve, reader)] == [403, 403]
    for wrong in (site.path(content=b"other"), site.path("other-1.0.tar.gz"), site.path(index="root/none")):
        assert (await site.post(bundle, wrong)).status_code == 404
    assert (await site.post(bundle, path.replace(sha256_of(CONTENT), "0" * 63))).status_code == 404
    await make_index(engine, "root/pypi", kind="mirror")
    await site.uploader.resources.directory.refresh()
    mirror = await site.post(bundle, site.path(index="root/pypi"))
    assert (mirror.status_code, "is a mirror" in mirror.json()["detail"]) == (404, True)
    async with engine.begin() as connection:
        await connection.execute(text("update project set status = 'archived'"))
    assert (await site.post(bundle)).status_code == 403
    async with engine.begin() as connection:
        await connection.execute(text("update file set removed_at = now(), removed_by = 'root'"))
    assert (await site.post(bundle)).status_code == 410
    assert (await site.uploader.http.get(path)).status_code == 410


async def test_readers_see_what_pages_show(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """What is held or waits is told to those who work on it; others are told what the file's own address tells them."""
    assert (await site.post(forge.built(WHEEL, CONTENT))).status_code == 202
    path, name = site.path(), site.uploader.index.name
    await make_account(engine, "root")
    tokens = {
        verb: await make_token(engine, "root", [Scope(name, None, frozenset({Verb.READ, verb}))])
        for verb in (Verb.READ, Verb.UPLOAD, Verb.APPROVE, Verb.CONFIGURE, Verb.REMOVE)
    }
    other = await make_token(
        engine, "root", [Scope(name, NormalizedName("other"), frozenset({Verb.READ, Verb.UPLOAD}))]
    )
    async with engine.begin() as connection:
        grants = [
            {"index_id": site.uploader.index.id, "subject": "root", "verb": one} for one in ("approve", "configure")
        ]
        await connection.execute(insert(Grant), grants)
    await site.uploader.resources.directory.refresh()

    async def seen() -> dict[str, int]:
        asked = {"nobody": {}, "other": basic(other)} | {str(verb): basic(token) for verb, token in tokens.items()}
        return {who: (await site.uploader.http.get(path, headers=sent)).status_code for who, sent in asked.items()}

    workers = {"upload": 200, "approve": 200, "configure": 200}
    readers = ("nobody", "other", "read", "remove")
    assert await seen() == workers | dict.fromkeys(readers, 404), "no publication shows it"
    async with engine.begin() as connection:
        row = (await connection.execute(select(File.id, File.project_id).where(File.file_name == WHEEL))).one()
        shown = {"index_id": site.uploader.index.id, "file_id": row.id, "project_id": row.project_id}
        await connection.execute(insert(PublishedFile).values(**shown, from_serial=1))
        await connection.execute(update(File).where(File.id == row.id).values(held_at=now(), held_reason="odd"))
    assert await seen() == workers | dict.fromkeys(readers, 200), "a hold shows with the next publication"
    async with engine.begin() as connection:
        await connection.execute(update(PublishedFile).values(to_serial=2))
    assert await seen() == workers | dict.fromkeys(readers, 403)
    assert (await site.uploader.http.get(path)).json()["detail"] == f"{WHEEL} is held for review: odd"


@pytest.mark.parametrize("new", [False, True], ids=["added", "uploaded"])
@pytest.mark.parametrize("change", ["deleted_at = now()", "life = life + 1"])
async def test_an_index_that_ends_meanwhile_keeps_nothing(
    engine: AsyncEngine, forge: Forge, tmp_path: Path, change: str, *, new: bool
) -> None:
    """Deleted or made anew between the bytes and the row: refused, by the endpoint and for an upload alike."""

    async def end() -> None:
        async with engine.begin() as connection:
            await connection.execute(text(f"update index set {change}"))

    store = HookedStore(tmp_path / "public", ".sigstore.json", end)
    async with open_uploader(engine, tmp_path, store) as uploader:
        await trust(engine, forge.material(policy()))
        if new:
            sent = {"attestations": f"[{body(forge.built(WHEEL, CONTENT)).decode()}]"}
            answer = await uploader.post(WHEEL, CONTENT, fields=form_fields(WHEEL, CONTENT) | sent)
        else:
            await make_file(engine, uploader.index, TOOL, TOOL_CONTENT)
            site = Site(uploader, forge)
            answer = await site.post(forge.built(TOOL, TOOL_CONTENT), site.path(TOOL, TOOL_CONTENT))
    assert (answer.status_code, "deleted or made anew" in answer.text) == (409, True), answer.text
    async with engine.connect() as connection:
        counts = [await connection.scalar(select(func.count()).select_from(one)) for one in (Attestation, Outbox, File)]
    assert counts == [0, 0, 0 if new else 1]


async def test_a_file_has_no_more_than_sixteen(site: Site, forge: Forge) -> None:
    """409, and those that are there stay."""
    for number in range(MOST):
        scan = statement(WHEEL, CONTENT, SCAN, predicate={"number": number})
        assert (await site.post(forge.instance.sign(scan))).status_code == 202
    answer = await site.post(forge.built(WHEEL, CONTENT))
    assert (answer.status_code, "as many as a file may have" in answer.json()["detail"]) == (409, True)
    assert len(await site.listed()) == MOST
