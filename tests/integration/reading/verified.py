"""An index whose chain the server verifies, for the tests of what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from countermark.core.names import FileName, NormalizedName, pointer_target
from tests.support.reading import Reading
from tests.support.signed_index import SignedIndex

WHEEL, CONTENT = "thing-1.0-py3-none-any.whl", b"wheel of 1.0" * 1000
TARGET = pointer_target(NormalizedName("thing"), FileName(WHEEL))
NAMES = [
    *("root", "timestamp", "snapshot", "target", "pointer", "digest", "attestation digest"),
    *("statement", "subject", "signature", "identity", "log", "policy", "catalogue"),
]


@dataclass(slots=True)
class Verified:
    """An index, a process that serves it, and a client."""

    signed: SignedIndex
    reading: Reading
    client: httpx2.AsyncClient

    async def ask(self, name: str = WHEEL, version: str = "1.0", index: str = "root/stable", **more: Any) -> Any:
        """Ask for the chain of a file."""
        await self.reading.news()
        return await self.client.get(f"/api/v1/verify/{index}/thing/{version}/{name}", **more)

    async def found(self) -> dict[str, Any]:
        """Return what is found of the wheel."""
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert [step["name"] for step in found["steps"]] == NAMES
        assert [step["number"] for step in found["steps"]] == list(range(1, 15))
        return found

    async def broken(self) -> tuple[str, int]:
        """Return where the chain breaks; everything before is passed or absent, everything behind is not looked at."""
        found = await self.found()
        results = [step["result"] for step in found["steps"]]
        at = results.index("failed")
        assert not found["verified"]
        assert [step["code"] for step in found["steps"] if step["code"] is not None] == [found["code"]]
        assert found["steps"][at]["code"] == found["code"]
        assert found["steps"][at]["name"] == found["failed"]
        assert found["steps"][at]["reason"] == found["reason"] != ""
        assert "failed" not in results[at + 1 :]
        assert set(results[at + 1 :]) <= {"skipped"}
        return found["failed"], found["exit_code"]
