"""What lies in the tree about attestations is compared with what is shown, and laid again.

Architecture sections 6 and 11.8; ADR 0042.
"""

from __future__ import annotations

import asyncio

import pytest

from services.index import laying
from services.index.attested_documents import EMPTY
from services.index.checking_attested import check_attested
from services.index.settings import Limits as IndexLimits
from shared.objects.interface import Key, Put
from shared.objects.keys import bundle_key
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.laid.tree import CONTENT, LIST, OBJECT, SOURCE, Tree
from tests.support.sigstore.instance import PUBLISH


async def checked(tree: Tree) -> tuple[int, dict[str, str]]:
    """Return how many documents there should be, and what is wrong with those that lie there."""
    found = await check_attested(tree.reading.resources, tree.stable.index.id, patience=0.0)
    assert found is not None
    return found.documents, {str(key): said for key, said in found.faults.items()}


async def mended(tree: Tree) -> dict[str, str]:
    """Lay all again, and return what is wrong then."""
    await laying.lay(tree.reading.resources, IndexLimits(), tree.stable.index.id, full=True)
    return (await checked(tree))[1]


async def test_what_is_laid_rightly_has_no_faults(tree: Tree) -> None:
    """Nor has a file without attestations, one that is hidden, one that no publication shows yet, or one replaced."""
    assert await checked(tree) == (2, {})
    await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    await tree.family.publish("root/stable", SOURCE, b"source")
    waiting = await tree.stable.upload("thing-2.0.tar.gz", b"waits")
    await tree.keep(waiting, b"waits")
    await tree.lay()
    assert await checked(tree) == (2, {})
    await tree.stable.publish(hidden=[tree.file])
    await tree.lay()
    assert await checked(tree) == (0, {})
    assert await check_attested(tree.reading.resources, (await tree.family.make("root/new")).index.id) is None


@pytest.mark.parametrize("path", [OBJECT, LIST])
@pytest.mark.parametrize("damage", ["lost", "altered", "empty"])
async def test_damaged_documents_are_told(tree: Tree, path: str, damage: str) -> None:
    """A document that is lost, altered or emptied is told with its key, and no other; laying all again mends it."""
    await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    if damage == "lost":
        await tree.stores.public.delete(Key(path))
    else:
        body = (await tree.at(path) or b"") + b" " if damage == "altered" else EMPTY[[OBJECT, LIST].index(path)]
        await tree.stores.public.put(Key(path), body, Put.REPLACE)
    words = "not laid, of a file" if damage == "lost" else "laid with other bytes"
    documents, faults = await checked(tree)
    assert (documents, list(faults), words in faults[path]) == (2, [path], True)
    assert await mended(tree) == {}


async def test_left_over_documents_are_told(tree: Tree) -> None:
    """What is attested of a file that is not shown any more is left over, until it is emptied."""
    object_before = await tree.at(OBJECT)
    assert object_before is not None
    await tree.stable.publish(hidden=[tree.file])
    await tree.lay()
    await tree.stores.public.put(Key(OBJECT), object_before, Put.REPLACE)
    assert await checked(tree) == (0, {OBJECT: "left over, of a file that is not shown"})
    await tree.stores.public.delete(Key(LIST))
    assert await mended(tree) == {}
    assert await tree.attested() == 0


async def test_documents_of_names_that_never_were_are_told(tree: Tree) -> None:
    """No row leads to them, so that they are to be deleted; an empty one says nothing."""
    strange, other = OBJECT.replace(WHEEL, "thing-9.9.tar.gz"), OBJECT.replace("thing/", "else/") + ".copy"
    for path, body in ((strange, b"{}"), (other, b"x"), (LIST.replace(WHEEL, "thing-9.8.tar.gz"), EMPTY[1])):
        await tree.stores.public.put(Key(path), body, Put.ABSENT)
    _, faults = await checked(tree)
    assert sorted(faults) == sorted([strange, other])
    assert all("delete it from the object store" in said for said in faults.values())
    assert sorted(await mended(tree)) == sorted([strange, other])


async def test_documents_of_which_a_bundle_is_lost_are_told(tree: Tree) -> None:
    """What the document should be is not known then: the bundle is named, which has to be put back first."""
    digest = await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    key = bundle_key(digest, tree.file.file_name)  # type: ignore[arg-type]
    body = await tree.at(key)
    assert body is not None
    for found, words in ((None, "missing"), (b"{}", "damaged")):
        await tree.stores.public.delete(key)
        if found is not None:
            await tree.stores.public.put(key, found, Put.REPLACE)
        _, faults = await checked(tree)
        assert list(faults) == [OBJECT]
        assert f"{key} is {words} in the store" in faults[OBJECT]
    await tree.stores.public.put(key, body, Put.REPLACE)
    assert await mended(tree) == {}


async def test_what_is_laid_meanwhile_is_no_fault(tree: Tree) -> None:
    """A publication is laid a moment after it is shown: what differed first and does not any more is not told."""
    await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    looking = asyncio.create_task(check_attested(tree.reading.resources, tree.stable.index.id, patience=4.0))
    await asyncio.sleep(0.4)
    await tree.lay()
    found = await looking
    assert found is not None
    assert (found.documents, found.faults) == (2, {})
    await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    assert list((await checked(tree))[1]) == [OBJECT]
