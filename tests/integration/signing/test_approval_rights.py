"""Who may do what with approvals, over the API host on a real Postgres; lists and records of it."""

import pytest
from sqlalchemy import select

from shared.catalogue.tables import Audit
from shared.ids import new_uuid
from tests.support.approving import Desk
from tests.support.factories import make_index


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
