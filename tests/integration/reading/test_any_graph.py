"""Whatever happens to a graph of indexes, pages, lists, the JSON API, devpi's documents and files say the same."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.objects.interface import ObjectStores
from tests.integration.reading.constants import JSON
from tests.integration.reading.family import Family
from tests.support.factories import MadeFile, now
from tests.support.reading import Reading

NAMES = ("thing-1.0.tar.gz", "thing-1.0-py3-none-any.whl", "thing-2.0.tar.gz")
CONTENTS = (b"one", b"two", b"three")
INDEXES = [f"a/i{number}" for number in range(5)]
STEPS = 14


class Story:
    """Does one thing after the other, and knows what must be seen then.

    Attributes:
        bases: of each index, by name.
        files: everything that was ever published: (index, file).
        states: `shown`, `removed` or `held`, by index and path of the file.
        shut: indexes where the project is in quarantine, with the files that come back.
    """

    def __init__(self, family: Family, client: httpx2.AsyncClient, chance: random.Random) -> None:
        self.family = family
        self.client = client
        self.chance = chance
        self.bases: dict[str, list[str]] = {name: [] for name in INDEXES}
        self.files: list[tuple[str, MadeFile]] = []
        self.states: dict[tuple[str, str], str] = {}
        self.shut: dict[str, list[MadeFile]] = {}

    async def step(self) -> None:
        """Do something."""
        name = self.chance.choice(INDEXES)
        doings = [self.publish, self.publish, self.publish, self.change_bases, self.remove, self.hold, self.quarantine]
        await self.chance.choice(doings)(name)
        await self.family.reading.news()

    async def publish(self, name: str) -> None:
        """Publish a file under a name that the index does not use now."""
        used = {file.file_name for index, file in self.files if index == name and self.of(name, file) != "removed"}
        once = {(file.file_name, file.content) for index, file in self.files if index == name}
        free = [pair for n in NAMES if n not in used for c in CONTENTS if (pair := (n, c)) not in once]
        if free and name not in self.shut:
            file_name, content = self.chance.choice(free)
            self.files.append((name, await self.family.publish(name, file_name, content)))
            self.states[name, self.files[-1][1].path] = "shown"

    async def change_bases(self, name: str) -> None:
        """Base an index on others, itself and some that are gone included."""
        self.bases[name] = self.chance.sample([*INDEXES, "a/none", "root/pypi"], self.chance.randint(0, 4))
        await self.family.make(name, *self.bases[name])

    async def remove(self, name: str) -> None:
        """Remove a file that shows."""
        await self._mark(name, "removed", removed_at=now())

    async def hold(self, name: str) -> None:
        """Hold a file that shows."""
        await self._mark(name, "held", held_at=now(), held_reason="why")

    async def quarantine(self, name: str) -> None:
        """Put the project of an index into quarantine, or take it out."""
        if name in self.shut:
            await self.family.release(name, *self.shut.pop(name))
        elif any(index == name for index, _ in self.files):
            self.shut[name] = self.shown_by(name)
            await self.family.quarantine(name, "why")

    async def _mark(self, name: str, state: str, **marks: object) -> None:
        shown = [] if name in self.shut else self.shown_by(name)
        if shown:
            file = self.chance.choice(shown)
            await self.family.hide(name, file, **marks)
            self.states[name, file.path] = state

    def of(self, name: str, file: MadeFile) -> str:
        """Return the state of a file."""
        return self.states[name, file.path]

    def shown_by(self, name: str) -> list[MadeFile]:
        """Return the files that an index's own page lists but for a quarantine."""
        return [file for index, file in self.files if index == name and self.of(name, file) == "shown"]

    def expected(self, asked: str) -> dict[str, tuple[str, str, bytes]]:
        """Return what an index is to show: file name -> (whose it is, path, content)."""
        order, held = [asked], {f.file_name for i, f in self.files if i == asked and self.of(asked, f) == "held"}
        for name in order:
            order += [base for base in self.bases[name] if base in INDEXES and base not in order]
        found: dict[str, tuple[str, str, bytes]] = {}
        for name in order:
            if name in self.shut:
                break
            for file in self.shown_by(name):
                if file.file_name not in held:
                    found.setdefault(file.file_name, (name, file.path, file.content))
        return found

    async def check(self, asked: str) -> None:
        """Read an index in every way."""
        expected = self.expected(asked)
        page = await self.client.get(f"/{asked}/+simple/thing/", headers={"accept": JSON})
        files: list[dict[str, Any]] = orjson.loads(page.content)["files"] if page.status_code == 200 else []
        seen = {file["filename"]: (file.get("_origin", asked), file["url"].removeprefix("../../+f/")) for file in files}
        assert seen == {name: (owner, path) for name, (owner, path, _) in expected.items()}
        html = await self.client.get(f"/{asked}/+simple/thing/", headers={"accept": "text/html"})
        assert html.status_code == page.status_code
        assert all(f'href="../../+f/{path}#' in html.text for _, path, _ in expected.values())
        assert html.text.count("<a href=") == len(expected)
        document = await self.client.get(f"/{asked}/pypi/thing/json")
        releases = document.json()["releases"] if document.status_code == 200 else {}
        assert {file["filename"] for listed in releases.values() for file in listed} == set(expected)
        listing = (await self.client.get(f"/{asked}/+simple/", headers={"accept": JSON})).json()["projects"]
        if expected:
            assert [project["name"] for project in listing] == ["thing"]
        assert await self.linked(asked) == {name: (owner, path) for name, (owner, path, _) in expected.items()}
        paths = {path: content for _, path, content in expected.values()}
        for path in {file.path for _, file in self.files}:
            answer = await self.client.get(f"/{asked}/+f/{path}")
            if path in paths:
                assert (answer.status_code, answer.content) == (200, paths[path])
            else:
                assert answer.status_code in self.refusals(asked, path), (asked, path, answer.text)

    async def linked(self, asked: str) -> dict[str, tuple[str, str]]:
        """Return what devpi's document of the project links to: file name -> (whose it is, path), the nearest one."""
        answer = await self.client.get(f"/{asked}/thing", headers={"accept": "application/json"})
        versions = answer.json()["result"] if answer.status_code == 200 else {}
        found: dict[str, tuple[str, str]] = {}
        for version, shown in versions.items():
            alone = await self.client.get(f"/{asked}/thing/{version}", headers={"accept": "application/json"})
            assert alone.json()["result"] == shown
            for one in [shown, *shown.get("+shadowing", [])]:
                for link in one.get("+links", []):
                    owner, _, path = link["href"].removeprefix("http://index.test/").partition("/+f/")
                    found.setdefault(path.rpartition("/")[2], (owner, path))
        return found

    def refusals(self, asked: str, path: str) -> set[int]:
        """Return how a file may be refused: the index's own say gone or held, all others are unknown."""
        own = self.states.get((asked, path))
        if own == "removed":
            return {410}
        if own is not None or asked in self.shut:
            # Of a base's file in quarantine here, only what would show is told to be held.
            return {403} if own == "held" or own == "shown" else {403, 404}
        return {404}


@pytest.fixture
async def client(reading: Reading) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a process that knows nothing yet."""
    async with reading.client() as client:
        yield client


@pytest.mark.parametrize("seed", range(4))
async def test_every_way_to_read_says_the_same(
    engine: AsyncEngine, reading: Reading, stores: ObjectStores, client: httpx2.AsyncClient, seed: int
) -> None:
    """After each change every index shows exactly the merge of its members, in every form, and serves just that."""
    family = Family(engine, reading, stores)
    for name in INDEXES:
        await family.make(name)
    await family.make("root/pypi", kind="mirror")
    story = Story(family, client, random.Random(seed))
    for name in INDEXES:
        await story.change_bases(name)
    for _ in range(STEPS):
        await story.step()
        for name in INDEXES:
            await story.check(name)
