"""Accounts, indexes, tokens and the deployment, as the gateway writes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from deploy.first_steps import public_mirror
from gateway.accounts import MAX_SCOPES, MAX_TOKEN_LIFETIME, MIN_PASSWORD, Accounts, NewIndex, NewToken
from shared.auth.directory import CHANNEL, Directory
from shared.auth.passwords import password_matches
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import NOBODY, Principal, Scope, Verb
from shared.auth.tokens import token_sha256
from shared.catalogue.outbox import waiting_changes
from shared.catalogue.tables import Account, Audit, Deployment, IndexRow, Outbox, OwnerLink, Token
from shared.errors import ErrorKind, ServiceError
from shared.ids import TokenId, new_uuid
from tests.support.clock import SettableClock

STABLE = IndexName("root", "stable")
READ_STABLE = Scope(STABLE, None, frozenset({Verb.READ}))


@pytest.fixture
def clock() -> SettableClock:
    """A clock that stands still."""
    return SettableClock()


@pytest.fixture
def accounts(engine: AsyncEngine, clock: SettableClock) -> Accounts:
    """The writer, in the name of `tester`."""
    return Accounts(engine, clock, actor="tester")


async def _actions(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    async with engine.connect() as connection:
        rows = await connection.execute(select(Audit.actor, Audit.action, Audit.subject).order_by(Audit.id))
        return [(row.actor, row.action, row.subject) for row in rows]


async def test_a_deployment_is_made_once(engine: AsyncEngine, accounts: Accounts) -> None:
    """The first start makes owner, index and row; later starts find them; two at once make them once."""
    first, second = await asyncio.gather(accounts.init_deployment(STABLE), accounts.init_deployment(STABLE))
    third = await accounts.init_deployment(STABLE)
    assert sorted([first.created, second.created]) == [False, True]
    assert replace(first, created=False) == replace(second, created=False) == third
    async with engine.connect() as connection:
        for table in (Deployment, Account, IndexRow):
            assert await connection.scalar(select(func.count()).select_from(table)) == 1
        assert len(await waiting_changes(connection, first.default_index_id, limit=10)) == 1


async def test_a_deployment_begins_with_a_mirror_of_the_public_index(engine: AsyncEngine, accounts: Accounts) -> None:
    """It is not volatile, nothing is to be published of it, and a later start makes none again."""
    assert not await accounts.has_deployment()
    made = await accounts.init_deployment(STABLE, mirror=public_mirror())
    assert await accounts.has_deployment()
    await accounts.init_deployment(STABLE, mirror=replace(public_mirror(), name=IndexName("root", "again")))
    async with engine.connect() as connection:
        rows = await connection.execute(select(IndexRow.name, IndexRow.type, IndexRow.volatile, IndexRow.settings))
        indexes = {row.name: row for row in rows}
        jobs = await connection.scalars(select(Outbox.index_id))
        assert list(jobs) == [made.default_index_id]
    assert indexes.keys() == {"stable", "pypi"}
    mirror = indexes["pypi"]
    assert (mirror.type, mirror.volatile, mirror.settings["title"]) == ("mirror", False, "PyPI")
    assert mirror.settings["mirror_url"].startswith("https://")
    assert mirror.settings["mirror_web_url_fmt"].endswith("/project/{name}/")
    directory = Directory(engine)
    await directory.refresh()
    record = directory.index(IndexName("root", "pypi"))
    assert record is not None
    assert authorize(NOBODY, Verb.READ, record.resource()) is Decision.ALLOWED
    assert authorize(Principal("root"), Verb.UPLOAD, record.resource()) is not Decision.ALLOWED


async def test_another_default_index_is_refused(engine: AsyncEngine, accounts: Accounts) -> None:
    """A catalogue of one deployment is not taken over by another one's settings, and nothing is half made."""
    await accounts.init_deployment(STABLE)
    with pytest.raises(ServiceError, match="root/stable, not other/main") as caught:
        await accounts.init_deployment(IndexName("other", "main"))
    assert caught.value.kind is ErrorKind.CONFLICT
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Account)) == 1


async def test_a_public_index_is_read_by_all_and_changed_by_its_owner(engine: AsyncEngine, accounts: Accounts) -> None:
    """The grants of a new index: every verb for the owner, reading for everyone when it is public."""
    await accounts.create_account("alice")
    public = await accounts.create_index(NewIndex(IndexName("alice", "open")))
    private = await accounts.create_index(NewIndex(IndexName("alice", "shut"), "private"))
    directory = Directory(engine)
    await directory.refresh()
    for index_id, for_all in ((public, True), (private, False)):
        record = directory.index_by_id(index_id)
        assert record is not None
        assert (record.type, record.volatile, record.admission, record.public) == ("stage", False, "strict", for_all)
        assert all(authorize(Principal("alice"), verb, record.resource()) is Decision.ALLOWED for verb in Verb)
        assert (authorize(NOBODY, Verb.READ, record.resource()) is Decision.ALLOWED) is for_all
        assert authorize(NOBODY, Verb.UPLOAD, record.resource()) is Decision.NEEDS_CREDENTIALS
        assert authorize(Principal("bob"), Verb.UPLOAD, record.resource()) is Decision.NO_GRANT
        async with engine.connect() as connection:
            (waiting,) = await waiting_changes(connection, index_id, limit=10)
        assert waiting.message.file_id is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simple", ErrorKind.INVALID),
        ("+x", ErrorKind.INVALID),
        ("a/b", ErrorKind.INVALID),
        ("root", ErrorKind.CONFLICT),
    ],
)
async def test_account_names_are_parsed_and_unique(accounts: Accounts, name: str, kind: ErrorKind) -> None:
    """A name that would hide a face, is no segment, or is taken makes no account."""
    await accounts.create_account("root")
    with pytest.raises(ServiceError) as caught:
        await accounts.create_account(name)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (IndexName("root", "+f"), ErrorKind.INVALID),
        (IndexName("legacy", "x"), ErrorKind.INVALID),
        (IndexName("nobody", "x"), ErrorKind.NOT_FOUND),
        (STABLE, ErrorKind.CONFLICT),
    ],
)
async def test_index_names_are_parsed_owned_and_unique(accounts: Accounts, name: IndexName, kind: ErrorKind) -> None:
    """An index has a plain name, an owner that lives, and is made once."""
    await accounts.init_deployment(STABLE)
    with pytest.raises(ServiceError) as caught:
        await accounts.create_index(NewIndex(name))
    assert caught.value.kind is kind


async def test_a_password_is_kept_as_a_hash(engine: AsyncEngine, accounts: Accounts) -> None:
    """argon2 and nothing else; too short or too long ones are refused; another password replaces the first."""
    await accounts.create_account("alice", password="correct horse battery")
    await accounts.set_password("alice", "another password")
    async with engine.connect() as connection:
        encoded = await connection.scalar(select(Account.password_hash))
    assert encoded is not None
    assert encoded.startswith("$argon2id$")
    assert password_matches(encoded, "another password")
    for bad in ("x" * (MIN_PASSWORD - 1), "x" * 1025):
        with pytest.raises(ServiceError) as caught:
            await accounts.set_password("alice", bad)
        assert caught.value.kind is ErrorKind.INVALID
    with pytest.raises(ServiceError, match="no account bob"):
        await accounts.set_password("bob", "another password")


async def test_a_token_is_shown_once_and_kept_as_a_hash(
    engine: AsyncEngine, accounts: Accounts, clock: SettableClock
) -> None:
    """The catalogue holds the sha256; the directory finds the token until it is revoked."""
    await accounts.init_deployment(STABLE)
    minted = await accounts.create_token(NewToken("root", (READ_STABLE,), timedelta(days=1), "ci"))
    digest = token_sha256(minted.secret)
    assert digest is not None
    assert minted.secret not in repr(minted)
    assert minted.expires_at == clock.now() + timedelta(days=1)
    async with engine.connect() as connection:
        rows = (await connection.execute(select(Token))).mappings().all()
        audits = (await connection.execute(select(Audit.detail))).scalars().all()
    assert [row["secret_sha256"] for row in rows] == [digest]
    assert minted.secret not in f"{rows}{audits}"
    directory = Directory(engine)
    await directory.refresh()
    record = directory.token(digest)
    assert record is not None
    assert (record.account, record.scopes) == ("root", (READ_STABLE,))
    await accounts.revoke_token(minted.id)
    await accounts.revoke_token(minted.id)
    await directory.refresh()
    assert directory.token(digest) is None
    assert [action for _, action, _ in await _actions(engine)].count("token.revoke") == 1


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"scopes": ()}, ErrorKind.INVALID),
        ({"scopes": (READ_STABLE,) * (MAX_SCOPES + 1)}, ErrorKind.INVALID),
        ({"lifetime": timedelta(0)}, ErrorKind.INVALID),
        ({"lifetime": MAX_TOKEN_LIFETIME + timedelta(seconds=1)}, ErrorKind.INVALID),
        ({"label": ""}, ErrorKind.INVALID),
        ({"label": "x" * 101}, ErrorKind.INVALID),
        ({"label": "a\nb"}, ErrorKind.INVALID),
        ({"account": "nobody"}, ErrorKind.NOT_FOUND),
        ({"scopes": (Scope(IndexName("root", "none"), None, frozenset({Verb.READ})),)}, ErrorKind.NOT_FOUND),
    ],
)
async def test_a_token_is_bounded(accounts: Accounts, changed: dict[str, object], kind: ErrorKind) -> None:
    """Every token has a scope, an end, a label and an owner."""
    await accounts.init_deployment(STABLE)
    new = NewToken("root", (READ_STABLE,), timedelta(days=1), "ci")
    with pytest.raises(ServiceError) as caught:
        await accounts.create_token(replace(new, **changed))  # type: ignore[arg-type]
    assert caught.value.kind is kind


async def test_only_the_owner_or_the_operator_revokes(accounts: Accounts) -> None:
    """A token of somebody else is as unknown as one that never was."""
    await accounts.init_deployment(STABLE)
    await accounts.create_account("bob")
    minted = await accounts.create_token(NewToken("root", (READ_STABLE,), timedelta(days=1), "ci"))
    for token_id, account in ((minted.id, "bob"), (TokenId(new_uuid()), None)):
        with pytest.raises(ServiceError) as caught:
            await accounts.revoke_token(token_id, account=account)
        assert caught.value.kind is ErrorKind.NOT_FOUND
    await accounts.revoke_token(minted.id, account="root")


async def test_each_change_is_audited_and_announced(engine: AsyncEngine, accounts: Accounts, database: str) -> None:
    """What changes rights leaves a row that says who did it, and wakes every process with the commit."""
    url = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    connection, heard = await asyncpg.connect(url), asyncio.Queue[str]()
    await connection.add_listener(CHANNEL, lambda *arguments: heard.put_nowait(arguments[2]))
    try:
        await accounts.create_account("alice")
        assert await asyncio.wait_for(heard.get(), 5) == CHANNEL
        await accounts.create_index(NewIndex(IndexName("alice", "open")))
        assert await asyncio.wait_for(heard.get(), 5) == CHANNEL
        minted = await accounts.create_token(
            NewToken("alice", (Scope(None, None, frozenset({Verb.READ})),), timedelta(days=1), "ci")
        )
        assert await asyncio.wait_for(heard.get(), 5) == CHANNEL
        await accounts.revoke_token(minted.id)
        assert await asyncio.wait_for(heard.get(), 5) == CHANNEL
    finally:
        await connection.close()
    assert await _actions(engine) == [
        ("tester", "account.create", "alice"),
        ("tester", "index.create", "alice/open"),
        ("tester", "token.create", str(minted.id)),
        ("tester", "token.revoke", str(minted.id)),
    ]


async def test_passwords_and_links_are_audited_without_their_secrets(engine: AsyncEngine, accounts: Accounts) -> None:
    """Who set a password, made a link or used one is on record; what would let in is not."""
    await accounts.create_account("root")
    await accounts.set_password("root", "correct horse battery")
    unused, secret = await accounts.create_owner_link("root"), await accounts.create_owner_link("root")
    await accounts.use_owner_link(secret, password="another battery staple")
    assert (await _actions(engine))[1:] == [
        ("tester", "account.set-password", "root"),
        ("tester", "owner-link.create", "root"),
        ("tester", "owner-link.create", "root"),
        ("tester", "owner-link.use", "root"),
        ("tester", "account.set-password", "root"),
    ]
    async with engine.connect() as connection:
        details = str(list(await connection.scalars(select(Audit.detail))))
    for word in ("battery", unused, secret, "argon2"):
        assert word not in details


async def test_a_link_is_used_by_one_of_many(accounts: Accounts) -> None:
    """Ten at once: one gets the account, and a bad password leaves the link as it was."""
    await accounts.create_account("root")
    secret = await accounts.create_owner_link("root")
    with pytest.raises(ServiceError):
        await accounts.use_owner_link(secret, password="short")
    assert await accounts.peek_owner_link(secret) == "root"
    used = await asyncio.gather(*(accounts.use_owner_link(secret) for _ in range(5)))
    assert sorted(used, key=str) == [None] * 4 + ["root"]
    assert await accounts.peek_owner_link(secret) is None
    with pytest.raises(ServiceError):
        await accounts.create_owner_link("nobody")


async def test_links_end_with_a_new_password_and_with_their_account(engine: AsyncEngine, accounts: Accounts) -> None:
    """Whoever kept a link cannot undo a new password; another account's link goes on working."""
    for name in ("alice", "bob"):
        await accounts.create_account(name)
    bobs = await accounts.create_owner_link("bob")
    old = await accounts.create_owner_link("alice")
    await accounts.set_password("alice", "correct horse battery")
    assert await accounts.use_owner_link(old, password="a stranger's password") is None
    kept, used = await accounts.create_owner_link("alice"), await accounts.create_owner_link("alice")
    assert await accounts.use_owner_link(used) == "alice"
    assert await accounts.peek_owner_link(kept) == "alice"
    used = await accounts.create_owner_link("alice")
    assert await accounts.use_owner_link(used, password="another battery staple") == "alice"
    assert await accounts.peek_owner_link(kept) is None
    await accounts.create_owner_link("alice")
    await accounts.disable_account("alice")
    async with engine.connect() as connection:
        unused = await connection.scalars(select(OwnerLink.account).where(OwnerLink.used_at.is_(None)))
        assert list(unused) == ["bob"]
    assert await accounts.peek_owner_link(bobs) == "bob"


async def test_a_disabled_account_is_gone_from_the_directory(engine: AsyncEngine, accounts: Accounts) -> None:
    """Its tokens are revoked with it and said so in the audit, once; the default index's owner cannot be disabled."""
    await accounts.init_deployment(STABLE)
    await accounts.create_account("alice")
    await accounts.create_token(NewToken("alice", (READ_STABLE,), timedelta(days=1), "x"))
    for _ in range(2):
        await accounts.disable_account("alice")
    directory = Directory(engine)
    await directory.refresh()
    assert directory.account("alice") is None
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).where(Token.revoked_at.is_(None)).select_from(Token)) == 0
        details = await connection.scalars(select(Audit.detail).where(Audit.action == "account.disable"))
        assert list(details) == [{"tokens_revoked": 1}]
    for name, kind in (("root", ErrorKind.CONFLICT), ("nobody", ErrorKind.NOT_FOUND)):
        with pytest.raises(ServiceError) as caught:
            await accounts.disable_account(name)
        assert caught.value.kind is kind
