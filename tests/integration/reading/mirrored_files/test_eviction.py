"""What was used longest ago goes when the disk is full. ADR 0028."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from services.download.evicting import Eviction
from services.download.settings import Limits
from shared.catalogue.tables import MirrorFile
from shared.fetching.fetching import Fetching
from shared.objects.interface import Key
from tests.integration.reading.constants import LARGE, WHEEL
from tests.integration.reading.mirrored_files.site import BIG, UP, Files, limited
from tests.support.factories import now


class TestEviction:
    """What is too much goes."""

    async def test_what_was_used_longest_ago_goes_first(self, site: Files) -> None:
        """And comes again when it is asked for; hosted bytes are never touched."""
        hosted = await site.family.publish("a/top", "other-1.0.tar.gz", b"hosted")
        paths = await site.page()
        for name in (BIG, WHEEL):
            assert (await site.get(paths[name])).status_code == 200
        await site.settled(2)
        async with site.engine.begin() as connection:
            old = update(MirrorFile).where(MirrorFile.length == len(LARGE))
            await connection.execute(old.values(used_at=now() - timedelta(days=1)))
        reading = site.family.reading
        with limited(reading, 1000):
            limits = Limits(evict_grace=-1)
            await Eviction(reading.resources, limits, Fetching(reading.resources)).evict()
        assert list((await site.rows()).values()) == [5]
        stored = [info async for info in site.family.stores.private.list("mirror/")]
        assert [info.length for info in stored] == [5]
        assert (await site.get(f"/a/top/+f/{hosted.path}")).content == b"hosted"
        assert (await site.get(paths[BIG])).content == LARGE
        assert site.upstream.asked[UP] == 2

    async def test_who_is_reading_reads_on(self, site: Files) -> None:
        """A file that goes while it is read arrives whole."""
        path = (await site.page())[BIG]
        await site.get(path)
        await site.settled(1)
        reading = site.family.reading
        async with site.listening() as client, client.stream("GET", path) as answer:
            chunks = answer.aiter_raw()
            got = await anext(chunks)
            with limited(reading, 1):
                await Eviction(reading.resources, Limits(evict_grace=-1), Fetching(reading.resources)).evict()
            assert await site.rows() == {}
            assert got + b"".join([chunk async for chunk in chunks]) == LARGE

    async def test_a_mark_is_taken_back_by_use(self, site: Files) -> None:
        """A file that is asked for between the mark and the removal stays."""
        path = (await site.page())[BIG]
        await site.get(path)
        await site.settled(1)
        reading = site.family.reading
        eviction = Eviction(reading.resources, Limits(evict_grace=3600), Fetching(reading.resources))
        with limited(reading, 1):
            await eviction.evict()
        site.reopen()
        assert (await site.get(path)).content == LARGE
        assert site.upstream.asked[UP] == 1

    async def test_what_is_missing_or_damaged_is_fetched_again(self, site: Files) -> None:
        """Whatever the rows say; a damaged large file is broken off once."""
        paths = await site.page()
        for name in (BIG, WHEEL):
            await site.get(paths[name])
        await site.settled(2)
        keys = {length: Key(key) for key, length in (await site.rows()).items()}
        store = site.family.stores.private
        await store.delete(keys[len(LARGE)])
        await store.delete(keys[5])
        site.reopen()
        for name, content in ((BIG, LARGE), (WHEEL, b"wheel")):
            assert (await site.get(paths[name])).content == content
            assert site.upstream.asked[f"/files/{name}"] == 2
