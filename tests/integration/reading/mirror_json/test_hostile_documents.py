"""Documents of the JSON API that are refused, or taken over in part. Contract python-index section 5.1 item 9."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import delete

from shared.catalogue.tables import MirrorJson
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.mirror_json.site import RELEASE, UP, Documents
from tests.integration.reading.mirror_site import OLD, STALE
from tests.support.upstream import Fault

AS_JSON = {"content-type": "application/json"}
BODIES = {
    "no JSON": b"{",
    "depth": b"[" * 10_000,
    "depth of objects": b'{"info":' * 10_000,
    "a number without end": b'{"info":{"name":"thing","version":"1.0","size":1' + b"0" * 400 + b"}}",
    "a list": b"[]",
    "no info": b'{"info":[]}',
    "another project": b'{"info":{"name":"other","version":"1.0"}}',
    "no name": b'{"info":{"version":"1.0"}}',
    "a name of another type": b'{"info":{"name":["thing"],"version":"1.0"}}',
    "a version of another type": b'{"info":{"name":"thing","version":1}}',
    "too large": b" " * ((1 << 20) + 1),
}
HOSTILE: dict[str, Fault] = {
    **{name: Fault(status=200, headers=AS_JSON, body=body) for name, body in BODIES.items()},
    "another type": Fault(status=200, headers={"content-type": "text/html"}, body=b"<html>"),
    "private address": Fault(status=302, headers={"location": "http://10.0.0.1/"}),
    "another scheme": Fault(status=302, headers={"location": "ftp://127.0.0.1/"}),
    "broken off": Fault(cut=10),
    "forbidden": Fault(status=403),
}


@pytest.mark.parametrize("fault", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_document_is_refused_and_the_old_one_stays(site: Documents, fault: Fault) -> None:
    """Whatever is wrong with it; where there is no old one, the page says what it can."""
    first = await site.document()
    site.upstream.infos["thing", "1.0"]["summary"] = "Later"
    await site.expire()
    site.upstream.faults[UP] = fault
    answer = await site.get()
    assert (answer.json(), STALE in answer.headers) == (first, True)
    async with site.engine.begin() as connection:
        await connection.execute(delete(MirrorJson))
    site.reopen()
    asked = site.upstream.asked[UP]
    for _ in range(2):
        unknown = await site.document()
        assert (unknown["info"]["version"], unknown["info"]["summary"]) == ("1.0", None)
        site.reopen()
    assert site.upstream.asked[UP] == asked + 1, "a failure is noted, so that not every request tries again"


async def test_a_serial_never_goes_back(site: Documents) -> None:
    """A node that is behind is asked again later; the newer document stays."""
    site.upstream.add("thing", "thing-0.8.tar.gz")
    first = await site.document()
    site.upstream.infos["thing", "1.0"]["summary"] = "Behind"
    site.upstream.json_heads[UP] = {"last_serial": 1}
    await site.expire()
    answer = await site.get()
    assert (answer.json(), STALE in answer.headers) == (first, True)
    await site.set("root/pypi", mirror_ignore_serial_header=True)
    await site.expire()
    assert (await site.document())["info"]["summary"] == "Behind"


async def test_wrong_types_are_left_out(site: Documents) -> None:
    """Key by key, also what is so deep that it could not be written again; the rest is used."""
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"a": deep}
    site.upstream.json_heads[UP] = {
        "info": {
            "name": "Thing",
            "version": "1.0",
            "summary": ["x"],
            "classifiers": "x",
            "requires_dist": [1],
            "project_urls": {"a": 1},
            "description": None,
            "keywords": ["a"],
            "author": "Ann",
            "odd": {"a": {}},
            "requires_python": {},
            "deep": deep,
        },
        "releases": {"1.0": {"no": "list"}, "0.9": [7, {"filename": 1}, {"filename": OLD, "digests": "x"}]},
        "urls": "none",
        "vulnerabilities": [{"id": "x", "deep": deep, "link": [deep], "aliases": ["y"]}, deep],
        "ownership": {"roles": "x"},
        "last_serial": "2",
    }
    document = await site.document()
    info = document["info"]
    assert (info["name"], info["author"], info["summary"], info["classifiers"]) == ("Thing", "Ann", None, [])
    assert (info["project_urls"], info["keywords"], info["requires_dist"]) == (None, None, None)
    assert not {"odd", "deep"} & set(info)
    assert document["vulnerabilities"] == [{"id": "x", "aliases": ["y"]}]
    assert document["ownership"] == {"roles": [], "organization": None}
    assert document["urls"][0]["md5_digest"] is None


async def test_the_pages_digest_wins(site: Documents) -> None:
    """What a document says of other bytes than the page names is not said of these; nor is a file it alone has."""
    entry = {
        "filename": WHEEL,
        "url": "https://evil.test/x",
        "digests": {"sha256": "0" * 64, "md5": "0" * 32},
        "packagetype": "sdist",
        "yanked": True,
    }
    more = {"filename": "thing-9.0.tar.gz", "url": "https://evil.test/y", "digests": {"sha256": "1" * 64}}
    site.upstream.json_heads[UP] = {"releases": {"1.0": [entry], "9.0": [more]}, "urls": [entry]}
    answer = await site.get()
    document = answer.json()
    assert list(document["releases"]) == ["0.9", "1.0"]
    [wheel] = document["urls"]
    assert wheel["digests"]["sha256"] == hashlib.sha256(WHEEL.encode()).hexdigest()
    assert (wheel["md5_digest"], wheel["packagetype"], wheel["yanked"]) == (None, "bdist_wheel", False)
    assert "evil" not in answer.text


async def test_the_version_of_another_is_refused(site: Documents) -> None:
    """A release's document that is about another release says nothing of this one."""
    site.upstream.json_heads["/pypi/thing/0.9/json"] = {"info": {"name": "thing", "version": "1.0", "summary": "First"}}
    assert (await site.document(RELEASE))["info"]["summary"] is None


async def test_a_version_without_a_file(site: Documents) -> None:
    """A page may name one, and so do documents; it never stands for the project while another has files."""
    site.upstream.heads["thing"] = {"versions": ["5.0", "1.0", "0.9", "no version/at all"]}
    for index in ("root/pypi", "a/top"):
        document = await site.document(f"/{index}/pypi/thing/json")
        assert document["info"]["version"] == "1.0"
        assert document["releases"]["5.0"] == []
        release = await site.document(f"/{index}/pypi/thing/5.0/json")
        assert (release["urls"], release["info"]["yanked"]) == ([], False)
