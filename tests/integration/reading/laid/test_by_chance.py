"""Whatever happens to files and their attestations, what is laid step by step is what a laying of all would leave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index import laying
from services.index.settings import Limits
from shared.objects.interface import Key, ObjectStoreError, ObjectStores
from shared.objects.keys import bundle_key
from tests.support.factories import MadeFile, make_index, now
from tests.support.hooked_store import HookedStore
from tests.support.kept_bundles import Keeper
from tests.support.published import Published
from tests.support.reading import open_reading

NAMES = ("thing-1.0.tar.gz", "thing-2.0.tar.gz")
ACTS = ("turn", "attest", "lay", "turn", "replace", "attest", "lay", "touch")
STEPS = st.tuples(st.sampled_from((*ACTS, "break off", "overtake")), st.sampled_from(NAMES))
_NUMBERS = count()


@dataclass
class Told:
    """An index, what its catalogue has, and its static tree."""

    engine: AsyncEngine
    stores: ObjectStores
    folder: Path
    published: Published
    keeper: Keeper
    files: dict[str, MadeFile] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Digests of the bundles of a file, by its own digest."""

    @property
    def shown(self) -> dict[str, MadeFile]:
        """Files that the index shows, by name."""
        return self.published.visible

    async def do(self, what: str, name: str) -> None:
        """Do a step to a file, which is uploaded first where there is none: `turn` shows it, or hides it."""
        if name not in self.files:
            await self.upload(name)
        file = self.files[name]
        match what:
            case "turn" if name in self.shown:
                await self.published.publish(hidden=[file])
            case "turn":
                await self.published.publish(file)
            case "replace":
                if name in self.shown:
                    await self.published.publish(hidden=[file])
                await self.published.mark(file, removed_at=now())
                await self.published.publish(await self.upload(name))
            case "attest":
                bundle = json.dumps({"number": next(_NUMBERS)}).encode()
                self.kept.setdefault(file.sha256, []).append(await self.keeper.keep(file, bundle, log="v2"))
            case "touch":
                await self.published.publish(again=[file])
            case "lay":
                await self.lay()

    async def upload(self, name: str) -> MadeFile:
        """Upload a file that nobody had before, in the place of the one of the name."""
        self.files[name] = await self.published.upload(name, f"bytes {next(_NUMBERS)}".encode())
        return self.files[name]

    async def lay(self, stores: ObjectStores | None = None, *, full: bool = False) -> None:
        """Lay the tree, as the worker does or, with `full`, a rebuild."""
        resources = open_reading(self.engine, stores or self.stores).resources
        await laying.lay(resources, Limits(), self.published.index.id, full=full)

    async def broken_off(self, name: str) -> None:
        """Lay, and end before the list of a name's bundles is put."""

        async def end() -> None:
            raise ObjectStoreError("killed")

        with suppress(ExceptionGroup):
            await self.lay(self._hooked(f"{name}.bundles.json", end))

    async def overtaken(self, name: str, steps: Iterable[tuple[str, str]]) -> None:
        """Lay, and let steps be done before an object of a name is put."""

        async def meanwhile() -> None:
            for what, other in steps:
                await self.do(what, other)

        await self.lay(self._hooked(f"{name}.provenance.json", meanwhile))

    def _hooked(self, part: str, hook: Callable[[], Awaitable[None]]) -> ObjectStores:
        return ObjectStores(HookedStore(self.folder / "public", part, hook), self.stores.private)

    async def documents(self) -> dict[str, bytes]:
        """Return the documents about attestations that lie in the tree, by key."""
        return {key: body async for key, body in self._lying()}

    async def clear(self) -> None:
        """Take those documents away."""
        for key in await self.documents():
            await self.stores.public.delete(Key(key))

    async def _lying(self) -> AsyncIterator[tuple[str, bytes]]:
        async for one in self.stores.public.list(Key(f"indexes/{self.published.index.name}/attestations/")):
            async with self.stores.public.open(one.key) as opened:
                yield one.key, b"".join([chunk async for chunk in opened.chunks])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=10, max_size=30))
async def test_step_by_step_or_all_at_once(
    engine: AsyncEngine, stores: ObjectStores, tmp_path: Path, steps: list[tuple[str, str]]
) -> None:
    """Files come, go, are replaced and attested, layings break off or are overtaken: the next publication of the
    project leaves exactly the documents that a laying of all makes where none lie, and they tell of what is shown."""
    index = await make_index(engine, f"root/chance{next(_NUMBERS)}")
    told = Told(engine, stores, tmp_path, Published(engine, stores, index), Keeper(engine, stores, index))
    rest = iter(steps)
    for what, name in rest:
        match what:
            case "break off":
                await told.broken_off(name)
            case "overtake":
                # The next three steps happen in the middle of it.
                await told.overtaken(name, [one for one in islice(rest, 3) if one[0] in ACTS])
            case _:
                await told.do(what, name)
    await told.do("touch", NAMES[0])
    await told.lay()
    found = await told.documents()
    await told.clear()
    await told.lay(full=True)
    assert found == await told.documents()
    lists = {key: json.loads(body)["bundles"] for key, body in found.items() if key.endswith(".bundles.json")}
    listed = {key: [one["uri"] for one in bundles] for key, bundles in lists.items() if bundles}
    expected = {
        f"indexes/{index.name}/attestations/thing/{name}.bundles.json": [
            f"/{bundle_key(digest, file.file_name)}"  # type: ignore[arg-type]
            for digest in told.kept[file.sha256]
        ]
        for name, file in told.shown.items()
        if file.sha256 in told.kept
    }
    assert {key: sorted(uris) for key, uris in listed.items()} == {key: sorted(one) for key, one in expected.items()}
