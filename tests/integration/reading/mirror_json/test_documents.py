"""The JSON API on mirrors, directly and through an index that is based on one. Contract python-index section 1.9."""

from __future__ import annotations

import hashlib

from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_json.site import BASED, BUG, RELEASE, UP, WHOLE, Documents
from tests.integration.reading.mirror_site import NEW, OLD


class TestWhatIsSaid:
    """Of projects and of releases."""

    async def test_of_a_project(self, site: Documents) -> None:
        """What the upstream says of its newest release, and of its files; the addresses are this registry's own."""
        for path, root in ((WHOLE, "root/pypi"), (BASED, "a/top")):
            document = await site.document(path)
            info = document["info"]
            assert (info["name"], info["version"], info["summary"]) == ("thing", "1.0", "First")
            assert (info["classifiers"], info["requires_dist"]) == (["Topic :: A"], ["other>1"])
            assert (info["description"], info["keywords"], info["new_key"]) == ("# Thing", "a,b", "kept")
            assert (info["license"], info["author"], info["docs_url"], info["yanked"]) == (None, None, None, False)
            assert info["project_urls"] == {"Home": "https://thing.test"}
            assert info["package_url"] == f"http://127.0.0.1:3141/{root}/+simple/thing/"
            assert "_private" not in info
            assert list(document["releases"]) == ["0.9", "1.0"]
            [wheel] = document["urls"]
            assert wheel == document["releases"]["1.0"][0]
            content = WHEEL.encode()
            sha256 = hashlib.sha256(content).hexdigest()
            assert wheel["digests"] == {
                "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "sha256": sha256,
                "blake2b_256": hashlib.blake2b(content, digest_size=32).hexdigest(),
            }
            assert wheel["url"] == f"http://127.0.0.1:3141/{root}/+f/{sha256[:3]}/{sha256[3:16]}/{WHEEL}"
            assert (wheel["packagetype"], wheel["python_version"], wheel["size"]) == ("bdist_wheel", "py3", len(WHEEL))
            assert wheel["upload_time_iso_8601"] == "2020-01-02T03:04:05.678901Z"
            [sdist] = document["releases"]["0.9"]
            assert (sdist["yanked"], sdist["yanked_reason"], sdist["requires_python"]) == (True, "broken", ">=3.9")
            assert document["vulnerabilities"] == []
            assert document["last_serial"] == 2
        assert site.upstream.asked[UP] == 1
        assert site.upstream.asked["/simple/thing/"] == 1

    async def test_of_a_release(self, site: Documents) -> None:
        """Its own metadata, its files alone and its known vulnerabilities, as far as they have that shape."""
        document = await site.document(RELEASE)
        assert (document["info"]["summary"], document["info"]["yanked"]) == ("Old", True)
        assert document["info"]["yanked_reason"] == "broken"
        assert [file["filename"] for file in document["urls"]] == [OLD]
        assert document["urls"][0]["md5_digest"]
        assert document["vulnerabilities"] == [BUG]
        assert "releases" not in document
        assert (await site.get("/root/pypi/pypi/thing/3.0/json")).status_code == 404
        assert (await site.get("/root/pypi/pypi/nothing/json")).status_code == 404
        assert [path for path in site.upstream.asked if path.startswith("/pypi")] == ["/pypi/thing/0.9/json"]

    async def test_a_private_name_is_not_asked_for(self, site: Documents) -> None:
        """A stage that holds a name says all of it by itself."""
        file = await site.family.publish("a/top", NEW, b"private")
        await site.family.indexes["a/top"].describe(file, summary="private")
        document = await site.document(BASED)
        assert (document["info"]["summary"], list(document["releases"])) == ("private", ["2.0"])
        assert not [path for path in site.upstream.asked if "thing" in path]

    async def test_hosted_and_mirrored_together(self, site: Documents) -> None:
        """Where a mirror is opened for a name, each release is described by the index that it comes from."""
        file = await site.family.publish("a/top", "thing-0.8.tar.gz", b"private")
        await site.family.indexes["a/top"].describe(file, summary="private")
        await site.family.make("a/top", "root/pypi", mirror_whitelist=["thing"])
        await site.family.reading.news()
        document = await site.document(BASED)
        assert (document["info"]["summary"], list(document["releases"])) == ("First", ["0.8", "0.9", "1.0"])
        assert all(file["md5_digest"] for files in document["releases"].values() for file in files)
        own = await site.document("/a/top/pypi/thing/0.8/json")
        assert (own["info"]["summary"], own["ownership"]["roles"]) == ("private", [{"role": "Owner", "user": "a"}])
