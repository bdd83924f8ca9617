"""Accounts over devpi's API: each row of contract devpi sections 2, 5 and 23, with its words."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from countermark.core.names import IndexName
from gateway.devpi.user_writer import DevpiUsers, Proven
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Account, Grant
from shared.errors import ServiceError
from tests.support.devpi_api import PASSWORD, DevpiUser, logged_in, told
from tests.support.factories import make_token
from tests.support.gateway import TestGateway


async def test_root_makes_an_account_that_logs_in(gateway: TestGateway) -> None:
    """201 with the document, never with a password; what was written is what is shown."""
    given = {"password": "short", "email": "d@example.org", "title": "Dave", "custom_data": {"a": [1, None]}}
    made = await (await logged_in(gateway, "root"))("PUT", "/dave", given)
    assert (made.status_code, made.json()["type"]) == (201, "userconfig")
    document = made.json()["result"]
    assert document.pop("created").endswith("Z")
    expected = {"username": "dave", "indexes": {}} | {key: given[key] for key in given if key != "password"}
    assert document == expected
    dave = await logged_in(gateway, "dave", "short")
    assert {**await dave.result("/dave"), "created": None} == {**expected, "created": None}


_REFUSED: list[tuple[str, str, Any, int, str]] = [
    # who, path, body, and the answer
    ("root", "/alice", {"password": "x"}, 409, "user already exists"),
    ("root", "/dave", {}, 400, "password needs to be set"),
    ("root", "/dave", {"password": None}, 400, "password needs to be set"),
    ("root", "/dave", {"password": "x", "k": 1, "a": 2}, 400, "Unknown keys in user config: a, k"),
    ("root", "/dave", {"password": "x", "pwhash": "x"}, 400, "Unknown keys in user config: pwhash"),
    ("root", "/dave", {"password": 3}, 400, "a password is a text of at most 1024 characters"),
    ("root", "/dave", {"password": "x" * 1025}, 400, "a password is a text of at most 1024 characters"),
    ("root", "/dave", {"password": "x", "title": 5}, 400, "'title' option must be a text."),
    ("root", "/dave", [1], 400, "Bad request: could not decode json: send an object"),
    (
        "root",
        "/da!ve",
        {"password": "x"},
        400,
        "username 'da!ve' contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked.",
    ),
    ("root", "/static", {"password": "x"}, 400, "username 'static' is reserved for a path of this host."),
    ("alice", "/dave", {"password": "x"}, 403, "no permission to create user dave: only root makes accounts here"),
    ("nobody", "/dave", {"password": "x"}, 403, "no permission to create user dave: only root makes accounts here"),
]


async def test_what_cannot_be_made_is_refused_in_devpis_words(gateway: TestGateway) -> None:
    """Names, keys, values and rights, each with its status; nothing is made."""
    users = {name: DevpiUser(gateway, name) for name in ("root", "alice")} | {"nobody": DevpiUser(gateway)}
    for who, path, body, status, words in _REFUSED:
        answer = await users[who].http.put(path, json=body)
        assert told(answer) == (status, words), path
        assert answer.headers["content-type"] == "application/json"
    assert (await DevpiUser(gateway)("GET", "/dave")).status_code == 404
    empty = await users["root"]("PUT", "/dave", {"password": ""})
    assert empty.status_code == 400
    assert "empty password" in empty.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":', b"\xff\xfe", b"nul", b"[" * 5000])
async def test_what_is_no_json_is_400(gateway: TestGateway, body: bytes) -> None:
    """One sentence, on every route that takes a body."""
    root = DevpiUser(gateway, "root")
    for method, path in (("PUT", "/dave"), ("PATCH", "/alice"), ("POST", "/+login"), ("PUT", "/alice/x")):
        answer = await root.http.request(method, path, content=body)
        assert told(answer) == (400, "Bad request: could not decode json"), path


async def test_hostile_documents_are_bounded(gateway: TestGateway) -> None:
    """Depth, size, null characters and numbers that nothing can keep are 400 or 413, and change nothing."""
    root = DevpiUser(gateway, "root")
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    unfit = {"custom_data": (deep, "x" * 70_000), "null character": ("a\0b", {"a\0": 1}, [{"a": ["\0"]}])}
    for word, bad in ((word, bad) for word, values in unfit.items() for bad in values):
        answer = await root("PATCH", "/alice", {"custom_data": bad})
        assert answer.status_code == 400, bad
        assert word in answer.json()["message"]
    huge = await root.http.patch("/alice", content=b'{"custom_data": 1e999}')
    assert huge.status_code == 400
    long = await root.http.patch("/alice", content=b'"' + b"x" * (1 << 20) + b'"')
    assert told(long) == (413, "The body is larger than 1048576 bytes.")
    assert "custom_data" not in await root.result("/alice")


async def test_a_change_keeps_what_was_not_sent(gateway: TestGateway) -> None:
    """A falsy value takes a key away; keys that the document has and nobody writes are ignored."""
    alice = await logged_in(gateway, "alice")
    before = await alice.result("/alice")
    assert "modified" not in before
    answer = await alice("PATCH", "/alice", {**before, "title": "A", "description": "two\nlines", "nonsense": 1})
    assert answer.json() == {"message": "user updated"}
    after = await alice.result("/alice")
    assert {key: after[key] for key in before} == before
    assert (after["title"], after["description"]) == ("A", "two\nlines")
    assert after["modified"].endswith("Z")
    await alice("PATCH", "/alice", {"title": "", "email": None})
    assert {"title", "email"}.isdisjoint(await alice.result("/alice"))
    stamp = (await alice.result("/alice"))["modified"]
    await alice("PATCH", "/alice", {"description": "two\nlines"})
    assert (await alice.result("/alice"))["modified"] == stamp


async def test_only_the_user_and_root_change_or_remove(gateway: TestGateway) -> None:
    """A stranger is 403 with the words for what was tried, whether the account is there or not."""
    for who in (DevpiUser(gateway), DevpiUser(gateway, "bob"), DevpiUser(gateway, "alice", "wrong")):
        assert told(await who("PATCH", "/alice", {"title": "x"})) == (403, "no permission to modify user alice")
        changed = await who("PATCH", "/alice", {"password": "x"})
        assert told(changed) == (403, "no permission to change password for user alice")
        assert told(await who("PATCH", "/none", {"title": "x"})) == (404, "no user 'none'")
        for name in ("alice", "none"):
            assert told(await who("DELETE", f"/{name}")) == (403, f"no permission to delete user {name}")
    root = DevpiUser(gateway, "root")
    assert told(await root("DELETE", "/none")) == (404, "no user 'none'")
    assert told(await root("DELETE", "/root"))[0] == 403
    assert told(await root("GET", "/none")) == (404, "no user 'none'")
    assert (await root("PATCH", "/alice", {"title": "by root"})).status_code == 200


async def test_a_token_for_less_does_not_stand_for_its_user(gateway: TestGateway) -> None:
    """An API token for one index cannot change the account, nor make a login out of itself."""
    narrow = Scope(IndexName("alice", "shut"), None, frozenset(Verb))
    secret = await make_token(gateway.resources.engine, "alice", [narrow])
    alice = DevpiUser(gateway, "__token__", secret)
    assert (await alice("PATCH", "/alice", {"title": "x"})).status_code == 403
    assert (await alice("PUT", "/alice/new", {})).status_code == 403
    assert (await alice("DELETE", "/alice")).status_code == 403
    assert (await alice("PATCH", "/alice/shut", {"title": "x"})).status_code == 200


async def test_addresses_are_shown_to_the_user_and_root_alone(gateway: TestGateway) -> None:
    """Names, titles and indexes are everybody's; an e-mail address is not."""
    assert (await DevpiUser(gateway, "alice").result("/alice"))["email"] == "alice@example.org"
    assert (await DevpiUser(gateway, "root").result("/"))["alice"]["email"] == "alice@example.org"
    for who in (DevpiUser(gateway), DevpiUser(gateway, "bob")):
        assert "email" not in await who.result("/alice")
        assert "email" not in (await who.result("/"))["alice"]


async def test_the_list_names_no_index_that_one_may_not_read(gateway: TestGateway) -> None:
    """`GET /` for nobody, a stranger, a reader and the owner; without JSON it is the text it was."""
    seen = {}
    for who in (None, "carol", "bob", "alice"):
        answer = await DevpiUser(gateway, who)("GET", "/")
        assert answer.json()["type"] == "list:userconfig"
        seen[who] = sorted(answer.json()["result"]["alice"]["indexes"])
        assert list(answer.json()["result"]) == ["alice", "bob", "carol", "root"]
    assert seen == {None: [], "carol": [], "bob": ["shut"], "alice": ["shut"]}
    text = await DevpiUser(gateway).http.get("/", headers={"accept": "text/html"})
    assert (text.status_code, text.headers["content-type"]) == (404, "application/problem+json")


async def test_removal_takes_everything_along(gateway: TestGateway) -> None:
    """Indexes, logins, rights on others' indexes; making the account again brings nothing of it back."""
    root = await logged_in(gateway, "root")
    bob = await logged_in(gateway, "bob")
    await bob("PUT", "/bob/dev", {})
    await bob("PATCH", "/bob", {"title": "Bob"})
    assert (await bob.result("/alice/shut"))["type"] == "stage"
    assert told(await bob("DELETE", "/bob")) == (200, "user 'bob' deleted")
    assert (await root("GET", "/bob")).status_code == 404
    assert (await root("GET", "/bob/dev")).status_code == 404
    gone = await bob("GET", "/alice")
    assert (gone.status_code, gone.headers["location"]) == (401, "/+login")
    again = await root("PUT", "/bob", {"password": PASSWORD})
    assert again.json()["result"].keys() == {"username", "indexes", "created"}
    assert (await bob("GET", "/alice")).status_code == 401
    fresh = await logged_in(gateway, "bob")
    assert (await fresh("GET", "/alice/shut")).status_code == 403
    assert (await fresh.result("/bob"))["indexes"] == {}
    async with gateway.resources.engine.connect() as connection:
        assert list(await connection.scalars(select(Grant.verb).where(Grant.subject == "bob"))) == []


async def test_an_account_that_was_disabled_comes_back_without_its_rights(gateway: TestGateway) -> None:
    """Disabling leaves grants for the record; the name that is made again may be somebody else's."""
    root = await logged_in(gateway, "root")
    assert (await (await logged_in(gateway, "bob")).result("/alice/shut"))["type"] == "stage"
    await gateway.accounts.disable_account("bob")
    assert (await root("PUT", "/bob", {"password": PASSWORD})).status_code == 201
    assert (await (await logged_in(gateway, "bob"))("GET", "/alice/shut")).status_code == 403


async def test_a_password_changed_while_a_login_is_under_way_ends_it(gateway: TestGateway) -> None:
    """What was proven of the old password makes no login any more."""
    users = DevpiUsers(gateway.resources.engine, gateway.clock, actor="bob", open_=False)
    with pytest.raises(ServiceError, match="bob"):
        await users.log_in(Proven("bob", "$argon2id$the-old-one"))


async def test_a_user_with_a_non_volatile_index_stays(gateway: TestGateway) -> None:
    """403 names the index, and nothing of the account has ended."""
    alice = await logged_in(gateway, "alice")
    await alice("PUT", "/alice/dev", {})
    assert told(await alice("DELETE", "/alice")) == (403, "user 'alice' has non-volatile index: shut")
    assert (await alice("GET", "/alice/dev")).status_code == 200


async def test_an_open_devpi_lets_anybody_in(open_devpi: TestGateway) -> None:
    """Root has an empty password, anybody makes accounts, nothing is counted, and addresses are shown."""
    nobody = DevpiUser(open_devpi)
    assert (await nobody("PUT", "/dave", {"password": "", "email": "d@x"})).status_code == 201
    for _ in range(40):
        wrong = await nobody("POST", "/+login", {"user": "root", "password": "wrong"})
        assert wrong.status_code == 401
    root = await logged_in(open_devpi, "root", "")
    assert (await nobody.result("/dave"))["email"] == "d@x"
    dave = await logged_in(open_devpi, "dave", "")
    made = await dave("PUT", "/dave/dev", {})
    assert made.json()["result"]["acl_toxresult_upload"] == [":ANONYMOUS:"]
    async with open_devpi.resources.engine.connect() as connection:
        hashes = list(await connection.scalars(select(Account.password_hash)))
    assert hashes == [None, None], "the empty password is this start's, not the catalogue's"
    assert (await root("DELETE", "/dave")).status_code == 200
