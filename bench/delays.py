"""How long files waited for their publication, by what the registry itself says of them afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.wheels import Wheel


def waits(registry: Registry, wheels: Sequence[Wheel]) -> Iterator[float]:
    """Yield, for each wheel, the seconds from when it was received whole to the commit that made it visible.

    Raises:
        NotMeasured: one is not published.
    """
    committed = _commits(registry)
    for wheel in wheels:
        release = _read(registry, f"projects/{quote(wheel.project)}/releases/{quote(wheel.version)}")
        (file,) = (file for file in release["files"] if file["filename"] == wheel.filename)
        if file["serial"] not in committed:
            raise NotMeasured(f"{wheel.filename} is not published")
        received = datetime.fromisoformat(file["uploaded_at"])
        yield (committed[file["serial"]] - received).total_seconds()


def _commits(registry: Registry) -> dict[int, datetime]:
    """Return when each publication was committed, by its serial."""
    found: dict[int, datetime] = {}
    after = ""
    while True:
        page = _read(registry, f"publications?limit=200{after}")
        found |= {item["serial"]: datetime.fromisoformat(item["committed_at"]) for item in page["items"]}
        if page["next"] is None:
            return found
        after = f"&after={quote(page['next'])}"


def _read(registry: Registry, path: str) -> Any:
    url = f"/api/v1/indexes{registry.index}/{path}"
    answer = registry.request("GET", url, {"Authorization": registry.authorization})
    if answer.status != 200:
        raise NotMeasured(f"{url} is answered with {answer.status}")
    return json.loads(answer.body)
