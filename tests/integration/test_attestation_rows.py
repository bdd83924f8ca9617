"""Attestations in the catalogue, on a real Postgres: one of each, at most one named, none lost."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from shared.catalogue import attestations
from shared.catalogue.attestations import BUNDLE, MOST, NewAttestation, TooMany
from shared.catalogue.tables import ProvenanceDue, StoredObject
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index, now

SLSA = "https://slsa.dev/provenance/v1"


def attestation(index: MadeIndex, file: MadeFile, number: int, *, named: bool = False) -> NewAttestation:
    """Return one that was never kept."""
    return NewAttestation(
        index_id=index.id,
        file_id=file.id,
        file_name=file.file_name,
        sha256=Sha256(f"{number:064x}"),
        length=Length(1000 + number),
        predicate_type=SLSA,
        origin=BUNDLE,
        publisher=None,
        facts={"predicate_type": SLSA},
        named=named,
        added_at=now() + timedelta(seconds=number),
        added_by="root",
        token_id=None,
    )


async def kept(engine: AsyncEngine, new: NewAttestation) -> bool:
    """Keep one in a transaction of its own."""
    async with engine.begin() as connection:
        return await attestations.insert(connection, "public", new)


async def test_one_is_kept_once_with_its_object(engine: AsyncEngine) -> None:
    """The same bytes again add nothing; what is kept comes back, and the store's table has its bytes."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    new = attestation(index, file, 1, named=True)
    assert [await kept(engine, new) for _ in range(2)] == [True, False]
    async with engine.connect() as connection:
        (stored,) = await attestations.of_file(connection, file.id)
        objects = (await connection.execute(select(StoredObject.file_name, StoredObject.sha256))).all()
    assert (stored.sha256, stored.named, stored.facts) == (new.sha256, True, {"predicate_type": SLSA})
    assert (f"{file.file_name}.sigstore.json", new.sha256) in [(row.file_name, row.sha256) for row in objects]


async def test_what_is_kept_is_due(engine: AsyncEngine) -> None:
    """Each attestation leaves one mark in its own transaction; what was there already leaves none."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    for number in (1, 1, 2):
        await kept(engine, attestation(index, file, number))
    async with engine.connect() as connection:
        rows = (await connection.execute(select(ProvenanceDue.project_id, ProvenanceDue.file_id))).all()
    assert [tuple(row) for row in rows] == [(file.project_id, file.id)] * 2


async def test_a_newer_named_one_takes_the_place_of_the_older(engine: AsyncEngine) -> None:
    """A pointer names one; the others stay, oldest first."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    for number in (1, 2):
        await kept(engine, attestation(index, file, number, named=True))
    await kept(engine, attestation(index, file, 3))
    async with engine.connect() as connection:
        found = (await attestations.of_files(connection, [file.id]))[file.id]
    assert [one.named for one in found] == [False, True, False]


async def test_a_file_has_no_more_than_its_number(engine: AsyncEngine) -> None:
    """Also of many that come at once, as many are kept as one file may have; one that is there is no fault."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    many = [kept(engine, attestation(index, file, number)) for number in range(MOST + 4)]
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert outcomes.count(True) == MOST
    assert sum(isinstance(outcome, TooMany) for outcome in outcomes) == 4
    async with engine.connect() as connection:
        there = (await attestations.of_file(connection, file.id))[0]
    assert not await kept(engine, replace(attestation(index, file, 99), sha256=there.sha256))


async def test_provenance_is_remembered_of_a_project(engine: AsyncEngine) -> None:
    """A project had provenance when a file of it had, but files are not judged by those that came later."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    other = await make_file(engine, index, "gadget-1.0-py3-none-any.whl")
    await kept(engine, attestation(index, file, 1))
    async with engine.connect() as connection:
        assert await attestations.had_provenance(connection, file.project_id)
        assert not await attestations.had_provenance(connection, other.project_id)
        before = now() - timedelta(days=1)
        assert not await attestations.had_provenance(connection, file.project_id, before=before)


async def test_no_file_has_nothing(engine: AsyncEngine) -> None:
    """Files without attestations are left out."""
    index = await make_index(engine)
    file = await make_file(engine, index, "widget-1.0-py3-none-any.whl")
    async with engine.connect() as connection:
        assert await attestations.of_files(connection, [file.id]) == {}
        assert await attestations.of_files(connection, []) == {}
        assert await attestations.of_file(connection, file.id) == []


@pytest.mark.parametrize("name", ["widget-1.0-py3-none-any.whl", "anything.bin"])
def test_bundles_lie_beside_files(name: str) -> None:
    """Their object's name is the file's and a suffix."""
    assert attestations.object_name(FileName(name)) == f"{name}.sigstore.json"
