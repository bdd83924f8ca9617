"""Test results as clients read them: contract devpi section 12."""

from __future__ import annotations

import asyncio

import httpx2

from countermark.core.digest import sha256_of
from tests.integration.reading.constants import METADATA, WHEEL
from tests.integration.reading.library import Library
from tests.support.factories import now
from tests.support.published import Published


class TestResults:
    """Test results at their addresses."""

    async def test_are_read_as_they_were_sent(
        self, client: httpx2.AsyncClient, stable: Published, library: Library
    ) -> None:
        """With names longer than any file's; they go with their file."""
        long_name = f"thing-{'1' * 150}-py3-none-any.whl"
        file = await stable.upload(long_name, b"wheel", METADATA)
        path = await library.add_result(file, b'{"testenvs": {}}')
        answer = await client.get(f"/root/stable/+f/{path}", headers={"accept": "*/*"})
        assert (answer.status_code, answer.content) == (200, b'{"testenvs": {}}')
        assert answer.headers["etag"] == f'"{sha256_of(answer.content)}"'
        await stable.mark(file, removed_at=now(), removed_by="root")
        await asyncio.sleep(2.1)
        assert (await client.get(f"/root/stable/+f/{path}")).status_code == 410

    async def test_one_that_comes_is_found_though_it_was_asked_for(
        self, client: httpx2.AsyncClient, stable: Published, library: Library
    ) -> None:
        """That there is none is forgotten within `staleness`: no publication tells of it."""
        file = stable.visible[WHEEL]
        path = f"{file.path}.toxresult-20261125120000-0"
        assert (await client.get(f"/root/stable/+f/{path}")).status_code == 404
        assert await library.add_result(file, b"{}") == path
        await asyncio.sleep(2.1)
        assert (await client.get(f"/root/stable/+f/{path}")).content == b"{}"
