"""Row 17: a catalogue that was tampered with, and then published from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from countermark.core.digest import sha256_of
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Put
from shared.objects.keys import file_key
from tests.integration.attacks.conftest import NEW, OLD, Ledger
from tests.integration.signing.changes import enqueue
from tests.support.builds import Pipeline
from tests.support.factories import make_file
from tests.support.tampering.table import Case, attacks

Record = Callable[[str, object], None]


@attacks(
    17,
    Case("the digest of a file that waits", 11, "has no widget 2.0", "update file set sha256 = repeat('0', 64)"),
    Case("the length of a file that waits", 11, "has no widget 2.0", "update file set length = 3"),
    Case(
        "the name (and so the address) of a file that waits",
        11,
        "has no widget 2.0",
        "update file set file_name = 'widget-9.0-py3-none-any.whl'",
    ),
)
async def test_row_17_altered_file_row(case: Case, ledger: Ledger, record_property: Record) -> None:
    """The signer re-hashes the stored bytes and signs nothing that they do not bear out; the other files go on."""
    await ledger.upload(NEW, b"newer")
    await ledger.upload("gadget-1.0-py3-none-any.whl", b"beside it")
    await ledger.tamper(f"{case.given} where file_name = :name", name=NEW)
    await ledger.publish()
    ended = await asyncio.to_thread(ledger.client.get, "widget==2.0")
    record_property("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, ()), ended.words
    assert case.says in ended.words
    for asked, code in (("widget==9.0", 11), ("widget==1.0", 0), ("gadget==1.0", 0)):
        other = await asyncio.to_thread(ledger.client.get, asked)
        assert other.code == code, other.words


@attacks(
    17,
    Case(
        "the version of a file that waits",
        11,
        "has no widget 2.0",
        "update release set version = '9.9' where id = (select release_id from file where file_name = :name)",
    ),
    Case(
        "the project's name, of a file that waits",
        11,
        "has no widget 2.0",
        "update project set name = 'gadget' where id = (select project_id from file where file_name = :name)",
    ),
)
async def test_row_17_altered_identity(case: Case, ledger: Ledger, record_property: Record) -> None:
    """A file does not become another release's or project's by a changed row."""
    await ledger.upload(NEW, b"newer")
    await ledger.tamper(case.given, name=NEW)
    await ledger.publish()
    ended = await asyncio.to_thread(ledger.client.get, "widget==2.0")
    record_property("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, ()), ended.words
    assert case.says in ended.words
    for asked in ("widget==9.9", "gadget==2.0"):
        other = await asyncio.to_thread(ledger.client.get, asked)
        assert other.code in {11, 31}, other.words


@attacks(
    17,
    Case(
        "the digest of a published file; then another file of its project is published",
        11,
        "has no widget 2.0",
        "update file set sha256 = repeat('0', 64) where file_name = :name",
    ),
    Case(
        "the version of a published file; then another file of its project is published",
        11,
        "has no widget 2.0",
        "update release set version = '9.9' where id = (select release_id from file where file_name = :name)",
    ),
    Case(
        "the name (and so the address) of a published file; then another file of its project is published",
        11,
        "has no widget 2.0",
        "update file set file_name = 'widget-9.0-py3-none-any.whl' where file_name = :name",
    ),
)
async def test_row_17_altered_published_row(case: Case, ledger: Ledger, record_property: Record) -> None:
    """The signer compares the rows of published files with what was signed of them: nothing of the project is signed
    then, and what was signed stays."""
    await ledger.tamper(case.given, name=OLD)
    await ledger.upload(NEW, b"newer")
    await ledger.publish()
    ended = await asyncio.to_thread(ledger.client.get, "widget==2.0")
    record_property("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, ()), ended.words
    assert case.says in ended.words
    for asked in ("widget==1.0", "widget"):
        other = await asyncio.to_thread(ledger.client.get, asked)
        assert other.code == 0, other.words


@attacks(
    17,
    Case("a row is added, of bytes that are not in the store", 11, "has no widget 2.0", None),
    Case("a row is added, of a digest that other stored bytes lie under", 11, "has no widget 2.0", b"other bytes"),
    Case(
        "a row is added, and its bytes to the store",
        0,
        "",
        b"evil",
        gap="whoever writes both catalogue and store can do all an upload can; what stops the file is a policy that "
        "demands attestations (the line below it)",
    ),
)
async def test_row_17_added_row(case: Case, ledger: Ledger, record_property: Record) -> None:
    """A row alone makes no file: the bytes must be there, and be those."""
    resources = ledger.resources
    file = await make_file(resources.engine, ledger.index, NEW, b"evil")
    if case.given is not None:
        key = file_key(sha256_of(b"evil"), file.file_name)
        await resources.objects.public.put(key, case.given, Put.REPLACE)
    await enqueue(resources, PublishIndex(ledger.index.id, file.project_id, file.id))
    await ledger.publish()
    ended = await asyncio.to_thread(ledger.client.get, "widget==2.0")
    record_property("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, (NEW,) if case.code == 0 else ()), ended.words
    assert case.says in ended.words


@attacks(
    17, Case("a row is added, and its bytes to the store, under a policy that demands attestations", 62, "policy: ")
)
async def test_row_17_added_row_under_a_policy(case: Case, ledger: Ledger, record_property: Record) -> None:
    """Neither catalogue nor store can attest a build, so what the offline keys demand is not there."""
    resources = ledger.resources
    file = await make_file(resources.engine, ledger.index, NEW, b"evil")
    await resources.objects.public.put(file_key(sha256_of(b"evil"), file.file_name), b"evil", Put.REPLACE)
    await enqueue(resources, PublishIndex(ledger.index.id, file.project_id, file.id))
    await ledger.publish()
    ledger.demand(Pipeline().trusted())
    ended = await asyncio.to_thread(ledger.client.get, "widget==2.0")
    record_property("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, ()), ended.words
    assert case.says in ended.words
