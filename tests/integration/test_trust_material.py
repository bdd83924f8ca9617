"""What attestations are judged by: that which the newest file of trust names, as far as the key holders signed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import Sha256, sha256_of
from shared.attesting.processes import Verifying
from shared.attesting.trusted import Trusted, TrustRefused
from shared.catalogue.tables import TrustFile, TrustTarget
from shared.errors import ErrorKind
from shared.metrics import Metrics
from tests.support.clock import SettableClock
from tests.support.simulator import Deployment, signers
from tests.support.trust_targets import HOLDERS, publish_trust, signed_files, write_trust

POLICY, ROOT, OTHER, CONFIG = b"schema: policy/v1\n", b'{"a": 1}', b'{"b": 2}', b'{"c": 3}'
LAX = b"schema: policy/v1\npackages: []\n"


class Counted(Verifying):
    """Verifies, and counts what it was asked."""

    asked = 0

    async def ask(self, question: Mapping[str, Any], about: str, seconds: float) -> Any:
        """Return the answer."""
        self.asked += 1
        return await super().ask(question, about, seconds)


class Server:
    """A process that judges, over a catalogue."""

    def __init__(self, engine: AsyncEngine, verifying: Counted, first_root: Sha256 | None = None) -> None:
        self.verifying = verifying
        self.clock, self.metrics = SettableClock(), Metrics()
        self.trusted = Trusted(engine, verifying, self.clock, self.metrics, first_root)

    async def material(self) -> TrustMaterial:
        """Return what it judges by."""
        return await self.trusted.material()

    async def refuses(self, why: str, words: str) -> None:
        """It judges by nothing, says so, and raises the alarm."""
        before = self._refused(why)
        with pytest.raises(TrustRefused, match=words) as refused:
            await self.material()
        assert refused.value.kind is ErrorKind.UNAVAILABLE
        assert self._refused(why) == before + 1

    def _refused(self, why: str) -> float:
        line = f'countermark_trust_refused_total{{why="{why}"}} '
        found = [one for one in self.metrics.text().decode().splitlines() if one.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0


@pytest.fixture
async def verifying() -> AsyncIterator[Counted]:
    """Return the process that verifies."""
    opened = Counted()
    async with opened:
        yield opened


@pytest.fixture
def server(engine: AsyncEngine, verifying: Counted) -> Server:
    """Return a process that has seen nothing yet."""
    return Server(engine, verifying)


async def test_nothing_is_signed_at_first(engine: AsyncEngine, server: Server) -> None:
    """Without a file of trust, and with an empty one, there is neither policy nor root."""
    assert await server.material() == TrustMaterial()
    await publish_trust(engine, 1, {})
    assert await server.material() == TrustMaterial(version=1)


async def test_policy_and_roots_are_what_the_newest_file_names(engine: AsyncEngine, server: Server) -> None:
    """An older version counts no more, and the signing configuration is none of it."""
    await publish_trust(engine, 1, {"trusted_root.json": OTHER})
    targets = {"trust/policy.yaml": POLICY, "trusted_root.json": ROOT, "trust/company.json": OTHER}
    await publish_trust(engine, 2, targets | {"signing_config.v0.2.json": CONFIG})
    wanted = {"trusted_root.json": ROOT, "trust/company.json": OTHER}
    assert await server.material() == TrustMaterial(POLICY, wanted, 2)


async def test_without_a_policy_roots_are_known_by_their_names(engine: AsyncEngine, server: Server) -> None:
    """Nothing else says then which documents are roots."""
    await publish_trust(engine, 1, {"trust/private.trusted_root.json": ROOT, "trust/other.json": OTHER})
    assert await server.material() == TrustMaterial(None, {"trust/private.trusted_root.json": ROOT}, 1)


async def test_bytes_that_are_not_there_are_an_error(engine: AsyncEngine, server: Server) -> None:
    """Nothing is judged by half of what was signed."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY}, keep=False)
    await server.refuses("bytes", r"trust/policy\.yaml")


async def test_bytes_that_are_not_those_that_were_signed_are_an_error(engine: AsyncEngine, server: Server) -> None:
    """A policy that somebody wrote over in the catalogue is none: nothing is judged by it."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
    async with engine.begin() as connection:
        await connection.execute(update(TrustTarget).values(content=b"schema: other\n"))
    await server.refuses("bytes", r"trust/policy\.yaml in the catalogue is not what trust names")


async def test_it_is_verified_once_for_each_version(engine: AsyncEngine, server: Server) -> None:
    """A warm upload asks no process, however many come at once; the next version is verified again."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
    first = await asyncio.gather(*(server.material() for _ in range(5)))
    assert all(one is first[0] for one in first)
    assert await server.material() is first[0]
    assert server.verifying.asked == 1
    await publish_trust(engine, 2, {})
    assert await server.material() == TrustMaterial(version=2)
    assert server.verifying.asked == 2


class TestWhoeverWritesTheCatalogue:
    """Somebody with the catalogue's password wants uploads judged by a policy of his own."""

    @staticmethod
    def written(files: Any, policy: bytes) -> bytes:
        """Return a file of trust that names another policy, with the signatures that it had."""
        trust = orjson.loads(files.trust)
        named = {"length": len(policy), "hashes": {"sha256": sha256_of(policy)}}
        trust["signed"]["targets"] = {"trust/policy.yaml": named}
        trust["signed"]["version"] = 2
        return orjson.dumps(trust)

    async def test_a_file_that_nobody_signed(self, engine: AsyncEngine, server: Server) -> None:
        """Its policy is not applied: not by a process that knew better, nor by a new one."""
        await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
        await server.material()
        await publish_trust(engine, 2, {"trust/policy.yaml": LAX})
        files = signed_files(1, {"trust/policy.yaml": POLICY})
        await write_trust(engine, 2, replace(files, trust=self.written(files, LAX)))
        await server.refuses("signature", r"trust\.json is not signed as it has to be")
        await Server(engine, server.verifying).refuses("signature", "trust")

    async def test_one_holder_is_not_enough(self, engine: AsyncEngine, server: Server) -> None:
        """The threshold of two counts."""
        files = signed_files(2, {"trust/policy.yaml": LAX})
        trust = orjson.loads(files.trust)
        trust["signatures"] = trust["signatures"][:1]
        await write_trust(engine, 2, replace(files, trust=orjson.dumps(trust)))
        await server.refuses("signature", "trust")

    async def test_targets_that_name_other_holders(self, engine: AsyncEngine, server: Server) -> None:
        """Who may sign for trust is said by who may sign for targets."""
        thief = Deployment()
        thief.roots, thief.keys["root"] = list(HOLDERS.roots), HOLDERS.keys["root"]
        await publish_trust(engine, 2, {"trust/policy.yaml": LAX}, holders=thief)
        await server.refuses("signature", r"targets\.json is not signed")

    async def test_a_root_that_the_one_before_does_not_know(self, engine: AsyncEngine, server: Server) -> None:
        """A chain of roots has no foreign link."""
        thief = Deployment()
        thief.roots = [HOLDERS.roots[0]]
        thief.sign_root()
        await publish_trust(engine, 2, {"trust/policy.yaml": LAX}, holders=thief)
        await server.refuses("signature", "root")

    async def test_a_gap_among_the_roots(self, engine: AsyncEngine, server: Server) -> None:
        """What cannot be walked is not believed."""
        holders = Deployment()
        holders.sign_root()
        await publish_trust(engine, 1, {}, holders=holders)
        async with engine.begin() as connection:
            await connection.execute(delete(TrustFile).where(TrustFile.role == "root", TrustFile.version == 1))
        await server.refuses("bytes", "version 1 of root")

    async def test_another_first_root(self, engine: AsyncEngine, server: Server) -> None:
        """A whole tree of other keys is refused by who saw the first or was told of it, not by a new process."""
        await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
        await server.material()
        await publish_trust(engine, 1, {"trust/policy.yaml": LAX}, holders=Deployment())
        await server.refuses("anchor", "this process saw before")
        told = Server(engine, server.verifying, sha256_of(HOLDERS.roots[0]))
        await told.refuses("anchor", "the settings name")
        assert (await Server(engine, server.verifying).material()).policy == LAX

    async def test_an_older_version(self, engine: AsyncEngine, server: Server) -> None:
        """What was replaced, genuine as it is, is not applied again by who saw the newer one."""
        await publish_trust(engine, 2, {"trust/policy.yaml": POLICY})
        await server.material()
        await publish_trust(engine, 1, {"trust/policy.yaml": LAX})
        await server.refuses("older", "has version 1, this process has seen version 2")
        await publish_trust(engine, 3, {"trust/policy.yaml": POLICY})
        assert (await server.material()).version == 3

    @pytest.mark.parametrize("is_set", [False, True])
    async def test_all_of_it_taken_away(self, engine: AsyncEngine, server: Server, *, is_set: bool) -> None:
        """No policy is not what there was, for a process that saw one or was told of the first root."""
        if is_set:
            server = Server(engine, server.verifying, sha256_of(HOLDERS.roots[0]))
        else:
            await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
            await server.material()
        async with engine.begin() as connection:
            await connection.execute(delete(TrustFile))
        await server.refuses("bytes", "no file of")

    async def test_a_target_that_trust_may_not_sign(self, engine: AsyncEngine, server: Server) -> None:
        """What targets delegates to another role is not taken from trust."""
        await publish_trust(engine, 1, {"pointers/widget/x.pointer": POLICY})
        await server.refuses("signature", "trust may not sign pointers")


async def test_a_new_root_of_the_same_chain_is_followed(engine: AsyncEngine, server: Server) -> None:
    """Holders change by ceremony: who knew the first root knows the new ones."""
    holders = Deployment()
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY}, holders=holders)
    await server.material()
    old, holders.keys["root"] = holders.keys["root"], signers("root")
    holders.keys["targets"], holders.keys["trust"] = signers("targets"), signers("trust")
    holders.sign_root(extra=old)
    await publish_trust(engine, 2, {"trust/policy.yaml": LAX}, holders=holders)
    assert (await server.material()).policy == LAX


async def test_an_expired_file_stops_with_words(engine: AsyncEngine, server: Server) -> None:
    """Clients refuse it too: it is said which role it is and what its holders do, and their signature ends it."""
    await publish_trust(engine, 1, {"trust/policy.yaml": POLICY})
    await server.material()
    server.clock.advance(timedelta(days=200))
    await server.refuses("expired", r"version 1 of targets expired on .*countermark ceremony propose targets --renew")
    server.clock.advance(timedelta(days=-200))
    assert (await server.material()).policy == POLICY


async def test_garbage_is_no_file(engine: AsyncEngine, server: Server) -> None:
    """Whatever the rows hold, the answer is that nothing is judged."""
    files = signed_files(1, {})
    for number, bad in enumerate((b"", b"{}", b"[" * 100_000, HOLDERS.roots[0]), start=1):
        await write_trust(engine, number, replace(files, trust=bad))
        await server.refuses("signature", "trust")


async def test_files_that_are_too_long_are_not_read(engine: AsyncEngine, server: Server) -> None:
    """A row of any size is refused before it is loaded."""
    files = signed_files(1, {})
    await write_trust(engine, 1, replace(files, targets=b" " * 600_000))
    await server.refuses("bytes", "version 1 of targets, or it is too long")
    await write_trust(engine, 1, replace(files, targets=b" " * 8_100_000))
    await server.refuses("bytes", "more than")
