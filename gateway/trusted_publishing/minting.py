"""The exchange: an identity token of a CI job for an upload token, which is limited to the job's projects.

1. The token is taken apart; its issuer must be one that some publisher was registered with.
2. Signature, audience and times are checked with the issuer's keys; nothing is asked for while a transaction is open.
3. In one transaction: the token is used up, the publishers that it may be of are locked, their claims compared.
4. Of each project the publisher counts that demands most. One that was pending becomes real, unless somebody else made
   the project meanwhile; others that wait for the name are dropped. Ids that were not known are pinned.
5. An upload token for exactly these projects, with the claims of the run.

Source: contract python-index sections 3.1, 3.3 and 3.5; ADR 0046.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.trusted_publishing.claims import faults_of, is_found, kept_of, name_of, pins_of, shown, subjects_of
from gateway.trusted_publishing.id_tokens import LEEWAY, IdentityToken, read_unverified, verify
from gateway.trusted_publishing.issuers import Issuers
from gateway.trusted_publishing.refusals import MintRefused
from gateway.trusted_publishing.registry import Registered, has_issuer, locked_of, project_exists
from gateway.writer import CatalogueWriter
from shared.auth.directory import scope_to
from shared.auth.principal import Scope, Verb
from shared.auth.tokens import MINTED_PREFIX, PUBLISHER_FORMAT_VERSION, new_secret, token_sha256
from shared.catalogue.tables import Publisher, Token, UsedIdentity
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import Clock
from shared.ids import TokenId, new_uuid

LIFETIME = timedelta(minutes=15)
"""How long a minted token is good. Source: contract python-index section 3.5."""

_MOST = 500
"""Publishers that one identity may be registered as."""

_REMEMBERED = timedelta(seconds=LEEWAY + 5)
"""How long after its expiry it is remembered that an identity token was used. Source: as above, section 3.3."""

_KINDS = {"github": "GitHub", "gitlab": "GitLab", "generic": "generic"}
"""Kind -> how attestations name it (`services.upload.attestation_rules`), which know no generic ones."""

Vouches = Callable[[Registered], bool]
"""Whether whoever registered a publisher still may upload where it publishes."""


@dataclass(frozen=True, slots=True)
class Minted:
    """An upload token; `secret` is kept nowhere."""

    secret: str
    expires_at: datetime
    projects: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Minted(expires_at={self.expires_at}, projects={self.projects})"


class Exchange(CatalogueWriter):
    """Mints tokens and burns them."""

    def __init__(self, engine: AsyncEngine, clock: Clock, issuers: Issuers, *, audience: str, vouches: Vouches) -> None:
        super().__init__(engine, clock, actor="trusted-publishing")
        self._issuers = issuers
        self._audience = audience
        self._vouches = vouches

    async def mint(self, text: str) -> Minted:
        """Exchange an identity token.

        Raises:
            MintRefused: with the code and the sentence for the job's log.
        """
        token = read_unverified(text)
        async with self._engine.connect() as connection:
            known = await has_issuer(connection, token.issuer)
        if not known:
            said = f"No publisher is registered here with the issuer {shown(token.issuer)}."
            raise MintRefused("invalid-payload", said)
        key = await self._issuers.key(token.issuer, token.key_id)
        now = self._clock.now()
        identity = verify(token, key, audience=self._audience, now=now.timestamp())
        async with UnitOfWork(self._engine) as work:
            await self._use_up(work, identity, now)
            chosen = await self._choose(work, identity.claims, now)
            minted = await self._insert(work, chosen, identity.claims, now)
            await self._commit(work)
        return minted

    async def burn(self, text: str) -> None:
        """Revoke a token that an exchange made; whatever else it is told of stays as it is."""
        digest = token_sha256(text)
        if digest is None:
            return
        async with UnitOfWork(self._engine) as work:
            which = (Token.secret_sha256 == digest, Token.format_version == PUBLISHER_FORMAT_VERSION)
            revoked = await work.connection.scalar(
                update(Token)
                .where(*which, Token.revoked_at.is_(None))
                .values(revoked_at=self._clock.now())
                .returning(Token.id)
            )
            if revoked is not None:
                await self._record(work, "publisher.burn", str(revoked))
                await self._commit(work)

    async def _use_up(self, work: UnitOfWork, identity: IdentityToken, now: datetime) -> None:
        """Note that a token is used: of exchanges at the same time one goes on, and the others wait for its end."""
        forget_at = datetime.fromtimestamp(identity.expires, UTC) + _REMEMBERED
        row = pg_insert(UsedIdentity).values(sha256=identity.sha256, used_at=now, forget_at=forget_at)
        first = row.on_conflict_do_nothing().returning(UsedIdentity.sha256)
        if await work.connection.scalar(first) is None:
            said = "This identity token was exchanged already (jti): ask for a new one, each job for its own."
            raise MintRefused("invalid-reuse-token", said)

    async def _choose(self, work: UnitOfWork, claims: Mapping[str, Any], now: datetime) -> list[Registered]:
        """Return the publishers that a token is of, one for each project, by index and project.

        Raises:
            MintRefused: invalid-publisher or invalid-pending-publisher.
        """
        found = await locked_of(work.connection, claims["iss"], subjects_of(claims), limit=_MOST)
        own = [one for one in found if one.identity.issuer == claims["iss"] and is_found(one.identity, claims)]
        candidates = [one for one in own if not one.is_expired(now)]
        if not candidates:
            subject = claims.get("repository") or claims.get("project_path") or claims["sub"]
            raise MintRefused("invalid-publisher", f"No publisher is registered here for {shown(subject)}.")
        faults = {one.id: faults_of(one.identity, one.pinned, claims) for one in candidates}
        matching = [one for one in candidates if not faults[one.id]]
        if not matching:
            least = min((faults[one.id] for one in candidates), key=len)
            raise MintRefused("invalid-publisher", f"The token is of no registered publisher: {'; '.join(least)}.")
        vouched = [one for one in matching if self._vouches(one)]
        if not vouched:
            said = "Whoever registered this publisher may not upload there any more: register it anew."
            raise MintRefused("invalid-publisher", said)
        untaken = [one for one in vouched if one.pending_until is None or not await self._taken(work, one)]
        if not untaken:
            said = "The project was made by somebody else while its publisher waited for it: register it anew."
            raise MintRefused("invalid-pending-publisher", said)
        return _most_specific(untaken)

    async def _taken(self, work: UnitOfWork, one: Registered) -> bool:
        return await project_exists(work.connection, one.index_id, one.life, one.project)

    async def _insert(
        self, work: UnitOfWork, chosen: Sequence[Registered], claims: Mapping[str, Any], now: datetime
    ) -> Minted:
        first = max(chosen, key=lambda one: (one.identity.kind != "generic", one.identity.specificity))
        name = name_of(first.identity, claims)
        kept = kept_of(first.identity, claims)
        for one in chosen:
            await self._used(work, one, name, claims, now)
        secret, token_id, expires_at = new_secret(), TokenId(new_uuid()), now + LIFETIME
        scopes = [scope_to(Scope(one.index, one.project, frozenset([Verb.UPLOAD]))) for one in chosen]
        ids = [str(one.id) for one in chosen]
        publisher = {"kind": _KINDS[first.identity.kind], "name": name, "claims": kept, "publishers": ids}
        environment = claims.get("environment")
        await work.connection.execute(
            insert(Token).values(
                id=token_id,
                secret_sha256=token_sha256(secret),
                format_version=PUBLISHER_FORMAT_VERSION,
                account=first.account,
                label=f"trusted publisher {name}"[:100],
                scopes=scopes,
                created_at=now,
                expires_at=expires_at,
                publisher=publisher | ({"environment": environment} if isinstance(environment, str) else {}),
            )
        )
        projects = tuple(f"{one.index}/{one.project}" for one in chosen)
        told = {"publisher": name, "publishers": ids, "projects": list(projects), "claims": kept}
        await self._record(work, "publisher.mint", str(token_id), **told)
        return Minted(f"{MINTED_PREFIX}{secret}", expires_at, projects)

    async def _used(
        self, work: UnitOfWork, one: Registered, name: str, claims: Mapping[str, Any], now: datetime
    ) -> None:
        """Note a publisher's use; at the first one pin the ids, and drop what others wait for."""
        pinned = pins_of(one.identity, claims) | one.pinned
        changed = {"used_at": now, "pinned": pinned, "pending_until": None}
        await work.connection.execute(update(Publisher).where(Publisher.id == one.id).values(changed))
        if one.pending_until is not None:
            others = (Publisher.index_id == one.index_id, Publisher.life == one.life, Publisher.project == one.project)
            waiting = (*others, Publisher.id != one.id, Publisher.pending_until.is_not(None))
            dropped = await work.connection.execute(
                update(Publisher)
                .where(*waiting, Publisher.account != one.account, Publisher.removed_at.is_(None))
                .values(removed_at=now, removed_by=name)
                .returning(Publisher.id)
            )
            for publisher_id in dropped.scalars():
                told = {"project": one.project, "why": "another publisher got the project", "by": str(one.id)}
                await self._record(work, "publisher.remove", str(publisher_id), **told)
            own = (*waiting, Publisher.account == one.account, Publisher.removed_at.is_(None))
            await work.connection.execute(update(Publisher).where(*own).values(pending_until=None))
        if one.used_at is None:
            place = {"index": str(one.index), "project": one.project, "pending": one.pending_until is not None}
            await self._record(work, "publisher.first-use", str(one.id), **place, publisher=name, pinned=pinned)


def _most_specific(matching: Sequence[Registered]) -> list[Registered]:
    """Return of each project the publisher that demands most, the older one of equals; by index and project."""
    best: dict[tuple[str, str], Registered] = {}
    for one in sorted(matching, key=lambda one: one.id):
        place = (str(one.index), one.project)
        if place not in best or one.identity.specificity > best[place].identity.specificity:
            best[place] = one
    return [best[place] for place in sorted(best)]
