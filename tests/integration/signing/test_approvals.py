"""Release approval on a real Postgres, through the API host: a file waits until the people named have signed it."""

import asyncio
from datetime import timedelta

from sqlalchemy import func, select, update

from countermark.core.approval.message import approval_of
from countermark.core.pointer import parse_pointer
from shared.catalogue.tables import ApprovalGiven, Audit, File, Outbox
from shared.resources import Resources
from tests.support.approving import WHEEL, Desk, Signer, key_body, open_desk
from tests.support.archives import make_wheel
from tests.support.clock import SettableClock
from tests.support.tuf_reader import TreeReader


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
