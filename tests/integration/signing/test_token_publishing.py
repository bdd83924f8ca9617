"""Publication with the online keys on a real token (SoftHSM 2), and what it leaves undone without them.

Row 30 of the attack table: token away, wrong PIN, URI and key that do not belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.making import FoundKey, find_key
from services.signing.keys.readiness import KeyCheck
from services.signing.keys.signers import ONLINE
from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Outbox, TufFile
from shared.http import NotReady
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from shared.trust.roles import Role
from tests.integration.signing.changes import enqueue, upload
from tests.support.factories import MadeIndex, make_index
from tests.support.resources import service_resources
from tests.support.softhsm import SOFTHSM, MadeToken, TokenShelf
from tests.support.token_keys import make_trust, with_signing
from tests.support.tuf_reader import TreeReader


@pytest.fixture
def token(token_shelf: TokenShelf) -> MadeToken:
    """A token with the three online keys, which this process has not used."""
    made = token_shelf.new_token()
    made.run(
        f"""
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.making import make_key
import os
access = KeyAccess(environ=os.environ, secret=lambda wanted: {made.pin!r})
result = [make_key({made.uri()!r}, access).uri for _ in range(3)]
"""
    )
    return made


@pytest.fixture
def keys(token: MadeToken) -> dict[Role, FoundKey]:
    """The online keys."""
    return {role: find_key(token.uri(number), token.access()) for number, role in enumerate(ONLINE, 2)}


@pytest.fixture
async def bare(engine: AsyncEngine, tmp_path: Path, keys: Mapping[Role, FoundKey]) -> AsyncIterator[Resources]:
    """A deployment that knows the keys and not the PIN."""
    async with service_resources(engine, tmp_path) as opened:
        await make_trust(opened, tmp_path / "offline", keys)
        yield with_signing(opened, module=SOFTHSM)


@pytest.fixture
def ready(bare: Resources, token: MadeToken) -> Resources:
    """The same with the PIN."""
    return with_signing(bare, secrets={f"token:{token.label}": token.pin}, module=SOFTHSM)


@pytest.fixture
async def index(bare: Resources) -> MadeIndex:
    """A stage index with one upload that waits."""
    made = await make_index(bare.engine)
    await enqueue(bare, PublishIndex(made.id))
    await upload(bare, made, "widget-1.0-py3-none-any.whl")
    return made


async def state(resources: Resources, folder: Path) -> tuple[dict[str, str], int, int]:
    """Return every laid file with its digest, how many signed files the catalogue has, and how many changes wait."""
    tree = folder / "public/indexes"
    laid = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in tree.rglob("*") if path.is_file()}
    async with resources.engine.connect() as connection:
        signed = await connection.scalar(select(func.count()).select_from(TufFile))
        waiting = await connection.scalar(select(func.count()).select_from(Outbox).where(Outbox.done_at.is_(None)))
    return laid, signed or 0, waiting or 0


async def test_an_index_is_published_with_keys_on_a_token(
    ready: Resources, index: MadeIndex, keys: Mapping[Role, FoundKey], tmp_path: Path
) -> None:
    """Bins, snapshot and timestamp are signed by the token, and stock python-tuf accepts them."""
    await KeyCheck(ready)()
    await Publisher(ready).publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    reader = TreeReader(tree, tmp_path / "cache")
    assert reader.target("pointers/widget/widget-1.0-py3-none-any.whl.pointer") is not None
    assert keys[Role.TIMESTAMP].key.keyid in (tree / "metadata/timestamp.json").read_text()
    assert list((tmp_path / "offline").iterdir()) == []


async def test_a_token_that_is_away_stops_publishing(
    ready: Resources, index: MadeIndex, token: MadeToken, tmp_path: Path
) -> None:
    """Nothing is written while it is away; when it is back, the next job publishes what waited."""
    publisher = Publisher(ready)
    await publisher.publish(index.id)
    await upload(ready, index, "widget-1.1-py3-none-any.whl")
    before = await state(ready, tmp_path)
    token.take_away()
    for _ in range(2):
        with pytest.raises(KeyUnusable, match=r"key [0-9a-f]{16} of role [a-z]+ cannot be used"):
            await publisher.publish(index.id)
    with pytest.raises(NotReady, match="cannot be used"):
        await KeyCheck(ready)()
    assert await state(ready, tmp_path) == before
    token.put_back()
    await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target("pointers/widget/widget-1.1-py3-none-any.whl.pointer") is not None


async def test_a_wrong_pin_stops_publishing(
    bare: Resources, index: MadeIndex, token: MadeToken, tmp_path: Path
) -> None:
    """Nothing is written, the process says what to do, and does not try again, not even with the right PIN."""
    before = await state(bare, tmp_path)
    wrong = with_signing(bare, secrets={f"token:{token.label}": "00000000"}, module=SOFTHSM)
    right = with_signing(bare, secrets={f"token:{token.label}": token.pin}, module=SOFTHSM)
    for resources in (wrong, wrong, right):
        with pytest.raises(KeyUnusable, match="refused its PIN, and is not tried again") as caught:
            await Publisher(resources).publish(index.id)
        assert "00000000" not in str(caught.value)
        with pytest.raises(NotReady, match="refused its PIN"):
            await KeyCheck(resources)()
    assert await state(bare, tmp_path) == before


async def test_a_pin_that_is_not_configured(bare: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """The words say under which name it belongs."""
    before = await state(bare, tmp_path)
    with pytest.raises(KeyUnusable, match=r'PIN of token t-[0-9a-f]+ is not configured.*signing.secrets, as "token:t-'):
        await Publisher(bare).publish(index.id)
    assert await state(bare, tmp_path) == before


async def test_a_uri_of_another_key_stops_publishing(
    ready: Resources, index: MadeIndex, keys: Mapping[Role, FoundKey], token: MadeToken, tmp_path: Path
) -> None:
    """A line of `signing.uris` that points at another role's key is refused before anything is signed with it."""
    before = await state(ready, tmp_path)
    secrets = {f"token:{token.label}": token.pin}
    crossed = {keys[Role.SNAPSHOT].key.keyid: keys[Role.BINS].uri}
    with pytest.raises(KeyUnusable, match=r"of role snapshot cannot be used.*another key than the public one"):
        await Publisher(with_signing(ready, secrets=secrets, uris=crossed, module=SOFTHSM)).publish(index.id)
    with pytest.raises(KeyUnusable, match=r"names key 0{16}, which this deployment does not have"):
        await Publisher(with_signing(ready, uris={"0" * 64: "hsm:2"}, module=SOFTHSM)).publish(index.id)
    assert await state(ready, tmp_path) == before
    straight = {key.key.keyid: key.uri for key in keys.values()}
    await Publisher(with_signing(ready, secrets=secrets, uris=straight, module=SOFTHSM)).publish(index.id)
    assert TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache").versions()["timestamp"] >= 1
