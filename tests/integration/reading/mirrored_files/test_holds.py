"""What is held back on pages is held back at its address. Contract python-index section 6."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.integration.reading.constants import LARGE
from tests.integration.reading.mirror_site import NEW, OLD
from tests.integration.reading.mirrored_files.site import BIG, ON_FOLDERS, Files, path_of
from tests.support.factories import now


@ON_FOLDERS
class TestHolds:
    """What is held back on pages is held back at its address."""

    async def test_a_file_that_is_too_new(self, site: Files) -> None:
        """403 with the rule, whose it is and until when; for the file, its metadata, HEAD and every spelling."""
        moment = now()
        site.upstream.add(
            "thing",
            "thing-2.0-py3-none-any.whl",
            b"new",
            metadata=b"new",
            fields={"upload-time": moment.isoformat().replace("+00:00", "Z")},
        )
        paths = await site.page("a/top")
        path = paths["thing-2.0-py3-none-any.whl"]
        assert (await site.get(path)).content == b"new"
        await site.set("a/top", policy={"min_age": 3600})
        for spelling in (path, path.replace("+f", "%2Bf"), f"{path}.metadata"):
            answer = await site.get(spelling)
            assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            problem = answer.json()
            assert (problem["rule"], problem["index"]) == ("too-new", "a/top")
            assert (
                problem["until"] == f"{(moment + timedelta(hours=1)).replace(tzinfo=None).isoformat('T', 'seconds')}Z"
            )
            assert problem["until"] in problem["detail"]
            assert (await site.client.head(spelling)).status_code == 403
            ranged = await site.client.get(spelling, headers={"range": "bytes=0-1"})
            assert ranged.status_code == 403
        assert (await site.get(path.replace("a/top", "root/pypi"))).content == b"new"

    async def test_the_clock_ends_a_hold(self, site: Files) -> None:
        """Without anybody telling."""
        moment = now() - timedelta(seconds=3600) + timedelta(seconds=1.5)
        fields = {"upload-time": moment.isoformat().replace("+00:00", "Z")}
        site.upstream.add("thing", NEW, b"new", fields=fields)
        await site.set("root/pypi", policy={"min_age": 3600})
        path = f"/root/pypi/+f/{path_of(b'new', NEW)}"
        assert NEW not in await site.page()
        assert (await site.get(path)).status_code == 403
        await asyncio.sleep(1.6)
        assert (await site.get(path)).content == b"new"
        assert NEW in await site.page()

    async def test_a_name_that_is_denied(self, site: Files) -> None:
        """Is told with its reason, though nothing is known of the file."""
        await site.set("root/pypi", policy={"denied": {"thing": "malware"}})
        answer = await site.get(f"/a/top/+f/{path_of(b'x', BIG)}")
        assert (answer.status_code, answer.json()["rule"]) == (403, "denied")
        assert "malware" in answer.json()["detail"]
        assert site.upstream.asked["/simple/thing/"] == 0

    async def test_a_stage_hides_the_mirror(self, site: Files) -> None:
        """A name that it holds is not served from elsewhere, unless the whitelist opens it."""
        path = (await site.page("a/top"))[BIG]
        await site.family.publish("a/top", OLD, b"private")
        assert (await site.get(path)).status_code == 404
        await site.family.make("a/top", "root/pypi", mirror_whitelist=["thing"])
        await site.family.reading.news()
        assert (await site.get(path)).content == LARGE
