"""Files and their metadata as clients read them."""

from __future__ import annotations

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.objects.keys import file_key
from tests.integration.reading.constants import LARGE, METADATA, WHEEL
from tests.support.factories import now
from tests.support.published import Published
from tests.support.reading import Reading, counted_queries


class TestFiles:
    """Contract python-index sections 1.4.3 and 1.5."""

    @pytest.fixture(params=["small", "large"])
    async def file(
        self, request: pytest.FixtureRequest, client: httpx2.AsyncClient, reading: Reading, stable: Published
    ) -> tuple[str, bytes]:
        """Address and bytes of a file that is kept in memory, or of one that is streamed."""
        content = b"0123456789" * 10 if request.param == "small" else LARGE
        made = await stable.upload("thing-3.0-py3-none-any.whl", content, METADATA)
        await stable.publish(made)
        await reading.news()
        return f"/root/stable/+f/{made.path}", content

    async def test_whole(self, client: httpx2.AsyncClient, file: tuple[str, bytes]) -> None:
        """A file comes as it was uploaded, immutable, with its digest as tag; HEAD says the same."""
        path, content = file
        answer = await client.get(path, headers={"accept-encoding": "gzip, br"})
        assert answer.content == content
        assert answer.headers["etag"] == f'"{sha256_of(content)}"'
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-length"] == str(len(content))
        assert "last-modified" in answer.headers
        assert "content-encoding" not in answer.headers
        head = await client.head(path)
        assert (dict(head.headers), head.content) == (dict(answer.headers), b"")

    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-7", -7, None), ("bytes=50-99999999", 50, None)],
    )
    async def test_ranges(
        self, client: httpx2.AsyncClient, file: tuple[str, bytes], asked: str, start: int, stop: int | None
    ) -> None:
        """One range, open or closed or from the end, gives exactly these bytes."""
        path, content = file
        answer = await client.get(path, headers={"range": asked})
        first = start if start >= 0 else len(content) + start
        expected = content[start:stop]
        assert answer.status_code == 206
        assert answer.content == expected
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"
        assert answer.headers["content-length"] == str(len(expected))

    async def test_other_ranges(self, client: httpx2.AsyncClient, file: tuple[str, bytes]) -> None:
        """Beyond the end is 416 with the length; several ranges, other units and HEAD give the whole file."""
        path, content = file
        outside = await client.get(path, headers={"range": f"bytes={len(content)}-"})
        assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{len(content)}")
        for asked in ("bytes=0-1,4-5", "lines=0-1", "bytes=9-2", "bytes=x"):
            assert (await client.get(path, headers={"range": asked})).content == content, asked
        assert (await client.head(path, headers={"range": "bytes=0-1"})).status_code == 200

    async def test_if_range(self, client: httpx2.AsyncClient, file: tuple[str, bytes]) -> None:
        """A download goes on only if the part that the client has is of the same bytes."""
        path, content = file
        whole = await client.get(path)
        for same in (whole.headers["etag"], whole.headers["last-modified"]):
            answer = await client.get(path, headers={"range": "bytes=10-", "if-range": same})
            assert (answer.status_code, answer.content) == (206, content[10:])
        for other in ('"other"', f"W/{whole.headers['etag']}", "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
            answer = await client.get(path, headers={"range": "bytes=10-", "if-range": other})
            assert (answer.status_code, answer.content) == (200, content), other

    async def test_not_modified(self, client: httpx2.AsyncClient, file: tuple[str, bytes]) -> None:
        """304 by tag or by date; a tag that does not match beats a date that does."""
        path, _ = file
        whole = await client.get(path)
        tag, date = whole.headers["etag"], whole.headers["last-modified"]
        for headers in ({"if-none-match": tag}, {"if-modified-since": date}, {"if-none-match": "*"}):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
        fresh = await client.get(path, headers={"if-none-match": '"other"', "if-modified-since": date})
        assert fresh.status_code == 200

    async def test_core_metadata(self, client: httpx2.AsyncClient, file: tuple[str, bytes]) -> None:
        """`.metadata` is the wheel's METADATA with a tag of its own; a file without has none."""
        path, _ = file
        answer = await client.get(f"{path}.metadata")
        assert answer.content == METADATA
        assert answer.headers["etag"] == f'"{sha256_of(METADATA)}"'
        assert answer.headers["content-length"] == str(len(METADATA))

    async def test_pointer_address(self, client: httpx2.AsyncClient, stable: Published) -> None:
        """The `uri` of a pointer works below `+tuf`, with all of the digest and no other."""
        file = stable.visible[WHEEL]
        answer = await client.get(f"/root/stable/+tuf/{file_key(file.sha256, file.file_name)}")
        assert answer.content == file.content
        other = file.sha256[:16] + "0" * 48
        assert (await client.get(f"/root/stable/+tuf/files/{other[:2]}/{other[2:]}/{WHEEL}")).status_code == 404

    async def test_states(self, client: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """Held is 403 with the reason, removed 410, never published 404; each from the publication on that shows it."""
        held = await stable.upload("held-1.0.tar.gz", b"held", METADATA)
        removed = await stable.upload("removed-1.0.tar.gz", b"removed", METADATA)
        plain = await stable.upload("plain-1.0.tar.gz", b"plain")
        await stable.publish(held, removed, plain)
        await reading.news()
        await stable.mark(held, held_at=now(), held_by="root", held_reason="reported as malware")
        await stable.mark(removed, removed_at=now(), removed_by="root")
        paths = {str(file.file_name): f"/root/stable/+f/{file.path}" for file in (held, removed, plain)}
        for path in paths.values():
            assert (await client.get(path)).status_code == 200, "marks show with the next publication"
        await stable.publish(hidden=[held, removed, plain])
        await reading.news()
        for suffix in ("", ".metadata"):
            for _ in range(2):
                answer = await client.get(paths["held-1.0.tar.gz"] + suffix)
                assert answer.status_code == 403
                assert answer.headers["content-type"] == "application/problem+json"
                assert "reported as malware" in answer.json()["detail"]
                assert (await client.get(paths["removed-1.0.tar.gz"] + suffix)).status_code == 410
                assert (await client.get(paths["plain-1.0.tar.gz"] + suffix)).status_code == 410
        waiting = await stable.upload("waiting-1.0.tar.gz", b"waiting")
        assert (await client.get(f"/root/stable/+f/{waiting.path}")).status_code == 404

    @pytest.mark.parametrize(
        "rest",
        [
            "",
            "abc",
            "abc/def",
            "abc/0123456789abc/",
            "ABC/0123456789abc/x-1.whl",
            "abc/0123456789abc/../x-1.whl",
            "abc/0123456789abc/%2e%2e",
            "abc/0123456789abc/..%2f..%2fetc%2fpasswd",
            "abc/0123456789abc/a%00b",
            "abc/0123456789abc/.metadata",
            f"abc/0123456789abc/{'a' * 5000}",
            "abc/0123456789abc/%ff%fe",
        ],
    )
    async def test_hostile_paths(self, client: httpx2.AsyncClient, engine: AsyncEngine, rest: str) -> None:
        """Whatever is no file's address is 404, without a query."""
        with counted_queries(engine) as queries:
            assert (await client.get(f"/root/stable/+f/{rest}")).status_code == 404
        assert queries == []
