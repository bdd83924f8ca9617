"""Yank, hold and removal in the API, each signed before it is answered, read by stock python-tuf."""

import asyncio
from pathlib import Path

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.upload.app import create_service
from services.upload.holding import hold_file
from shared.catalogue import audit
from shared.catalogue.tables import File, Outbox
from shared.errors import ErrorKind
from shared.ids import FileId
from shared.jobs.messages import HoldFile
from tests.integration.managing.deployment import API, W10, W11, Deployment
from tests.support.archives import make_wheel
from tests.support.factories import make_file, make_index, make_token, now
from tests.support.resources import service_resources
from tests.support.uploading import basic, form_body


async def test_a_yank_is_signed_when_it_is_answered_and_can_be_taken_back(deployment: Deployment) -> None:
    """The page says the reason, `_latest` goes to the release before, the pointers stay; un-yanking undoes it all."""
    await deployment.upload("widget-1.0", "widget-1.1")
    done = await deployment.ask("POST", "/widget/releases/1.1/yank", {"reason": "breaks <everything>"})
    assert done == {"state": "published", "serial": deployment.page()["meta"]["_last-serial"]}
    assert {file["filename"]: file["yanked"] for file in deployment.page()["files"]} == {
        W10: False,
        W11: "breaks <everything>",
    }
    assert (deployment.latest(), deployment.has_pointer(W11)) == ("1.0", True)
    assert await deployment.refused(W11) is None
    await deployment.ask("DELETE", "/widget/releases/1.1/yank")
    assert [file["yanked"] for file in deployment.page()["files"]] == [False, False]
    assert deployment.latest() == "1.1"
    assert (await deployment.journal())[2:] == [("1.1", "yank release", "root"), ("1.1", "unyank release", "root")]
    assert await deployment.audited() == [
        ("root", "release.yank", "root/stable/widget/1.1"),
        ("root", "release.unyank", "root/stable/widget/1.1"),
    ]


async def test_one_file_is_yanked_without_a_reason(deployment: Deployment) -> None:
    """Without words the page says `true`, since an empty text means two things to two installers."""
    await deployment.upload("widget-1.0")
    await deployment.ask("POST", f"/widget/releases/1.0/files/{W10}/yank")
    assert deployment.page()["files"][0]["yanked"] is True
    await deployment.ask("DELETE", f"/Widget/releases/v1.0/files/{W10}/yank")
    assert deployment.page()["files"][0]["yanked"] is False


async def test_a_held_file_leaves_the_page_and_comes_back(deployment: Deployment) -> None:
    """What was held by a job is not listed, with its reason in the release; whoever may configure gives it back."""
    await deployment.upload("widget-1.0", "widget-1.1")
    engine, index = deployment.resources.engine, deployment.index
    async with engine.begin() as connection:
        file_id = (await connection.execute(select(File.id).where(File.file_name == W10))).scalar_one()
        asked = await audit.record(
            connection, at=now(), actor="download", action="file.unverified", subject="x", reason="step 6, digest"
        )
    await hold_file(deployment.resources, HoldFile(index.id, FileId(file_id), asked))
    async with asyncio.timeout(20):
        while [file["filename"] for file in deployment.page()["files"]] != [W11]:
            await asyncio.sleep(0.05)
    shown = (await deployment.ask("GET", "/widget/releases/1.0"))["files"][0]
    assert (shown["held_reason"], shown["state"]) == ("step 6, digest", "received")
    await deployment.ask("DELETE", f"/widget/releases/1.0/files/{W10}/hold")
    assert {file["filename"] for file in deployment.page()["files"]} == {W10, W11}
    assert (await deployment.ask("GET", "/widget/releases/1.0"))["files"][0]["held_reason"] is None
    assert [action for _, action, _ in await deployment.audited()] == ["file.hold", "file.unhold"]


async def test_doing_a_thing_twice_does_it_once(deployment: Deployment) -> None:
    """The second answer is the first one's; another reason is another change."""
    await deployment.upload("widget-1.0")
    first = await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "bad"})
    assert await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "bad"}) == first
    other = await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "worse"})
    assert other["serial"] == first["serial"] + 1
    removed = await deployment.ask("DELETE", "/widget/releases/1.0")
    assert await deployment.ask("DELETE", "/widget/releases/1.0") == removed
    assert len(await deployment.audited()) == 3


async def test_a_removed_file_leaves_pages_and_pointers_and_its_name_stays_burnt(deployment: Deployment) -> None:
    """The pointer vanishes, `_latest` moves, the address is gone, and no bytes bring the name back."""
    await deployment.upload("widget-1.0", "widget-1.1")
    await deployment.ask("DELETE", f"/widget/releases/1.1/files/{W11}")
    assert [file["filename"] for file in deployment.page()["files"]] == [W10]
    assert deployment.page()["versions"] == ["1.0"]
    assert (deployment.latest(), deployment.has_pointer(W11), deployment.has_pointer(W10)) == ("1.0", False, True)
    assert await deployment.refused(W11) is ErrorKind.GONE
    body, form = form_body(W11, make_wheel("widget", "1.1"))
    again = await deployment.http.post("/root/stable/", content=body, headers=deployment.owner | form)
    assert (again.status_code, "cannot be used again" in again.text) == (409, True)
    answer = await deployment.http.post(f"{API}/widget/releases/1.1/yank", headers=deployment.owner)
    assert (answer.status_code, answer.json()["detail"]) == (410, "root/stable/widget/1.1 was removed.")
    assert (await deployment.journal())[2:] == [("1.1", f"remove file {W11}", "root")]


async def test_removing_the_last_release_leaves_an_empty_page(deployment: Deployment) -> None:
    """Lists no longer name the project; what was is still told of it."""
    await deployment.upload("widget-1.0")
    await deployment.ask("DELETE", "/widget/releases/1.0")
    assert (deployment.page()["files"], deployment.latest()) == ([], None)
    assert (await deployment.ask("GET", ""))["items"] == []
    assert (await deployment.ask("GET", "/widget"))["releases"] == []
    assert [file["state"] for file in (await deployment.ask("GET", "/widget/releases/1.0"))["files"]] == ["removed"]
    assert (await deployment.journal())[1:] == [
        ("1.0", "remove release", "root"),
        ("1.0", f"remove file {W10}", "root"),
    ]


async def test_a_change_that_nobody_signs_is_pending(engine: AsyncEngine, tmp_path: Path) -> None:
    """202 with a link to the state; asking again waits for the same publication instead of making another."""
    async with service_resources(engine, tmp_path) as resources:
        index = await make_index(engine)
        await make_file(engine, index, W10)
        token = await make_token(engine)
        await resources.directory.refresh()
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            for _ in range(2):
                answer = await http.post(f"{API}/widget/releases/1.0/yank", headers=basic(token))
                assert (answer.status_code, answer.json()) == (202, {"state": "pending", "serial": None})
                assert answer.headers["link"] == f'<{API}/widget>; rel="status"'
        async with engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(Outbox)) == 1


async def test_ten_changes_at_once_are_all_kept(deployment: Deployment) -> None:
    """Yanks of ten releases in parallel: each is signed, and each answer names a page that shows it."""
    await deployment.upload(*(f"widget-1.{number}" for number in range(10)))
    asked = (deployment.ask("POST", f"/widget/releases/1.{number}/yank") for number in range(10))
    answers = await asyncio.gather(*asked)
    assert [file["yanked"] for file in deployment.page()["files"]] == [True] * 10
    assert max(answer["serial"] for answer in answers) == deployment.page()["meta"]["_last-serial"]
