"""The writer of indexes as devpi's API makes, changes and removes them.

Rights are rows of the grant table: whoever may upload may remove as well, and so may the owner and the deployment's
administrator. Source: contract devpi section 6; architecture sections 11.1, 11.5 and 11.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName, parse_index_name
from gateway.devpi import states
from gateway.devpi.shares import check_lists
from gateway.devpi.states import IndexState
from gateway.devpi.user_writer import no_user
from gateway.devpi.values import (
    MIRROR,
    SETTINGS,
    Config,
    FindBase,
    InvalidConfig,
    changed_config,
    named_bases,
    new_config,
)
from gateway.index_lives import Birth, begin, end, set_bases
from gateway.writer import CatalogueWriter
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Grant, Principal, Verb
from shared.catalogue.tables import Account, Deployment, IndexRow
from shared.catalogue.tables import Grant as GrantRow
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError

Given = Mapping[str, Any]

T = TypeVar("T")

_RIGHTS: Mapping[str, tuple[Verb, ...]] = {
    "acl_upload": (Verb.UPLOAD, Verb.REMOVE),
    "acl_toxresult_upload": (Verb.TEST_RESULT,),
}
"""Option -> what it lets those do whom it names."""

_OWNERS = frozenset([Verb.READ, Verb.REMOVE, Verb.APPROVE, Verb.CONFIGURE])
"""What the owner may do whatever the lists say."""

_ADMINISTRATORS = frozenset([Verb.REMOVE, Verb.CONFIGURE])
"""What the owner of the default index, devpi's `root`, may do on every index made here."""


@dataclass(frozen=True, slots=True)
class NewIndexes:
    """What new indexes get: the admission of stages, and who may upload test results; `most` of them an owner has."""

    admission: Literal["strict", "devpi"]
    results: str
    most: int


class DevpiIndexes(CatalogueWriter):
    """Changes indexes in devpi's way, for `principal`, who must be able to read what it names as bases."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, actor: str, open_: bool) -> None:
        """Args: open_: whether the deployment is as open as a plain devpi-server."""
        super().__init__(engine, clock, actor=actor)
        self._open = open_

    async def create(self, name: IndexName, given: Given, principal: Principal, new: NewIndexes) -> IndexState:
        """Make an index.

        Raises:
            ServiceError: INVALID, CONFLICT when it exists, NOT_FOUND when its owner was removed meanwhile; as `begin`.
        """
        async with UnitOfWork(self._engine) as work:
            owner = select(Account.name).where(Account.name == name.owner, Account.disabled_at.is_(None))
            if await work.connection.scalar(owner.with_for_update(key_share=True)) is None:
                raise no_user(name.owner)
            find = await _base_finder(work, given, principal, name, public=True)
            config = _checked(lambda: new_config(given, name.owner, new.results, find))
            self._check_uploaders(config, {})
            listed = _listed(config)
            birth = Birth(
                name,
                type=config["type"],
                volatile=config["volatile"],
                admission=new.admission,
                settings=_settings(config),
                bases=_bases(config),
                grants=frozenset(listed | await self._administrators(work)),
                owner_verbs=_OWNERS,
            )
            if await begin(work, birth, self._clock.now(), most=new.most) is None:
                raise ServiceError(ErrorKind.CONFLICT, f"index '{name}' exists")
            await check_lists(work, name.owner)
            await self._record(work, "index.create", str(name), visibility="public", type=config["type"])
            made = await states.index(work.connection, name)
            await self._commit(work)
        assert made is not None, "it was written in this transaction"
        return made

    async def change(self, name: IndexName, principal: Principal, change: Callable[[Config], Given]) -> IndexState:
        """Change an index.

        Args:
            change: takes what the index has and returns the options to set; raises `InvalidConfig`, or `ServiceError`.

        Raises:
            ServiceError: INVALID; FORBIDDEN when there is no such index any more.
        """
        async with UnitOfWork(self._engine) as work:
            state = await self._locked(work, name)
            before = state.config()
            given = _checked(lambda: change(before))
            find = await _base_finder(work, given, principal, name, public=state.public)
            config = _checked(lambda: changed_config(before, given, find))
            if not state.public and ANONYMOUS in [who for option in _RIGHTS for who in config.get(option, ())]:
                raise ServiceError(ErrorKind.INVALID, f"{name} is private: {ANONYMOUS} can have no rights on it")
            self._check_uploaders(config, before)
            others = {option: value for option, value in state.settings.items() if option not in SETTINGS}
            values = {"volatile": config["volatile"], "settings": others | _settings(config)}
            await work.connection.execute(update(IndexRow).where(IndexRow.id == state.id).values(**values))
            if config.get("bases") != before.get("bases"):
                await set_bases(work.connection, state.id, _bases(config))
            if state.type != MIRROR:
                await self._set_grants(work, state, before, config)
            if _entries(config) > _entries(before):
                await check_lists(work, name.owner)
            changed = sorted(option for option in {*before, *config} if before.get(option) != config.get(option))
            told = {option: config.get(option) for option in changed if option in {*_RIGHTS, "bases", "volatile"}}
            await self._record(work, "index.change", str(name), options=changed, **told)
            after = await states.index(work.connection, name)
            await self._commit(work)
        assert after is not None, "it is locked"
        return after

    async def delete(self, name: IndexName) -> None:
        """Delete a volatile index: it is published empty, and its addresses answer 410.

        Raises:
            ServiceError: FORBIDDEN when it is not volatile, is the default index, or is not there.
        """
        async with UnitOfWork(self._engine) as work:
            state = await self._locked(work, name)
            if not state.volatile:
                raise ServiceError(ErrorKind.FORBIDDEN, f"index {name} non-volatile, cannot delete")
            if str(name) == await work.connection.scalar(select(Deployment.default_index)):
                raise ServiceError(ErrorKind.FORBIDDEN, f"index {name} is the default index, cannot delete")
            await end(work, state.id, state.life, self._clock.now())
            await self._record(work, "index.delete", str(name), life=state.life)
            await self._commit(work)

    def _check_uploaders(self, config: Config, before: Config) -> None:
        """Refuse to let nobody in particular upload, unless that was so before: an import takes it along.

        Raises:
            ServiceError: INVALID.
        """
        added = ANONYMOUS in config.get("acl_upload", ()) and ANONYMOUS not in before.get("acl_upload", ())
        if added and not self._open:
            detail = (
                f"acl_upload: {ANONYMOUS!r} cannot upload here, since uploads need an account: {AUTHENTICATED!r} is "
                "everybody who has one (a server started with --compat devpi-open takes both)"
            )
            raise ServiceError(ErrorKind.INVALID, detail)

    async def _locked(self, work: UnitOfWork, name: IndexName) -> IndexState:
        of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_(None))
        await work.connection.execute(select(IndexRow.id).where(*of_name).with_for_update())
        state = await states.index(work.connection, name)
        if state is None:
            raise ServiceError(ErrorKind.FORBIDDEN, f"no permission to modify index {name}")
        return state

    async def _administrators(self, work: UnitOfWork) -> set[Grant]:
        default = await work.connection.scalar(select(Deployment.default_index))
        if default is None:
            return set()
        return {Grant(parse_index_name(default).owner, verb) for verb in _ADMINISTRATORS}

    async def _set_grants(self, work: UnitOfWork, state: IndexState, before: Config, after: Config) -> None:
        """Give and take what the lists changed; rights that were given elsewhere stay."""
        kept = {Grant(state.name.owner, verb) for verb in _OWNERS} | await self._administrators(work)
        old, new = _listed(before), _listed(after)
        gone = (old - new) - kept
        for grant in gone:
            which = (GrantRow.index_id == state.id, GrantRow.subject == grant.subject, GrantRow.verb == grant.verb)
            await work.connection.execute(delete(GrantRow).where(*which))
        added = new - old - state.grants
        if added:
            rows = [{"index_id": state.id, "subject": one.subject, "verb": one.verb.value} for one in added]
            await work.connection.execute(insert(GrantRow), rows)


def _checked(read: Callable[[], T]) -> T:
    """Return what `read` does; what an index cannot have is the client's fault.

    Raises:
        ServiceError: INVALID.
    """
    try:
        return read()
    except InvalidConfig as error:
        raise ServiceError(ErrorKind.INVALID, str(error)) from error


async def _base_finder(
    work: UnitOfWork, given: Given, principal: Principal, index: IndexName, *, public: bool
) -> FindBase:
    """Look up the bases that a change names. One that the caller may not read does not exist."""
    found = await states.indexes_named(work.connection, named_bases(given))

    def find(name: IndexName) -> str | None:
        base = found.get(name)
        if name == index:
            return None
        if base is None or not base.allows(principal, Verb.READ):
            return f"base index {str(name)!r} does not exist"
        if public and not base.public:
            return f"base index {str(name)!r} is private, and everyone may read {index}"
        return None

    return find


def _listed(config: Config) -> set[Grant]:
    """Return the rights that the lists of a configuration give."""
    return {Grant(who, verb) for option, verbs in _RIGHTS.items() for who in config.get(option, ()) for verb in verbs}


def _entries(config: Config) -> int:
    return sum(len(value) for value in config.values() if isinstance(value, list))


def _settings(config: Config) -> dict[str, Any]:
    return {option: value for option, value in config.items() if option in SETTINGS}


def _bases(config: Config) -> list[IndexName]:
    return [parse_index_name(base) for base in config.get("bases", ())]
