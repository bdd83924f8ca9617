"""`countermark-server audit verify` and `audit export`, on a catalogue that somebody who owns it has tampered with."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.audit import ChainBroken, parse_head, verify_export
from deploy import auditing
from deploy.errors import LaunchError, UsageError
from services.signing.publication.auditing import ChainLoop
from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Audit
from shared.resources import Resources
from shared.settings import Settings
from tests.integration.signing.test_audit_chain import note, without_triggers
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_default, make_index


@pytest.fixture
async def index(resources: Resources, clock: SettableClock) -> MadeIndex:
    """The default index, with two heads published an hour apart and rows before, between and after them."""
    made = await make_index(resources.engine)
    await make_default(resources.engine, made)
    loop, publisher = ChainLoop(resources), Publisher(resources)
    for _ in range(2):
        await note(resources.engine, 5)
        await loop.look()
        await publisher.publish(made.id)
        clock.advance(timedelta(minutes=61))
    await note(resources.engine, 5)
    await loop.look()
    return made


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """What the commands are given."""
    settings = Settings(data=tmp_path)
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": SecretStr(database)})})


async def tamper(engine: AsyncEngine, statement: str) -> None:
    """Change the catalogue as its owner can, with the triggers put aside."""
    async with without_triggers(engine) as connection:
        await connection.execute(text(statement))


async def test_an_honest_chain_is_verified(settings: Settings, resources: Resources, index: MadeIndex) -> None:
    """Every row counts, both heads agree, and the newest is the one that was signed."""
    found = await auditing.verify(settings)
    async with resources.engine.connect() as connection:
        assert found["rows"] == await connection.scalar(select(func.count()).select_from(Audit))
    assert found["heads"] == 2
    assert isinstance(found["head"], dict)
    assert 0 < found["head"]["position"] < int(str(found["rows"]))


TAMPERING = {
    "a row altered": ("update audit set actor = 'mallory' where id = 3", "at position 3: audit row 3 .*'mallory'"),
    "a fact altered": ("""update audit set detail = '{"n": 9}' where id = 3""", "at position 3: .* has the hash"),
    "a row deleted": ("delete from audit where id = 3", "at position 3: its audit row, number 3, is gone"),
    "a link deleted": ("delete from audit_chain where position = 3", "at position 3: it is missing"),
    "a hash altered": ("update audit_chain set sha256 = repeat('a', 64) where position = 3", "at position 3: "),
    "the end cut off": ("delete from audit_chain where position > 4", "at position 5: it is missing: the head of"),
    "a head altered": ("update audit_head set sha256 = repeat('a', 64)", "was published with hash aaaa"),
    "the heads deleted": ("delete from audit_head", "keeps, at position 0, .none."),
    "the newest head deleted": (
        "delete from audit_head where version = (select max(version) from audit_head)",
        "has signed has sha256",
    ),
    "an old row unchained": (
        "insert into audit (at, actor, action, subject, detail) values (now() - interval '1 day', 'm', 'x', 'y', '{}')",
        "1 rows of the audit, or more, are older than 5 minutes and not chained; the first is audit row",
    ),
}


@pytest.mark.parametrize("how", TAMPERING)
async def test_whatever_was_touched_is_found(
    settings: Settings, resources: Resources, index: MadeIndex, how: str
) -> None:
    """The first position that does not hold is named, and what differs there."""
    statement, words = TAMPERING[how]
    await tamper(resources.engine, statement)
    with pytest.raises(LaunchError, match=words):
        await auditing.verify(settings)


async def test_a_chain_hashed_anew_differs_from_what_was_published(
    settings: Settings, resources: Resources, index: MadeIndex
) -> None:
    """Altering a row and chaining everything again is found by the heads, and with these altered too, by the signature
    of the newest."""
    await tamper(resources.engine, "update audit set actor = 'mallory' where id = 3")
    await tamper(resources.engine, "delete from audit_chain")
    await ChainLoop(resources).look()
    with pytest.raises(LaunchError, match="was published with hash"):
        await auditing.verify(settings)
    await tamper(
        resources.engine,
        "update audit_head set sha256 = c.sha256 from audit_chain c where c.position = audit_head.position",
    )
    with pytest.raises(LaunchError, match="has signed has sha256"):
        await auditing.verify(settings)
    role = "(select role from tuf_file where encode(content, 'escape') like '%countermark--audit%' limit 1)"
    await tamper(
        resources.engine,
        "update tuf_file set content = convert_to(replace(convert_from(content, 'utf8'), 'note/v1', 'note/v2'), 'utf8')"
        f" where role = {role}",
    )
    with pytest.raises(LaunchError, match="is not what was signed"):
        await auditing.verify(settings)


async def test_an_export_is_proven_by_the_published_head(settings: Settings, index: MadeIndex, tmp_path: Path) -> None:
    """The file is its owner's alone; whole or from a position on, the signed head proves it; altered it does not."""
    head = parse_head((tmp_path / "public/indexes/root/stable/pointers/countermark--audit/head.json").read_bytes())
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    count = await auditing.export(settings, str(whole), None, None)
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == count
    proven = verify_export(lines, [head])
    assert (proven.first, proven.proven, proven.last) == (1, head.position, count)
    assert await auditing.export(settings, str(part), 4, None) == count - 3
    assert verify_export(part.read_bytes().splitlines(keepends=True), [head]).first == 4
    altered = json.loads(lines[2])
    altered["actor"] = "mallory"
    with pytest.raises(ChainBroken, match="position 3"):
        verify_export([*lines[:2], json.dumps(altered).encode(), *lines[3:]], [head])


async def test_an_export_begins_at_a_time(settings: Settings, index: MadeIndex, tmp_path: Path) -> None:
    """`--since` is the first row of that time or later, and everything chained after it."""
    out = tmp_path / "all.jsonl"
    count = await auditing.export(settings, str(out), None, "2020-01-01")
    assert count == len(out.read_bytes().splitlines())
    with pytest.raises(LaunchError, match="no row of 2999"):
        await auditing.export(settings, str(tmp_path / "none.jsonl"), None, "2999-01-01T00:00Z")


@pytest.mark.parametrize(
    ("out", "start", "since", "words"),
    [
        ("there.jsonl", None, None, "exists: name a new file"),
        ("new.jsonl", 1, "2026-01-01", "not both"),
        ("new.jsonl", None, "yesterday", "write a date or time"),
    ],
)
async def test_wrong_use_is_told(
    settings: Settings, index: MadeIndex, tmp_path: Path, out: str, start: int | None, since: str | None, words: str
) -> None:
    """A file is never overwritten, and there is one beginning."""
    (tmp_path / "there.jsonl").write_bytes(b"kept")
    with pytest.raises(UsageError, match=words):
        await auditing.export(settings, str(tmp_path / out), start, since)
    assert (tmp_path / "there.jsonl").read_bytes() == b"kept"


async def test_a_position_after_the_end_is_told(settings: Settings, index: MadeIndex, tmp_path: Path) -> None:
    """The message says where the chain ends."""
    with pytest.raises(LaunchError, match="no position 9999: it ends at"):
        await auditing.export(settings, str(tmp_path / "x.jsonl"), 9999, None)


async def test_what_is_before_a_break_is_exported(
    settings: Settings, resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """The command fails, and the file ends before the broken position."""
    await tamper(resources.engine, "update audit set actor = 'mallory' where id = 3")
    out = tmp_path / "x.jsonl"
    with pytest.raises(LaunchError, match="at position 3"):
        await auditing.export(settings, str(out), None, None)
    assert len(out.read_bytes().splitlines()) == 2
