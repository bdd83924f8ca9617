"""What pages do not show stands in no JSON document. Contract python-index section 6."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_json.site import BASED, UP, WHOLE, Documents, fresh
from tests.integration.reading.mirror_site import NEW
from tests.support.factories import now


class TestHidden:
    """What the policy hides on the page is hidden here."""

    async def test_too_new(self, site: Documents) -> None:
        """From releases, urls and info; the release that stands for the project is the newest one that is shown."""
        site.upstream.add("thing", NEW, fields=fresh())
        site.upstream.infos["thing", "2.0"] = {"summary": "poisoned"}
        await site.set("a/top", policy={"min_age": 3600})
        document = await site.document(BASED)
        assert (document["info"]["version"], document["info"]["summary"]) == ("1.0", "First")
        assert list(document["releases"]) == ["0.9", "1.0"]
        answer = await site.get("/a/top/pypi/thing/2.0/json")
        assert answer.status_code == 404
        assert "poisoned" not in json.dumps(document)
        open_ = await site.document(WHOLE)
        assert (open_["info"]["version"], open_["info"]["summary"]) == ("2.0", "poisoned")
        assert (await site.get("/root/pypi/pypi/thing/2.0/json")).status_code == 200

    async def test_a_file_of_a_release(self, site: Documents) -> None:
        """Of a release that is old enough a file may be too new."""
        late = "thing-1.0.tar.gz"
        site.upstream.add("thing", late, fields=fresh())
        await site.set("root/pypi", policy={"min_age": 3600})
        assert [file["filename"] for file in (await site.document())["urls"]] == [WHEEL]
        assert late not in (await site.get("/root/pypi/pypi/thing/1.0/json")).text

    async def test_it_shows_when_the_time_has_come(self, site: Documents) -> None:
        """By the clock alone, in the same process."""
        site.upstream.add("thing", NEW, fields=fresh(now() - timedelta(seconds=3600 - 3)))
        await site.set("a/top", policy={"min_age": 3600})
        assert (await site.document(BASED))["info"]["version"] == "1.0"
        assert (await site.get("/a/top/pypi/thing/2.0/json")).status_code == 404
        await asyncio.sleep(3.2)
        assert (await site.document(BASED))["info"]["version"] == "2.0"
        assert (await site.get("/a/top/pypi/thing/2.0/json")).status_code == 200

    @pytest.mark.parametrize(
        "policy",
        [
            {"denied": {"thi*": "no"}},
            {"allowed": ["other"]},
            {"quarantined": {"thing": "bad"}},
            {"reserved": ["thing"]},
        ],
        ids=["denied", "not allowed", "quarantined", "reserved"],
    )
    async def test_names(self, site: Documents, policy: dict[str, object]) -> None:
        """A name that is hidden has no documents, and is not asked for."""
        await site.set("a/top", policy=policy)
        for path in (BASED, "/a/top/pypi/thing/1.0/json"):
            assert (await site.get(path)).status_code == 404
        assert not site.upstream.asked
        await site.document(WHOLE)
        assert (await site.get(BASED)).status_code == 404

    async def test_upstream_quarantine(self, site: Documents) -> None:
        """A project that is in quarantine at its upstream has no document."""
        site.upstream.heads["thing"] = {"project-status": {"status": "quarantined", "reason": "bad"}}
        assert (await site.get()).status_code == 404
        assert site.upstream.asked[UP] == 0
