"""What the operator's commands do: on the database that the settings name, or on that of the server beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_project_name
from deploy.data_folder import DataFolder
from deploy.errors import LaunchError, UsageError
from deploy.publishers import read_publisher
from gateway.accounts import Accounts, NewIndex, NewToken, owner_link_url
from gateway.index_rights import IndexRights
from gateway.settings import addresses_of
from shared.auth.principal import Scope, Verb
from shared.catalogue import listings, outbox
from shared.catalogue.engine import open_engine
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import SystemClock
from shared.ids import OutboxId, TokenId
from shared.settings import Settings

_ACTOR = "cli"
"""Who the audit says it was: the operator's shell, which may do everything."""

Row = Mapping[str, object]


async def add_user(settings: Settings, name: str, password: str | None, email: str | None) -> None:
    """Make an account.

    Raises:
        ServiceError: the name or the password cannot be used, or the account exists.
    """
    async with _accounts(settings) as accounts:
        await accounts.create_account(name, password=password, email=email)


async def set_password(settings: Settings, name: str, password: str, *, keep_tokens: bool = False) -> int:
    """Give an account a password, and return how many of its tokens ended.

    Args:
        keep_tokens: only the logins of the devpi client end.

    Raises:
        ServiceError: the password cannot be used, or there is no such account.
    """
    async with _accounts(settings) as accounts:
        return await accounts.set_password(name, password, every_token=not keep_tokens)


async def list_users(settings: Settings) -> list[Row]:
    """Return accounts by name."""
    async with catalogue(settings) as engine, engine.connect() as connection:
        return [
            {
                "name": line.name,
                "email": line.email,
                "password": "yes" if line.has_password else "no",
                "created_at": line.created_at,
                "disabled_at": line.disabled_at,
            }
            for line in await listings.accounts(connection)
        ]


async def disable_user(settings: Settings, name: str) -> None:
    """End an account and its tokens.

    Raises:
        ServiceError: there is no such account, or it owns the default index.
    """
    async with _accounts(settings) as accounts:
        await accounts.disable_account(name)


async def make_link(settings: Settings, name: str) -> str:
    """Return a link that signs an account in once.

    Raises:
        ServiceError: there is no such account.
    """
    async with _accounts(settings) as accounts:
        secret = await accounts.create_owner_link(name)
    return owner_link_url(_hosts(settings)[1], secret)


async def create_token(settings: Settings, wanted: Mapping[str, object]) -> Row:
    """Make a token and return it with its secret and what it is for.

    Args:
        wanted: `user`, `index` (`*` for every index), `project` (None for all), `verbs` (by commas), `days`, `label`,
            `publisher` (a file, or None).

    Raises:
        UsageError: a name or a verb is none, or the file says of nobody who it is.
        ServiceError: there is no such account or index, or the label cannot be used.
    """
    try:
        index = None if wanted["index"] == "*" else parse_index_name(str(wanted["index"]))
        project = None if wanted["project"] is None else parse_project_name(str(wanted["project"]))
        verbs = frozenset(_verb(text.strip()) for text in str(wanted["verbs"]).split(","))
    except InvalidName as error:
        raise UsageError(str(error)) from error
    user, lifetime = str(wanted["user"]), timedelta(days=int(str(wanted["days"])))
    publisher = None if wanted["publisher"] is None else read_publisher(Path(str(wanted["publisher"])))
    async with _accounts(settings) as accounts:
        new = NewToken(user, (Scope(index, project, verbs),), lifetime, str(wanted["label"]), publisher)
        minted = await accounts.create_token(new)
    host = _hosts(settings)[0]
    return {
        "token": minted.secret,
        "id": str(minted.id),
        "user": user,
        "index": "*" if index is None else str(index),
        "project": project,
        "verbs": sorted(verbs),
        "expires_at": minted.expires_at.isoformat(timespec="seconds"),
        "upload_url": f"{host}/legacy/" if index is None else f"{host}/{index}/",
        "simple_url": f"{host}/+simple/" if index is None else f"{host}/{index}/+simple/",
    }


async def list_tokens(settings: Settings, user: str | None) -> list[Row]:
    """Return the newest tokens, without their secrets."""
    async with catalogue(settings) as engine, engine.connect() as connection:
        return [
            {
                "id": str(line.id),
                "user": line.account,
                "label": line.label,
                "scopes": "; ".join(map(_in_words, line.scopes)),
                "created_at": line.created_at,
                "expires_at": line.expires_at,
                "last_used_at": line.last_used_at,
                "revoked_at": line.revoked_at,
            }
            for line in await listings.tokens(connection, user)
        ]


async def revoke_token(settings: Settings, token_id: str) -> None:
    """Make a token useless.

    Raises:
        UsageError: `token_id` is no id.
        ServiceError: there is no such token.
    """
    try:
        parsed = TokenId(UUID(token_id))
    except ValueError as error:
        raise UsageError(f"{token_id[:50]} is no token's id: see countermark-server token list") from error
    async with _accounts(settings) as accounts:
        await accounts.revoke_token(parsed)


async def create_index(settings: Settings, name: str, *, private: bool) -> Row:
    """Make a stage index.

    Raises:
        UsageError: the name cannot be used.
        ServiceError: its owner does not exist, or the index does.
    """
    index = _index(name)
    async with _accounts(settings) as accounts:
        index_id = await accounts.create_index(NewIndex(index, "private" if private else "public"))
    url = f"{_hosts(settings)[0]}/{index}"
    visibility = "private" if private else "public"
    return {"id": str(index_id), "index": name, "visibility": visibility, "simple_url": f"{url}/+simple/"}


async def set_grants(settings: Settings, name: str, subject: str, verbs: str) -> None:
    """Let a subject do exactly these verbs on an index.

    Args:
        verbs: by commas; none takes everything away.

    Raises:
        UsageError: the name or a verb is none.
        ServiceError: there is no such index or account, or the owner would be locked out.
    """
    wanted = frozenset(_verb(text.strip()) for text in verbs.split(",") if text.strip())
    async with catalogue(settings) as engine:
        await IndexRights(engine, SystemClock(), actor=_ACTOR).set_grants(_index(name), subject, wanted)


async def list_grants(settings: Settings, name: str) -> list[Row]:
    """Return who may do what on an index.

    Raises:
        UsageError: the name is none, or there is no such index.
    """
    index = _index(name)
    async with catalogue(settings) as engine, engine.connect() as connection:
        index_id = await listings.index_id(connection, index)
        if index_id is None:
            raise UsageError(f"there is no index {index}: see countermark-server index list")
        lines = await listings.grants(connection, index_id)
    return [{"subject": line.subject, "verbs": ",".join(line.verbs)} for line in lines]


async def list_indexes(settings: Settings) -> list[Row]:
    """Return living indexes by name."""
    async with catalogue(settings) as engine, engine.connect() as connection:
        return [{"index": f"{line.owner}/{line.name}", **asdict(line)} for line in await listings.indexes(connection)]


async def list_jobs(settings: Settings, *, dead: bool) -> list[Row]:
    """Return the newest jobs: those that wait or run, or those that were given up."""
    async with catalogue(settings) as engine, engine.connect() as connection:
        return [asdict(job) for job in await outbox.listing(connection, dead=dead)]


async def retry_jobs(settings: Settings, job: int | None) -> int:
    """Have a job run again that was given up, or all of them; returns how many.

    Raises:
        LaunchError: no such job was given up.
    """
    count = 0
    async with catalogue(settings) as engine:
        # A page of the list at a time: what is revived is no longer on it.
        while True:
            async with UnitOfWork(engine) as work:
                if job is None:
                    ids = [OutboxId(entry.id) for entry in await outbox.listing(work.connection, dead=True)]
                else:
                    ids = [OutboxId(job)]
                revived = [await outbox.revive(work.connection, outbox_id) for outbox_id in ids]
                await work.commit()
            count += sum(revived)
            if job is not None and not any(revived):
                raise LaunchError(f"no job {job} was given up: see countermark-server jobs dead")
            if job is not None or not any(revived):
                return count


def database_url(settings: Settings) -> str:
    """Return the database to work on: the one that is set, else that of the server running on the data folder.

    Raises:
        LaunchError: none is set and nothing runs there.
    """
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    return DataFolder(settings.data).running().database


@asynccontextmanager
async def catalogue(settings: Settings, pool: int = 2) -> AsyncIterator[AsyncEngine]:
    """Open the catalogue of the settings, or of the server that runs on the data folder, for one command.

    Args:
        pool: connections at the same time.

    Raises:
        LaunchError: there is none, or it cannot be used; also for what fails in the block.
    """
    engine = open_engine(database_url(settings), pool=pool)
    try:
        yield engine
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise LaunchError(f"the catalogue cannot be used: {reason}") from error
    finally:
        await engine.dispose()


@asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Accounts]:
    async with catalogue(settings) as engine:
        yield Accounts(engine, SystemClock(), actor=_ACTOR)


def _hosts(settings: Settings) -> tuple[str, str]:
    """Return the addresses of the API host and the UI: those of the server that runs, else those of the settings."""
    folder = DataFolder(settings.data)
    if settings.database.url is None and folder.is_running():
        running = folder.running()
        return running.api, running.ui
    addresses = addresses_of(settings)
    return addresses.api, addresses.ui


def _index(name: str) -> IndexName:
    try:
        return parse_index_name(name)
    except InvalidName as error:
        raise UsageError(str(error)) from error


def _verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError as error:
        raise UsageError(f"there is no verb {text[:50]!r}: use {', '.join(Verb)}") from error


def _in_words(scope: Scope) -> str:
    where = "any index" if scope.index is None else str(scope.index)
    return f"{','.join(sorted(scope.verbs))} on {where}" + (f" project {scope.project}" if scope.project else "")
