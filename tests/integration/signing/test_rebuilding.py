"""A lost tree is written again from the catalogue, and only what was signed."""

import shutil
from pathlib import Path

from sqlalchemy import text

from countermark.core.digest import sha256_of
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from shared.resources import Resources
from tests.integration.signing.changes import upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex
from tests.support.tuf_reader import TreeReader


async def test_a_rebuilt_tree_is_the_tree_that_was(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """Everything a client asks for comes back byte for byte, and a client that was warm goes on."""
    publisher = Publisher(resources)
    for version in ("1.0", "1.1", "2.0rc1"):
        await upload(resources, index, f"widget-{version}-py3-none-any.whl", version.encode())
        await upload(resources, index, f"gadget-{version}.tar.gz", version.encode())
        await publisher.publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    reader = TreeReader(tree, tmp_path / "cache")
    before = {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert reader.target("pointers/widget/_latest.pointer") is not None
    shutil.rmtree(tree)
    report = await rebuild(resources, index.id)
    assert report is not None
    assert report.differing == ()
    after = {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert after.items() <= before.items()
    assert before.keys() - after.keys() == {name for name in before if superseded(name, before)}
    for path, content in before.items():
        if path.parts[0] == "pointers":
            assert reader.target(str(path)) == content


async def test_a_rebuild_reports_rows_that_were_changed(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A digest altered in the catalogue makes another pointer than the one signed: it is not written."""
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    async with resources.engine.begin() as connection:
        await connection.execute(text("update file set sha256 = repeat('0', 64)"))
    report = await rebuild(resources, index.id)
    assert report is not None
    assert f"pointers/widget/{file.file_name}.pointer" in report.differing
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target("pointers/widget/_simple.json") is not None


def superseded(name: Path, tree: dict[Path, bytes]) -> bool:
    """Whether a file of a tree is an older version of another one there: a rebuild writes what is current."""
    if name.parts[0] == "metadata":
        number, _, role = name.name.partition(".")
        return any(
            other.name.partition(".")[2] == role and int(other.name.partition(".")[0]) > int(number)
            for other in tree
            if other.parts[0] == "metadata" and other.name[0].isdigit()
        )
    if name.parent == Path("targets"):
        # What people signed has no plain copy, and was not replaced.
        return False
    current = {sha256_of(tree[path]) for path in tree if path.parts[0] == "pointers"}
    return name.parts[0] == "targets" and name.name.partition(".")[0] not in current
