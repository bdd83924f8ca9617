"""Release approval on a real Postgres, through the API host: a file waits until the people named have signed it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from countermark.core.approval.message import approval_of
from countermark.core.pointer import parse_pointer
from services.signing.jobs import handlers
from shared.catalogue.tables import ApprovalGiven, ApprovalRequest, Audit, File, IndexRow, Outbox, Publication
from shared.ids import new_uuid
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from shared.settings import Signing
from tests.support.approving import WHEEL, Desk, Signer, key_body, open_desk
from tests.support.archives import make_wheel
from tests.support.clock import SettableClock
from tests.support.factories import make_index
from tests.support.tuf_reader import TreeReader


@pytest.fixture
async def desk(resources: Resources) -> AsyncIterator[Desk]:
    """An index that demands two approvals of alice, bob and carol, who have keys."""
    async with open_desk(resources) as opened:
        await opened.register("alice", "bob", "carol")
        await opened.demand(2, ["alice", "bob", "carol"])
        yield opened


async def test_a_file_is_visible_after_the_approvals_that_are_demanded(desk: Desk) -> None:
    """The upload is durable and answered 200 at once; it shows when the second person has signed its pointer."""
    answer = await desk.upload()
    assert answer.status_code == 200
    assert answer.text.startswith(f"{WHEEL} is stored and not yet in root/stable: ")
    assert answer.text.count("\n") == 1
    assert "waiting for 2 of 2 approvals of alice, bob, carol" in answer.text
    link = answer.headers["link"]
    assert link.endswith('; rel="status"')
    status = link[1 : link.index(">")]
    await desk.sign()
    assert (await desk.visible(), await desk.open_jobs()) == (0, 0), "nothing shows, and nothing spins"
    (item,) = await desk.waiting()
    assert (item["state"], item["needed"], item["given"], item["asked_by"]) == ("waiting", 2, 0, "uploader")
    assert (await desk.approve("alice", item["id"])).json()["words"] == (
        "waiting for 1 of 2 approvals of alice, bob, carol"
    )
    await desk.sign()
    state = (await desk.http.get(status)).json()
    assert (state["state"], state["approval"]["words"]) == (
        "waiting",
        "waiting for 1 of 2 approvals of alice, bob, carol",
    )
    assert await desk.visible() == 0
    assert (await desk.approve("bob", item["id"])).json()["state"] == "approved"
    assert await desk.open_jobs() == 1, "the approval that completes it asks for a publication"
    await desk.sign()
    state = (await desk.http.get(status)).json()
    assert (state["state"], state["approval"]["words"]) == ("published", "approved by alice, bob")
    assert (await desk.visible(), await desk.waiting()) == (1, [])
    assert f"{WHEEL} was already there" in (await desk.upload()).text


async def test_what_was_approved_is_what_a_tuf_client_gets(desk: Desk) -> None:
    """The pointer that people signed is byte for byte the target that stock python-tuf fetches."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    shown = (await desk.call(None, "GET", f"approvals/{item['id']}")).json()
    for who in ("alice", "bob"):
        await desk.approve(who, item["id"])
    await desk.sign()
    tree = desk.resources.settings.data / "public" / "indexes" / "root" / "stable"
    reader = TreeReader(tree, desk.resources.settings.data / "cache")
    assert reader.target(f"pointers/widget/{WHEEL}.pointer") == shown["pointer"].encode()
    assert parse_pointer(shown["pointer"].encode()).file.digest == item["sha256"]


async def test_other_files_go_on_while_one_waits(desk: Desk) -> None:
    """A project's own demand goes before that of its index, and a project that needs less does not wait for others."""
    await desk.call("root", "PUT", "approval-demands/gadget", {"needed": 1, "people": ["carol"]})
    await desk.upload()
    await desk.upload("gadget-1.0-py3-none-any.whl", make_wheel("gadget", "1.0"))
    await desk.sign()
    gadget = next(item for item in await desk.waiting() if item["project"] == "gadget")
    assert (await desk.approve("alice", gadget["id"])).status_code == 403
    assert (await desk.approve("carol", gadget["id"])).json()["state"] == "approved"
    await desk.sign()
    assert (await desk.visible(), [item["project"] for item in await desk.waiting()]) == (1, ["widget"])


async def test_nothing_else_brings_a_waiting_file_into_a_batch(desk: Desk) -> None:
    """A project that leaves quarantine shows the files it had, and none that was not approved."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    for status in ("quarantined", "active"):
        answer = await desk.call("root", "PATCH", "projects/widget", {"status": status})
        assert answer.status_code == 202, answer.text
        await desk.sign()
        assert await desk.visible() == 0
    await desk.approve("alice", item["id"])
    await desk.approve("bob", item["id"])
    await desk.sign()
    for status in ("quarantined", "active"):
        await desk.call("root", "PATCH", "projects/widget", {"status": status})
        await desk.sign()
    assert await desk.visible() == 1, "what was approved comes back"


async def test_what_was_visible_before_stays(resources: Resources) -> None:
    """A demand is about what comes: files that were published before it need no approval, in quarantine or out."""
    async with open_desk(resources) as desk:
        await desk.upload()
        await desk.sign()
        await desk.demand(1)
        for status in ("quarantined", "active"):
            await desk.call("root", "PATCH", "projects/widget", {"status": status})
            await desk.sign()
        assert (await desk.visible(), await desk.waiting()) == (1, [])


async def test_a_pointer_that_changed_is_not_signed(desk: Desk) -> None:
    """Whoever can write to the catalogue cannot have other bytes signed than those that were approved."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(File).values(length=File.length + 1))
    assert (await desk.approve("bob", item["id"])).status_code == 409
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(File).values(length=File.length - 1))
    assert (await desk.approve("bob", item["id"])).json()["state"] == "approved"
    other = make_wheel("widget", "1.0", requires_python=">=3.12")
    async with desk.resources.engine.begin() as connection:
        await connection.execute(update(File).values(sha256="ab" * 32, length=len(other)))
    await desk.sign()
    assert await desk.visible() == 0
    state = (await desk.call(None, "GET", f"/files/{item['id']}")).json()
    assert state["state"] == "failed"
    assert "not what was approved" in state["error"]


async def test_of_two_people_at_once_each_counts_and_one_completes(desk: Desk) -> None:
    """Both are told that it is approved or waits for the other; there is one publication, with one job."""
    for number in range(4):
        await desk.upload(f"widget-{number}.0-py3-none-any.whl")
    await desk.sign()
    items = await desk.waiting()
    for item in items:
        answers = await asyncio.gather(*(desk.approve(who, item["id"]) for who in ("alice", "bob", "carol")))
        codes = sorted(answer.status_code for answer in answers)
        assert codes in ([200, 200, 200], [200, 200, 409]), [answer.text for answer in answers]
        assert sum(answer.json().get("state") == "approved" for answer in answers) >= 1
    async with desk.resources.engine.connect() as connection:
        jobs = await connection.scalar(select(func.count()).where(Outbox.done_at.is_(None)).select_from(Outbox))
        completed = await connection.scalar(select(func.count()).where(Audit.action == "approval.complete"))
    assert (jobs, completed) == (4, 4)
    await desk.sign()
    assert await desk.visible() == 4


async def test_a_person_counts_once(desk: Desk) -> None:
    """Not with the same signature again, nor with a second key."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    desk.keys["alice"] = Signer()
    await desk.register("alice")
    again = await desk.approve("alice", item["id"])
    assert (again.status_code, again.json()["given"], again.json()["state"]) == (200, 1, "waiting")


async def test_an_uploader_approves_their_own_file_only_where_that_is_said(desk: Desk) -> None:
    """By default two people stand behind a file."""
    await desk.register("uploader")
    await desk.demand(1, ["uploader", "alice"])
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    refused = await desk.approve("uploader", item["id"])
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "You brought this file: others have to approve it.",
    )
    await desk.demand(1, ["uploader", "alice"], own=True)
    assert (await desk.approve("uploader", item["id"])).json()["state"] == "approved"


async def test_an_uploaders_approval_counts_only_as_long_as_that_is_said(desk: Desk) -> None:
    """One that was given while it counted counts no more when the demand wants other people, and again when it does."""
    await desk.register("uploader")
    await desk.demand(2, ["uploader", "alice", "bob"], own=True)
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("uploader", item["id"])
    await desk.demand(2, ["uploader", "alice", "bob"])
    answer = (await desk.approve("alice", item["id"])).json()
    assert (answer["state"], answer["given_by"]) == ("waiting", ["alice"])
    await desk.demand(2, ["uploader", "alice", "bob"], own=True)
    assert await desk.waiting() == []


async def test_a_revoked_key_approves_nothing_more(desk: Desk) -> None:
    """What it approved before counts; it is never registered again, by nobody."""
    for version in ("1.0", "2.0"):
        await desk.upload(f"widget-{version}-py3-none-any.whl")
    await desk.sign()
    first, second = await desk.waiting()
    await desk.approve("alice", first["id"])
    key = desk.keys["alice"]
    assert (await desk.call("bob", "DELETE", f"/approval-keys/{key.public.keyid}")).status_code == 404
    for _ in range(2):
        assert (await desk.call("alice", "DELETE", f"/approval-keys/{key.public.keyid}")).status_code == 204
    refused = await desk.approve("alice", second["id"])
    assert (refused.status_code, "revoked" in refused.text) == (403, True)
    assert (await desk.approve("bob", first["id"])).json()["state"] == "approved"
    for who in ("alice", "bob"):
        assert (await desk.call(who, "POST", "/approval-keys", key_body(who, key))).status_code == 409


async def test_a_wrong_signature_is_refused_and_changes_nothing(desk: Desk) -> None:
    """Of another file, of another person's key, of an unknown one, of nothing: each with words."""
    for version in ("1.0", "2.0"):
        await desk.upload(f"widget-{version}-py3-none-any.whl")
    await desk.sign()
    first, second = await desk.waiting()
    shown = (await desk.call(None, "GET", f"approvals/{second['id']}")).json()
    statement, _ = approval_of(shown["pointer"].encode(), shown["round"])
    alice, bob = desk.keys["alice"], desk.keys["bob"]
    stray = Signer()
    for body, status in (
        ({"keyid": alice.public.keyid, "signature": alice.sign(statement)}, 400),
        ({"keyid": bob.public.keyid, "signature": bob.sign(statement)}, 400),
        ({"keyid": stray.public.keyid, "signature": stray.sign(statement)}, 400),
        ({"keyid": alice.public.keyid, "signature": "AAAA"}, 400),
        ({"keyid": "x", "signature": "AAAA"}, 422),
        ({"keyid": alice.public.keyid, "signature": "A" * 5000}, 422),
        ({"keyid": alice.public.keyid}, 422),
    ):
        answer = await desk.call("alice", "POST", f"approvals/{first['id']}", body)
        assert answer.status_code == status, answer.text
    async with desk.resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(ApprovalGiven)) == 0


async def test_a_withdrawn_file_is_never_shown_until_it_is_asked_for_again(desk: Desk) -> None:
    """By its uploader or an administrator; the same bytes again begin a round in which nobody has approved yet."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    for who in ("alice", "reader", "other"):
        assert (await desk.call(who, "DELETE", f"approvals/{item['id']}")).status_code == 403
    for _ in range(2):
        gone = await desk.call("uploader", "DELETE", f"approvals/{item['id']}")
        assert (gone.status_code, gone.json()["state"]) == (200, "withdrawn")
    assert (await desk.approve("bob", item["id"])).status_code == 409
    assert (await desk.call(None, "GET", f"/files/{item['id']}")).json()["state"] == "withdrawn"
    await desk.call("root", "DELETE", "approval-demands")
    await desk.sign()
    assert await desk.visible() == 0, "what was withdrawn does not show when nothing is demanded any more"
    await desk.demand(2, ["alice", "bob"])
    assert "waiting for 2 approvals" in (await desk.upload()).text
    await desk.sign()
    (again,) = await desk.waiting()
    assert (again["id"], again["given"]) == (item["id"], 0)
    await desk.approve("alice", item["id"])
    await desk.approve("bob", item["id"])
    await desk.sign()
    assert await desk.visible() == 1
    assert (await desk.call("root", "DELETE", f"approvals/{item['id']}")).status_code == 409


async def test_a_signature_of_an_earlier_round_counts_for_nothing(desk: Desk) -> None:
    """Whoever has kept one, and a token of the account, cannot give it again after the file was withdrawn."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    (kept,) = (await desk.call(None, "GET", f"approvals/{item['id']}")).json()["approvals"]
    await desk.call("uploader", "DELETE", f"approvals/{item['id']}")
    await desk.upload()
    await desk.sign()
    body = {"keyid": kept["keyid"], "signature": kept["signature"]}
    replayed = await desk.call("alice-ci", "POST", f"approvals/{item['id']}", body)
    assert (replayed.status_code, "did not make this signature" in replayed.text) == (400, True)
    assert (await desk.approve("alice", item["id"])).json()["given"] == 1


async def test_a_file_waits_for_some_days_only(desk: Desk, clock: SettableClock) -> None:
    """After that no approval counts, whoever gives it; the same bytes again begin anew."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    clock.advance(timedelta(days=7, seconds=1))
    assert (await desk.approve("bob", item["id"])).status_code == 409
    (expired,) = await desk.waiting()
    assert (expired["state"], expired["words"]) == (
        "expired",
        "not approved in time: 1 of 2 approvals of alice, bob, carol were missing",
    )
    assert (await desk.call(None, "GET", f"/files/{item['id']}")).json()["state"] == "expired"
    assert "waiting for 2 approvals" in (await desk.upload()).text
    await desk.sign()
    (again,) = await desk.waiting()
    assert (again["state"], again["given"]) == ("waiting", 0)
    assert await desk.visible() == 0


async def test_what_waits_needs_what_is_demanded_now(desk: Desk) -> None:
    """When less is demanded, or nothing, what has that much is published without another word."""
    for version in ("1.0", "2.0"):
        await desk.upload(f"widget-{version}-py3-none-any.whl")
    await desk.sign()
    first, _ = await desk.waiting()
    await desk.approve("alice", first["id"])
    await desk.demand(1, ["bob"])
    assert [item["given"] for item in await desk.waiting()] == [0, 0], "alice is not named any more"
    await desk.demand(1, ["alice", "bob"])
    await desk.sign()
    assert (await desk.visible(), len(await desk.waiting())) == (1, 1)
    for _ in range(2):
        assert (await desk.call("root", "DELETE", "approval-demands")).status_code == 204
    await desk.sign()
    assert (await desk.visible(), await desk.waiting()) == (2, [])


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


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("GET", "approvals", None, {None: 200, "stranger": 200, "alice": 200}),
        ("GET", "approvals/{id}", None, {None: 200, "stranger": 200}),
        ("POST", "approvals/{id}", {"keyid": "0" * 64, "signature": "A"},
         {None: 401, "stranger": 403, "reader": 403, "other": 403, "root": 403, "alice": 400, "alice-ci": 400}),
        ("DELETE", "approvals/{id}", None, {None: 401, "stranger": 403, "reader": 403, "other": 403, "alice": 403}),
        ("GET", "approval-demands", None, {None: 200, "stranger": 200}),
        ("PUT", "approval-demands", {"needed": 1},
         {None: 401, "stranger": 403, "reader": 403, "other": 403, "uploader": 403, "alice": 403, "root": 200}),
        ("PUT", "approval-demands/widget", {"needed": 1}, {None: 401, "stranger": 403, "other": 403, "root": 200}),
        ("DELETE", "approval-demands", None, {None: 401, "stranger": 403, "other": 403, "alice": 403, "root": 204}),
        ("DELETE", "approval-demands/widget", None, {None: 401, "other": 403, "uploader": 403, "root": 204}),
        ("GET", "/approval-keys", None, {None: 401, "stranger": 200}),
        ("GET", "/approval-keys?account=alice", None, {None: 401, "stranger": 403, "alice": 200}),
        ("POST", "/approval-keys", "key", {None: 401, "alice-ci": 403, "stranger": 400}),
        ("DELETE", "/approval-keys/{key}", None, {None: 401, "alice-ci": 403, "stranger": 404, "alice": 204}),
    ],
)  # fmt: skip
async def test_each_route_is_for_those_who_may(
    desk: Desk, method: str, path: str, body: object, statuses: dict[str | None, int]
) -> None:
    """The stranger, the reader, the wrong owner and a build machine's token are refused; who may is answered."""
    await desk.upload()
    await desk.sign()
    (item,) = await desk.waiting()
    url = path.format(id=item["id"], key=desk.keys["alice"].public.keyid)
    sent = {"public_key": "x", "signature": "A"} if body == "key" else body
    found = {who: (await desk.call(who, method, url, sent)).status_code for who in statuses}
    assert found == statuses


async def test_private_indexes_show_nothing_to_strangers(desk: Desk) -> None:
    """What waits in an index is for those who may read it."""
    await make_index(desk.resources.engine, "root/hidden", public=False)
    await desk.resources.directory.refresh()
    for path in ("approvals", f"approvals/{new_uuid()}", "approval-demands"):
        answers = {who: await desk.call(who, "GET", f"/indexes/root/hidden/{path}") for who in (None, "alice", "root")}
        found = [answer.status_code for answer in answers.values()]
        assert found[:2] == [401, 403]
        assert found[2] in {200, 404}


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


async def test_what_cannot_be_is_refused_with_words(desk: Desk) -> None:
    """Demands that nobody can meet, files that do not wait, indexes and states that are none."""
    for body, status in (
        ({"needed": 0}, 422),
        ({"needed": 51}, 422),
        ({"needed": 3, "people": ["alice", "bob"]}, 400),
        ({"needed": 1, "people": ["alice", "alice"]}, 400),
        ({"needed": 1, "people": ["nobody-here"]}, 400),
        ({"needed": 1, "surprise": 1}, 422),
    ):
        answer = await desk.call("root", "PUT", "approval-demands", body)
        assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), answer.text
    assert (await desk.call("root", "PUT", "approval-demands/...", {"needed": 1})).status_code in {400, 404}
    missing = new_uuid()
    assert (await desk.call(None, "GET", f"approvals/{missing}")).status_code == 404
    assert (await desk.call("uploader", "DELETE", f"approvals/{missing}")).status_code == 404
    assert (await desk.call(None, "GET", "approvals?state=lost")).status_code == 422
    assert (await desk.call(None, "GET", "/indexes/no/such/approvals")).status_code == 404


async def test_lists_are_paged(desk: Desk) -> None:
    """A page ends where the next begins, whatever comes and goes."""
    for number in range(3):
        await desk.upload(f"widget-{number}.0-py3-none-any.whl")
    await desk.sign()
    first = (await desk.call(None, "GET", "approvals?limit=2")).json()
    second = (await desk.call(None, "GET", f"approvals?limit=2&after={first['next']}")).json()
    names = [item["filename"] for item in [*first["items"], *second["items"]]]
    assert (sorted(names), second["next"]) == ([f"widget-{n}.0-py3-none-any.whl" for n in range(3)], None)


async def test_every_step_is_on_record(desk: Desk) -> None:
    """Who registered, demanded, asked, approved, withdrew: each an audit row of its own."""
    for version in ("1.0", "2.0"):
        await desk.upload(f"widget-{version}-py3-none-any.whl")
    await desk.sign()
    first, second = await desk.waiting()
    await desk.approve("alice", first["id"])
    await desk.approve("bob", first["id"])
    await desk.call("uploader", "DELETE", f"approvals/{second['id']}")
    await desk.call("alice", "DELETE", f"/approval-keys/{desk.keys['alice'].public.keyid}")
    async with desk.resources.engine.connect() as connection:
        rows = await connection.execute(
            select(Audit.action, Audit.actor).where(Audit.action.startswith("approval.")).order_by(Audit.id)
        )
        found = [(row.action.removeprefix("approval."), row.actor) for row in rows]
    keys = [("key-register", name) for name in ("alice", "bob", "carol")]
    asked = [("ask", "uploader"), ("ask", "uploader")]
    given = [("give", "alice"), ("give", "bob"), ("complete", "bob")]
    rest = [("withdraw", "uploader"), ("key-revoke", "alice")]
    assert found == [*keys, ("demand", "root"), *asked, *given, *rest]


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
