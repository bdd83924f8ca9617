"""The upload service on a real Postgres and a real folder: what is durable, signed and on record, and which names are
taken."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service
from shared.catalogue.tables import Audit, Outbox
from tests.support.archives import make_sdist, make_wheel
from tests.support.factories import make_index, make_token
from tests.support.resources import service_resources
from tests.support.uploader import Uploader
from tests.support.uploading import basic, form_body, form_fields

WHEEL = "widget-1.0-py3-none-any.whl"


async def test_a_wheel_is_durable_and_its_publication_waits(uploader: Uploader) -> None:
    """Without a signer the answer is still 200, with words and a link to the status."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "pending" in answer.text
    link = answer.headers["link"]
    assert link.endswith('; rel="status"')
    state = (await uploader.http.get(link[1 : link.index(">")])).json()
    assert (state["state"], state["filename"], state["index"]) == ("received", WHEEL, "root/stable")
    async with uploader.resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Outbox)) == 1
    assert len(uploader.left_behind()) == 2, "the wheel and its metadata, nothing in staging"


async def test_who_brought_which_bytes_is_on_record(uploader: Uploader) -> None:
    """An upload leaves one row, with account, token and digest; the same bytes again leave none."""
    content = make_wheel("widget", "1.0")
    for _ in range(2):
        assert (await uploader.post(WHEEL, content)).status_code == 200
    async with uploader.resources.engine.connect() as connection:
        (row,) = await connection.execute(select(Audit).where(Audit.action == "file.upload"))
    assert (row.actor, row.subject) == ("root", f"root/stable/widget/1.0/{WHEEL}")
    assert row.detail.keys() == {"sha256", "length", "token"}
    assert (row.detail["sha256"], row.detail["length"]) == (sha256_of(content), len(content))


async def test_an_upload_waits_for_its_publication(engine: AsyncEngine, tmp_path: Path) -> None:
    """With a signer at work, the answer comes when the file is listed, and says the serial."""
    async with service_resources(engine, tmp_path, publish_wait=10) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        token = await make_token(engine)
        await resources.directory.refresh()
        publisher = Publisher(resources)

        async def sign() -> None:
            while True:
                await publisher.publish(index.id)
                await resources.heads.wake(str(index.id))
                await asyncio.sleep(0.02)

        signer = asyncio.create_task(sign())
        body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            answer = await http.post("/root/stable/", content=body, headers=basic(token) | form)
        signer.cancel()
    assert (answer.status_code, answer.text) == (200, f"{WHEEL} is published in root/stable, serial 1.\n")


@pytest.mark.parametrize("path", ["/root/stable/", "/root/stable", "/legacy/", "/legacy"])
async def test_every_spelling_of_an_upload_url_works(uploader: Uploader, path: str) -> None:
    """No redirects: twine stops at them."""
    assert (await uploader.post(WHEEL, make_wheel("widget", "1.0"), path=path)).status_code == 200


async def test_the_same_bytes_again_are_fine_and_other_bytes_are_not(uploader: Uploader) -> None:
    """Reruns are harmless; a conflict says so in the words that clients look for."""
    content = make_wheel("widget", "1.0")
    for _ in range(2):
        assert (await uploader.post(WHEEL, content)).status_code == 200
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0", requires_python=">=3.11"))
    assert answer.status_code == 409
    assert "already exists" in answer.text
    assert await uploader.files() == 1


async def test_twenty_identical_uploads_at_once_make_one_file(uploader: Uploader) -> None:
    """One wins, all are answered 200."""
    content = make_wheel("widget", "1.0")
    answers = await asyncio.gather(*(uploader.post(WHEEL, content) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await uploader.files() == 1


async def test_of_two_different_uploads_at_once_one_is_told_of_the_conflict(uploader: Uploader) -> None:
    """Whoever commits second gets 409, not a fault of ours."""
    one, two = make_wheel("widget", "1.0"), make_wheel("widget", "1.0", requires_python=">=3.11")
    answers = await asyncio.gather(uploader.post(WHEEL, one), uploader.post(WHEEL, two))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_release_has_one_source_archive(uploader: Uploader) -> None:
    """Another spelling of the version brings no second one, also at the same moment; the same bytes again are fine."""
    names = ["widget-1.0.tar.gz", "widget-1.0.0.tar.gz", "widget-1.tar.gz"]
    contents = [make_sdist("widget", name.removeprefix("widget-").removesuffix(".tar.gz")) for name in names]
    answers = await asyncio.gather(*map(uploader.post, names, contents))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    taken = next(place for place, answer in enumerate(answers) if answer.status_code == 200)
    assert all(f"has a source archive already: {names[taken]}." in a.text for a in answers if a.status_code == 409)
    assert (await uploader.post(names[taken], contents[taken])).status_code == 200
    assert (await uploader.post(WHEEL, make_wheel("widget", "1.0"))).status_code == 200
    assert await uploader.files() == 2


async def test_a_removed_name_stays_burnt(uploader: Uploader) -> None:
    """Not even the same bytes bring a removed file back."""
    content = make_wheel("widget", "1.0")
    await uploader.post(WHEEL, content)
    async with uploader.resources.engine.begin() as connection:
        await connection.execute(text("update file set removed_at = now(), removed_by = 'root'"))
    answer = await uploader.post(WHEEL, content)
    assert answer.status_code == 409
    assert "cannot be used again" in answer.text


@pytest.mark.parametrize("field", ["sha256_digest", "blake2_256_digest", "md5_digest"])
async def test_a_wrong_digest_is_refused(uploader: Uploader, field: str) -> None:
    """Each digest that is sent must match, and the answer says which did not."""
    content = make_wheel("widget", "1.0")
    answer = await uploader.post(WHEEL, content, fields=form_fields(WHEEL, content) | {field: "0" * 64})
    assert answer.status_code == 400
    assert "digest" in answer.text
    assert "is not that of the bytes received" in answer.text
    assert uploader.left_behind() == []
