"""What is attested of hosted files is served: provenance objects in two places, and the bundles themselves.

Contract python-index sections 1.8 and 4.1; architecture sections 11.4, 11.5 and 11.8.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from pypi_attestations import GitHubPublisher, Provenance
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import file_key
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.family import Family
from tests.support.factories import MadeFile, make_default, make_token, now
from tests.support.kept_bundles import Keeper
from tests.support.reading import Reading, basic
from tests.support.sigstore.instance import SLSA, Instance, statement

CONTENT = b"wheel of 1.0"
INTEGRITY = "application/vnd.pypi.integrity.v1+json"


@dataclass(slots=True)
class Hosted:
    """An index with one attested file, and a stage based on it."""

    family: Family
    client: httpx2.AsyncClient
    file: MadeFile
    keeper: Keeper
    bundle: bytes
    digest: str

    @property
    def tuf_path(self) -> str:
        """Where the bundle is, as the `uri` of a pointer says."""
        return f"+tuf/files/{self.digest[:2]}/{self.digest[2:]}/{WHEEL}.sigstore.json"


@pytest.fixture(scope="module")
def instance() -> Instance:
    """A private Sigstore instance."""
    return Instance()


@pytest.fixture
async def hosted(
    engine: AsyncEngine, reading: Reading, stores: ObjectStores, instance: Instance
) -> AsyncIterator[Hosted]:
    """The default index `root/stable` with an attested wheel; `a/top` is based on it."""
    family = Family(engine, reading, stores)
    stable = await family.make("root/stable")
    await make_default(engine, stable.index)
    await family.make("a/top", "root/stable")
    file = await family.publish("root/stable", WHEEL, CONTENT)
    keeper = Keeper(engine, stores, stable.index)
    bundle = json.dumps(instance.sign(statement(WHEEL, CONTENT, SLSA))).encode()
    digest = await keeper.keep(file, bundle, named=True)
    await reading.news()
    async with reading.client() as client:
        yield Hosted(family, client, file, keeper, bundle, digest)


def integrity(prefix: str = "/root/stable", version: str = "1.0", name: str = WHEEL) -> str:
    """Return the address of the integrity API for a file of `thing`."""
    return f"{prefix}/+integrity/thing/{version}/{name}/provenance"


async def test_object(hosted: Hosted) -> None:
    """The object is at the file's address and under its name, directly and inherited, and stock code reads it."""
    first = await hosted.client.get(f"/root/stable/+f/{hosted.file.path}.provenance")
    assert first.status_code == 200, first.text
    assert first.headers["content-type"] == INTEGRITY
    assert first.headers["etag"] == f'"{sha256_of(first.content)}"'
    assert first.headers["cache-control"] == "public, max-age=600"
    [bundle] = Provenance.model_validate_json(first.content).attestation_bundles
    assert isinstance(bundle.publisher, GitHubPublisher)
    assert bundle.publisher.repository == "acme/thing"
    assert json.loads(first.content)["attestation_bundles"][0]["publisher"]["claims"]
    for path in (
        f"/a/top/+f/{hosted.file.path}.provenance",
        f"/+f/{hosted.file.path}.provenance",
        integrity(),
        integrity("/a/top"),
        integrity(""),
        integrity(version="1.0.0"),
        integrity().replace("/thing/", "/Thing/"),
    ):
        answer = await hosted.client.get(path)
        assert (answer.status_code, answer.content) == (200, first.content), path
        assert answer.headers["content-type"] == INTEGRITY


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (INTEGRITY, INTEGRITY),
        ("application/json", "application/json"),
        (f"application/json;q=0.5, {INTEGRITY}", INTEGRITY),
        ("*/*", INTEGRITY),
        ("text/html", None),
        ("application/json;q=0", None),
    ],
)
async def test_types(hosted: Hosted, accept: str, expected: str | None) -> None:
    """Two types are offered; whoever takes neither is told 406 with a message."""
    answer = await hosted.client.get(integrity(), headers={"accept": accept})
    if expected is None:
        assert answer.status_code == 406
        assert INTEGRITY in answer.json()["message"]
        return
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    assert "Accept" in answer.headers.get_list("vary")
    again = await hosted.client.get(integrity(), headers={"accept": accept, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_none(hosted: Hosted, instance: Instance) -> None:
    """Without an attestation, or with one that PEP 740 cannot express, there is no object: 404 with a message."""
    plain = await hosted.family.publish("root/stable", "thing-2.0.tar.gz", b"2")
    for _ in range(2):
        answer = await hosted.client.get(integrity(version="2.0", name="thing-2.0.tar.gz"))
        assert answer.status_code == 404
        assert answer.json()["message"] == "There is no provenance for thing-2.0.tar.gz."
        signed = instance.sign(statement("thing-2.0.tar.gz", b"2", SLSA))
        await hosted.keeper.keep(plain, signed, log="v2")
    for path in (integrity(version="9.9"), integrity(name="thing-9.9.tar.gz"), "/root/stable/+integrity/thing"):
        answer = await hosted.client.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["message"])
    assert (await hosted.client.post(integrity())).status_code == 405


async def test_bundle(hosted: Hosted) -> None:
    """What the pointer's attestation names is at its `uri`, for ever the same bytes; not under a digest of its own."""
    answer = await hosted.client.get(f"/root/stable/{hosted.tuf_path}")
    assert (answer.status_code, answer.content) == (200, hosted.bundle)
    assert "immutable" in answer.headers["cache-control"]
    wrong = hosted.tuf_path.replace(hosted.digest[2:6], "0000")
    assert (await hosted.client.get(f"/root/stable/{wrong}")).status_code == 404
    other = hosted.tuf_path.replace(WHEEL, "thing-1.1-py3-none-any.whl")
    assert (await hosted.client.get(f"/root/stable/{other}")).status_code == 404
    assert (await hosted.client.get(f"/a/top/{hosted.tuf_path}")).status_code == 404, "bases have their own trees"


async def test_marks(hosted: Hosted) -> None:
    """What is attested of a held file is 403 with the reason, of a removed one 410, as the file itself."""
    places = [f"/root/stable/+f/{hosted.file.path}.provenance", f"/root/stable/{hosted.tuf_path}", integrity()]
    await hosted.family.hide("root/stable", hosted.file, held_at=now(), held_reason="looks bad")
    for path in places:
        answer = await hosted.client.get(path)
        assert answer.status_code == 403, path
        assert "looks bad" in answer.text
    await hosted.family.indexes["root/stable"].mark(hosted.file, removed_at=now())
    await hosted.family.indexes["root/stable"].publish(again=[hosted.file])
    await hosted.family.reading.news()
    for path in places:
        assert (await hosted.client.get(path)).status_code == 410, path


async def test_waiting(hosted: Hosted, instance: Instance) -> None:
    """What is attested of a file that no publication shows is not there, as the file: it may wait for approvals."""
    name, content = "thing-2.0-py3-none-any.whl", b"wheel of 2.0"
    file = await hosted.family.indexes["root/stable"].upload(name, content)
    digest = await hosted.keeper.keep(file, json.dumps(instance.sign(statement(name, content, SLSA))).encode())
    bundle = f"+tuf/files/{digest[:2]}/{digest[2:]}/{name}.sigstore.json"
    for index in ("root/stable", "a/top"):
        for path in (
            f"/{index}/+f/{file.path}",
            f"/{index}/+f/{file.path}.provenance",
            f"/{index}/{bundle}",
            integrity(f"/{index}", "2.0", name),
        ):
            assert (await hosted.client.get(path)).status_code == 404, path


async def test_rights(hosted: Hosted, engine: AsyncEngine, stores: ObjectStores, instance: Instance) -> None:
    """Of a private index nobody else reads anything: 401 without credentials, 403 without the right, never 404."""
    secret = await hosted.family.make("root/secret", public=False)
    file = await hosted.family.publish("root/secret", WHEEL, CONTENT)
    await Keeper(engine, stores, secret.index).keep(file, hosted.bundle, named=True)
    owner, other = await make_token(engine), await make_token(engine, "stranger")
    await hosted.family.reading.news()
    for path in (f"/root/secret/{hosted.tuf_path}", integrity("/root/secret"), integrity("/root/secret", "0")):
        assert (await hosted.client.get(path)).status_code == 401
        answer = await hosted.client.get(path, headers={"authorization": basic("x", other)})
        assert answer.status_code == 403
    mine = {"authorization": basic("x", owner)}
    answer = await hosted.client.get(integrity("/root/secret"), headers=mine)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, max-age=600")
    assert (await hosted.client.get(f"/root/secret/{hosted.tuf_path}", headers=mine)).content == hosted.bundle


async def test_damage(hosted: Hosted, stores: ObjectStores) -> None:
    """A bundle that is not the bytes that were kept is served by nobody: 503."""
    key = file_key(hosted.digest, f"{WHEEL}.sigstore.json")  # type: ignore[arg-type]
    await stores.public.put(key, hosted.bundle[:-1] + b" ", Put.REPLACE)
    for path in (f"/root/stable/+f/{hosted.file.path}.provenance", f"/root/stable/{hosted.tuf_path}", integrity()):
        assert (await hosted.client.get(path)).status_code == 503, path
