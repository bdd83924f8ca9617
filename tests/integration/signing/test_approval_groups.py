"""Release approval of files that come together, are removed, replaced or come back, on a real Postgres."""

from dataclasses import replace

from sqlalchemy import func, select, update

from services.signing.jobs import handlers
from shared.catalogue.tables import ApprovalRequest, Audit, IndexRow, Outbox, Publication
from shared.ids import new_uuid
from shared.jobs.messages import PublishIndex
from shared.settings import Signing
from tests.support.approving import WHEEL, Desk
from tests.support.archives import make_wheel


async def test_files_of_one_push_are_approved_one_by_one_and_published_together(desk: Desk) -> None:
    """All files or none, one batch: also when one of them has all its approvals long before."""
    names = ["widget-1.0-py3-none-any.whl", "widget-1.0-cp311-cp311-linux_x86_64.whl"]
    await pushed(desk, *names)
    items = await desk.waiting()
    assert sorted(item["filename"] for item in items) == sorted(names)
    assert {item["asked_by"] for item in items} == {"root"}
    for who in ("alice", "bob"):
        answer = await desk.approve(who, items[0]["id"])
    assert answer.json()["words"] == "approved, and waiting for 1 more that came with it"
    await desk.sign()
    assert await desk.visible() == 2, "those of the other index alone"
    before = await Publishing(desk).count()
    for who in ("alice", "bob"):
        answer = await desk.approve(who, items[1]["id"])
    assert answer.json()["state"] == "approved"
    await desk.sign()
    assert (await desk.visible(), await Publishing(desk).count()) == (4, before + 1)


async def test_a_removed_file_holds_up_nothing_that_came_with_it(desk: Desk) -> None:
    """What waited for it alone is published when its removal is."""
    names = ["widget-1.0-py3-none-any.whl", "widget-1.0-cp311-cp311-linux_x86_64.whl"]
    await pushed(desk, *names)
    items = await desk.waiting()
    for who in ("alice", "bob"):
        await desk.approve(who, items[0]["id"])
    gone = items[1]["filename"]
    removed = await desk.call("root", "DELETE", f"projects/widget/releases/1.0/files/{gone}")
    assert removed.status_code in {200, 202}, removed.text
    before = await desk.visible()
    await desk.sign()
    assert (await desk.visible(), await desk.waiting()) == (before + 1, [])
    async with desk.resources.engine.connect() as connection:
        query = select(Audit.actor, Audit.subject).where(Audit.action == "approval.complete")
        assert [tuple(row) for row in await connection.execute(query)] == [
            ("signing", f"root/stable/widget/1.0/{items[0]['filename']}")
        ]


async def test_files_of_one_import_wait_for_each_other_over_projects(desk: Desk) -> None:
    """What is changed in one project does not let its files go before those of another that came with them."""
    await desk.upload()
    await desk.upload("gadget-1.0-py3-none-any.whl", make_wheel("gadget", "1.0"))
    await desk.sign()
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(ApprovalRequest).values(group_id=new_uuid()))
    items = {item["project"]: item["id"] for item in await desk.waiting()}
    for who in ("alice", "bob"):
        await desk.approve(who, items["widget"])
    for status in ("archived", "active"):
        await desk.call("root", "PATCH", "projects/widget", {"status": status})
        await desk.sign()
    assert await desk.visible() == 0
    for who in ("alice", "bob"):
        await desk.approve(who, items["gadget"])
    await desk.sign()
    assert await desk.visible() == 2


async def test_more_files_than_a_batch_holds_all_wait_at_once(desk: Desk) -> None:
    """Nobody waits for the relay to send the rest again."""
    few = desk.resources.settings.model_copy(update={"signing": Signing(batch=2)})
    desk.publisher._resources = replace(desk.resources, settings=few)
    for number in range(5):
        await desk.upload(f"widget-{number}.0-py3-none-any.whl")
    await desk.sign()
    assert (len(await desk.waiting()), await desk.open_jobs()) == (5, 0)


async def pushed(desk: Desk, *names: str) -> None:
    """Push a release of files from another index, and let the signer see it."""
    for name in names:
        await desk.upload(name, make_wheel("widget", "1.0"), who="other", index="other/own")
    await Publishing(desk).of("other/own")
    body = {"name": "widget", "version": "1.0", "targetindex": "root/stable"}
    headers = {"authorization": f"Bearer {desk.tokens['root']}", "content-type": "application/json"}
    answer = await desk.http.post("/other/own/", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["link"] == '</api/v1/indexes/root/stable/approvals>; rel="status"'
    await desk.sign()


class Publishing:
    """What other indexes need of the signer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def of(self, name: str) -> None:
        """Publish what waits in another index."""
        owner, _, short = name.partition("/")
        record = next(
            one for one in self._desk.resources.directory.indexes() if (one.name.owner, one.name.name) == (owner, short)
        )
        await self._desk.publisher.publish(record.id)
        await self._desk.resources.heads.wake(str(record.id))

    async def count(self) -> int:
        """Count the publications of the index."""
        async with self._desk.resources.engine.connect() as connection:
            query = select(func.count()).where(Publication.index_id == self._desk.index.id)
            return await connection.scalar(query) or 0


async def test_what_needs_approvals_is_not_replaced(desk: Desk) -> None:
    """On a volatile index too: the old file would go before anybody approved the new one."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    await desk.approve("bob", item["id"])
    await desk.sign()
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(IndexRow).values(volatile=True))
    await desk.resources.directory.refresh()
    answer = await desk.upload(WHEEL, make_wheel("widget", "1.0", requires_python=">=3.12"))
    assert (answer.status_code, "none is replaced" in answer.text) == (409, True)
    await desk.sign()
    assert await desk.visible() == 1


async def test_a_removed_file_that_comes_back_is_asked_for_again(desk: Desk) -> None:
    """The same bytes again, on an index where names come back: the approvals of before do not count, whether the file
    had been published, was approved alone, or still waited."""
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(IndexRow).values(volatile=True))
    await desk.resources.directory.refresh()
    for signs, approvers in ((True, ("alice", "bob")), (False, ("alice", "bob")), (True, ("alice",))):
        await desk.upload()
        await desk.sign()
        (item,) = await desk.waiting()
        assert (item["given"], await desk.visible()) == (0, 0)
        for who in approvers:
            await desk.approve(who, item["id"])
        if signs:
            await desk.sign()
        removed = await desk.call("root", "DELETE", f"projects/widget/releases/1.0/files/{WHEEL}")
        assert removed.status_code in {200, 202}, removed.text
        await desk.sign()
        assert await desk.visible() == 0
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    assert (item["given"], await desk.visible()) == (0, 0)
    await desk.approve("alice", item["id"])
    await desk.approve("bob", item["id"])
    await desk.sign()
    assert await desk.visible() == 1


async def test_approvals_of_an_earlier_life_of_the_index_do_not_count(desk: Desk) -> None:
    """An index that is made again asks for what arrives there by its own demands; without any it asks nobody."""
    for demanded in (True, False):
        await desk.upload()
        await desk.sign()
        for item in await desk.waiting():
            await desk.approve("alice", item["id"])
            await desk.approve("bob", item["id"])
        async with desk.resources.engine.begin() as connection:
            await connection.execute(update(IndexRow).values(life=IndexRow.life + 1))
        await desk.resources.directory.refresh()
        if demanded:
            await desk.demand(2, ["alice", "bob", "carol"])
    await desk.upload()
    await desk.sign()
    async with desk.resources.engine.connect() as connection:
        rounds, states = await connection.scalar(select(ApprovalRequest.round)), await desk.visible()
    assert (rounds, states) == (2, 1), "asked once in each life that demanded something"


async def test_a_file_that_was_removed_waits_no_more(desk: Desk) -> None:
    """It is listed no more, and nobody can approve it."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    removed = await desk.call("root", "DELETE", f"projects/widget/releases/1.0/files/{WHEEL}")
    assert removed.status_code in {200, 202}, removed.text
    await desk.sign()
    assert (await desk.waiting(), await desk.waiting("all")) == ([], [])
    body = {"keyid": desk.keys["alice"].public.keyid, "signature": "AAAA"}
    assert (await desk.call("alice", "POST", f"approvals/{item['id']}", body)).status_code == 404


async def test_the_same_job_twice_asks_once(desk: Desk) -> None:
    """A signer that was killed after the request was opened leaves nothing that the next one does again."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(Outbox).where(Outbox.kind == PublishIndex.kind).values(done_at=None))
    await handlers(desk.publisher)[PublishIndex](PublishIndex(desk.index.id))
    (again,) = await desk.waiting()
    assert (again["given"], await desk.visible(), await desk.open_jobs()) == (1, 0, 0)
    async with desk.resources.engine.connect() as connection:
        assert await connection.scalar(select(ApprovalRequest.round)) == 1
