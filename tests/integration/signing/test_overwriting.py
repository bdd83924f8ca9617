"""Files whose name is used again on a volatile index, signed for real and read back by stock python-tuf."""

import asyncio
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import Length, sha256_of
from countermark.core.names import FileName
from countermark.core.pointer import parse_pointer
from services.download.rules import FileWanted, refusal
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.auth.directory import IndexRecord
from shared.catalogue import overwriting, reading
from shared.catalogue.overwriting import Added, NameBurnt, NameTaken
from shared.catalogue.releases import NewFile
from shared.catalogue.tables import Audit, File, IndexRow, Journal, Outbox, PublishedFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind
from shared.formats.registry import FORMATS
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Put
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.integration.signing.changes import enqueue
from tests.support.factories import make_index, now
from tests.support.tuf_reader import TreeReader

NAME = FileName("widget-1.0-py3-none-any.whl")
POINTER = f"pointers/widget/{NAME}.pointer"
A, B = b"bytes A", b"other bytes B"


@pytest.fixture
async def index(resources: Resources) -> IndexRecord:
    """A volatile stage index whose first publication waits."""
    made = await make_index(resources.engine)
    async with resources.engine.begin() as connection:
        await connection.execute(update(IndexRow).values(volatile=True))
    await resources.directory.refresh()
    await enqueue(resources, PublishIndex(made.id))
    found = resources.directory.index_by_id(made.id)
    assert found is not None
    return found


def new_file(content: bytes, name: FileName = NAME) -> NewFile:
    """Return a file that was admitted."""
    return NewFile(
        coordinates=FORMATS["python"].parse_name(name),
        sha256=sha256_of(content),
        blake2b_256="b" * 64,
        md5="c" * 32,
        length=Length(len(content)),
        requires_python=None,
        core_metadata=None,
        fields={"summary": content.decode()},
        uploader="alice",
        token_id=None,
        uploaded_at=now(),
    )


async def add(resources: Resources, index: IndexRecord, content: bytes, name: FileName = NAME) -> Added:
    """Do what an upload does: bytes, rows, outbox."""
    new = new_file(content, name)
    await resources.objects.side(public=index.public).put(file_key(new.sha256, name), content, Put.REPLACE)
    async with UnitOfWork(resources.engine) as work:
        added = await overwriting.add_file(work.connection, index, new)
        if not added.there:
            await work.enqueue(added.message(index))
        await work.commit()
    return added


def pointed(reader: TreeReader) -> str | None:
    """Return the digest that the signed pointer names, having checked that the page lists the same file, once."""
    found = reader.target(POINTER)
    page = orjson.loads(reader.target("pointers/widget/_simple.json") or b'{"files":[]}')
    listed = [file["hashes"]["sha256"] for file in page["files"] if file["filename"] == NAME]
    digests = [] if found is None else [parse_pointer(found).file.digest]
    assert listed == digests
    return digests[0] if digests else None


async def served(resources: Resources, index: IndexRecord, content: bytes) -> ErrorKind | None:
    """Return why the address of some bytes is refused, None when it is served."""
    key = sha256_of(content)[:16]
    async with resources.engine.connect() as connection:
        facts = await reading.file_facts(connection, index.id, key, NAME)
    error = refusal(FileWanted(key, NAME, metadata=False), facts)
    return None if error is None else error.kind


async def history(engine: AsyncEngine, content: bytes) -> list[tuple[str, int]]:
    """Return the entries of a file's history that count replacements."""
    async with engine.connect() as connection:
        entries = await connection.scalar(select(File.history).where(File.sha256 == sha256_of(content)))
    return [(entry["what"], entry["count"]) for entry in entries or []]


@pytest.mark.parametrize("fresh", [False, True], ids=["one signer", "another signer each time"])
async def test_a_replaced_file_is_one_publication_and_its_old_address_is_gone(
    resources: Resources, index: IndexRecord, tmp_path: Path, fresh: bool
) -> None:
    """A, B, A, B: each time the pointer at the same path has the new bytes, versions grow by one, the other URL is
    410; with what the signer remembers, and without."""
    publisher = Publisher(resources)
    await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    before = reader.versions()
    for turn, (content, other) in enumerate([(A, B), (B, A), (A, B), (B, A)]):
        added = await add(resources, index, content)
        assert (added.audit_id is None) == (turn == 0)
        await (Publisher(resources) if fresh else publisher).publish(index.id)
        assert pointed(reader) == sha256_of(content)
        versions = reader.versions()
        assert versions == {role: version + 1 for role, version in before.items()}
        before = versions
        assert await served(resources, index, content) is None
        assert await served(resources, index, other) is (ErrorKind.GONE if turn else ErrorKind.NOT_FOUND)
        assert await history(resources.engine, content) == ([("overwrite", turn)] if turn else [])
    plain = tmp_path / "public/indexes/root/stable" / POINTER
    assert parse_pointer(plain.read_bytes()).file.digest == sha256_of(B)
    again = await rebuild(resources, index.id)
    assert (again is not None and again.differing) == ()
    async with resources.engine.connect() as connection:
        shown = select(PublishedFile.from_serial, PublishedFile.to_serial).order_by(PublishedFile.from_serial)
        rows = [tuple(row) for row in await connection.execute(shown)]
        lines = list(await connection.scalars(select(Journal.action).order_by(Journal.serial, Journal.position)))
        audited = list(await connection.scalars(select(Audit.actor).where(Audit.action == "file.overwrite")))
        assert await connection.scalar(select(func.count()).select_from(File)) == 2
    assert rows == [(2, 3), (3, 4), (4, 5), (5, None)]
    assert lines == [f"add bdist_wheel file {NAME}"] + [f"add bdist_wheel file {NAME}", f"remove file {NAME}"] * 3
    assert audited == ["alice"] * 3


async def test_what_comes_and_goes_between_two_publications_is_never_shown(
    resources: Resources, index: IndexRecord, tmp_path: Path
) -> None:
    """A is published; B and A again wait for one batch: the page lists A, whose row stays open, and B never was."""
    publisher = Publisher(resources)
    await add(resources, index, A)
    await publisher.publish(index.id)
    await add(resources, index, B)
    await add(resources, index, A)
    await publisher.publish(index.id)
    assert pointed(TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")) == sha256_of(A)
    assert (await served(resources, index, A), await served(resources, index, B)) == (None, ErrorKind.GONE)
    assert await history(resources.engine, A) == [("overwrite", 2)]
    async with resources.engine.connect() as connection:
        open_rows = select(func.count()).select_from(PublishedFile).where(PublishedFile.to_serial.is_(None))
        assert await connection.scalar(open_rows) == 1
        assert await connection.scalar(select(func.count()).where(Outbox.dead_at.is_not(None))) == 0


async def test_two_that_replace_a_file_at_once_follow_each_other(
    resources: Resources, index: IndexRecord, tmp_path: Path
) -> None:
    """Five replacements at the same moment: one file lives, the count is exact, and signing shows that one."""
    await add(resources, index, A)
    contents = [f"replacement {number}".encode() for number in range(5)]
    await asyncio.gather(*(add(resources, index, content) for content in contents))
    async with resources.engine.connect() as connection:
        living = select(File.sha256, File.history).where(File.removed_at.is_(None))
        ((sha256, entries),) = list(await connection.execute(living))
    assert [entry["count"] for entry in entries] == [5]
    await Publisher(resources).publish(index.id)
    assert pointed(TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")) == sha256


async def test_the_same_bytes_again_change_nothing(resources: Resources, index: IndexRecord) -> None:
    """No row, no record, no job."""
    first = await add(resources, index, A)
    again = await add(resources, index, A)
    assert (again.file_id, again.there, again.audit_id) == (first.file_id, True, None)
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).where(Outbox.kind == PublishIndex.kind)) == 2


async def test_a_name_is_replaced_on_volatile_indexes_alone(resources: Resources, index: IndexRecord) -> None:
    """Elsewhere other bytes are refused, and a removed name is burnt under strict admission and free under devpi's."""
    fixed = replace(index, volatile=False)
    await add(resources, fixed, A)
    with pytest.raises(NameTaken):
        await add(resources, fixed, B)
    async with resources.engine.begin() as connection:
        await connection.execute(update(File).values(removed_at=now(), removed_by="root"))
    with pytest.raises(NameBurnt):
        await add(resources, fixed, A)
    with pytest.raises(NameBurnt):
        await add(resources, fixed, B)
    free = await add(resources, replace(fixed, admission="devpi"), A)
    assert await history(resources.engine, A) == [], "a name that was free replaces nothing"
    assert free.audit_id is None


async def test_bytes_that_collide_in_an_address_are_refused_everywhere(
    resources: Resources, index: IndexRecord
) -> None:
    """64 bits of a digest and a name never mean two contents, not even on a volatile index."""
    await add(resources, index, A)
    async with resources.engine.begin() as connection:
        digest = sha256_of(B)[:16]
        await connection.execute(update(File).values(path_key=digest, sha256=digest * 4))
    with pytest.raises(NameTaken):
        await add(resources, index, B)
