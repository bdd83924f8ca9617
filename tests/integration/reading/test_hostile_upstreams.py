"""Pages of upstreams that lie, never end or drag: one clear refusal, the old page stays, nothing hangs.

Source: contract python-index section 5.1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import NormalizedName
from services.index.settings import Limits
from services.index.upstreams import Absent, AskFailed, Upstreams
from shared.catalogue.tables import MirrorPage
from shared.clock import SystemClock
from shared.objects.interface import ObjectStores
from shared.outgoing import Outgoing, Patience
from shared.outside import LOOPBACK, Outside
from shared.reading.mirror_options import MirrorOptions
from shared.settings import Mirrors
from tests.integration.reading.constants import JSON, WHEEL
from tests.integration.reading.mirror_site import BASED, DIRECT, MIRRORS, NEW, OLD, STALE, Site, mirrored
from tests.support.factories import now
from tests.support.reading import open_reading, served
from tests.support.upstream import Fault, Upstream

PAGE = "/simple/thing/"
HASTE = Patience(connect=0.5, read=0.5, head=0.5)
"""Seconds: the whole of an answer has one."""


def _page(*files: dict[str, object], name: str = "thing") -> bytes:
    return json.dumps({"meta": {"api-version": "1.4"}, "name": name, "files": files}).encode()


def _file(name: str, digest: str = "aa" * 32) -> dict[str, object]:
    return {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": digest}, "size": 1}


def _said(body: bytes, kind: str = JSON) -> Fault:
    return Fault(status=200, headers={"content-type": kind}, body=body)


HOSTILE = {
    "no JSON": (_said(b"{"), "refused"),
    "depth": (_said(b"[" * 10_000), "refused"),
    "depth in a key": (_said(b'{"meta":{"api-version":"1.4"},"x":' + b"[" * 10_000), "refused"),
    "another type": (_said(b"x", "text/plain"), "refused"),
    "another version": (_said(b'{"meta":{"api-version":"2.0"}}'), "refused"),
    "a name with two digests": (_said(_page(_file(NEW), _file(NEW, "bb" * 32))), "twice"),
    "another project": (_said(_page(_file(NEW), name="other")), "was asked for"),
    "private address": (
        Fault(status=302, headers={"location": "http://10.0.0.1/"}),
        "10.0.0.1 has an address",
    ),
    "the machine's own metadata": (Fault(status=302, headers={"location": "http://169.254.169.254/"}), "not public"),
    "another scheme": (Fault(status=302, headers={"location": "ftp://127.0.0.1/"}), "no plain http"),
    "a file": (Fault(status=302, headers={"location": "file:///etc/passwd"}), "no plain http"),
    "round and round": (Fault(status=302, headers={"location": PAGE}), "redirects more than"),
    "broken off": (Fault(cut=10), "broke off"),
    "forbidden": (Fault(status=403), "answers 403"),
    "200 MB": (_said(b" " * 200_000_000), "more than 67108864 bytes"),
    "endless": (Fault(headers={"content-type": JSON}, endless=b" " * (1 << 20)), "more than 67108864 bytes"),
    "an endless drip": (Fault(headers={"content-type": JSON}, endless=b" ", drip=0.1), "in time"),
    "a slow drip": (Fault(body=b" " * 100_000, drip=0.2), "in time"),
    "silent": (Fault(never=True), "did not answer within"),
    "silent in the middle": (Fault(held=10), "nothing arrived in time"),
}
_SLOW_MACHINE = {"200 MB", "endless"}
"""What ends by its size alone: a busy machine has time for it."""


@pytest.fixture
async def site(request: pytest.FixtureRequest, engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Site]:
    """An upstream with one project, a mirror of it and a stage based on the mirror, all in haste."""
    upstream = Upstream()
    upstream.add("thing", WHEEL, metadata=b"Name: thing")
    upstream.add("thing", OLD)
    name = request.node.callspec.id if hasattr(request.node, "callspec") else ""
    limits = Limits() if name in _SLOW_MACHINE else Limits(upstream=HASTE)
    async with mirrored(Site, engine, open_reading(engine, stores, limits, mirrors=MIRRORS), upstream) as site:
        site.limits = limits
        yield site


async def _failure(site: Site) -> str:
    """Return what was noted of the upstream, once it is."""
    async with asyncio.timeout(30):
        while True:
            async with site.engine.connect() as connection:
                row = select(MirrorPage.failure).where(MirrorPage.project == "thing")
                failure = await connection.scalar(row)
            if failure is not None:
                return failure
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("fault", "words"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_page_is_refused_and_the_old_one_stays(site: Site, fault: Fault, words: str) -> None:
    """At once, marked as stale, with one reason; whatever is wrong with the page, its question ends."""
    names = await site.names()
    await site.expire()
    site.upstream.add("thing", NEW)
    # One of its own: it is counted and ended.
    fault = site.upstream.faults[PAGE] = replace(fault, go=asyncio.Event(), left=asyncio.Event())
    try:
        for path in (DIRECT, BASED):
            answer = await site.get(path)
            assert [file["filename"] for file in answer.json()["files"]] == names
            assert STALE in answer.headers
        assert words in await _failure(site)
        if fault.endless:
            async with asyncio.timeout(10):
                await fault.left.wait()
    finally:
        fault.go.set()
        fault.left.set()


async def test_a_file_that_cannot_be_listed_takes_no_other_along(site: Site) -> None:
    """Names with `/`, without a digest or of another project are left out; scripts are no links."""
    good = _file(NEW)
    bad = [
        _file("../thing-3.0.tar.gz"),
        _file("thing-3.0.tar.gz/x"),
        _file("a/thing-3.0.tar.gz"),
        _file("other-1.tar.gz"),
    ]
    site.upstream.faults[PAGE] = _said(_page(*bad, good, good, {"filename": "thing-4.0.tar.gz", "url": "/x"}))
    assert await site.names() == [NEW]
    links = f'<a href="/files/{OLD}#sha256={"bb" * 32}">{OLD}</a><a href="javascript:alert(1)#sha256={"cc" * 32}">x</a>'
    site.upstream.faults[PAGE] = _said(f"<script>alert(1)</script>{links}".encode(), "text/html")
    await site.expire()
    assert await site.names() == [OLD]
    html = (await site.get(DIRECT, "text/html")).text
    assert ("<script" in html, "javascript:" in html) == (False, False)


async def test_names_that_are_one_name_are_one_project(site: Site) -> None:
    """However the upstream spells it, its page stands at one address, and the upstream is asked by that alone."""
    site.upstream.faults[PAGE] = _said(_page(_file("Thing-2.0.tar.gz"), name="THING"))
    assert await site.names() == ["Thing-2.0.tar.gz"]
    for spelled in ("THING", "Thing"):
        answer = await site.get(DIRECT.replace("thing", spelled))
        assert (answer.status_code, answer.headers["location"].endswith("/thing/")) == (301, True)
    assert [path for path in site.upstream.asked if path.startswith("/simple/")] == [PAGE]


@dataclass(slots=True)
class _Asking:
    upstreams: Upstreams
    options: MirrorOptions
    failures: list[str] = field(default_factory=list)

    async def ask(self, project: str) -> None:
        """Ask for a page as the mirror does: not at all while the upstream is left alone."""
        failure = self.upstreams.shut(self.options)
        try:
            if failure is None:
                assert isinstance(await self.upstreams.page(self.options, None, NormalizedName(project), None), Absent)
        except AskFailed as error:
            failure = error
        self.failures.append("" if failure is None else str(failure))


async def test_an_upstream_that_fails_is_left_alone() -> None:
    """After three failures in a row, whichever pages they are of; an answer between them, also 404, starts anew."""
    upstream = Upstream()
    async with served(upstream) as url, Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        options = MirrorOptions(f"{url}/simple/")
        asking = _Asking(Upstreams(outgoing, SystemClock(), page_bytes=1 << 20, patience=HASTE), options)
        for down in (True, True, False, True, True, True, True, False):
            upstream.down = Fault(status=503) if down else None
            await asking.ask("thing")
        assert upstream.asked[PAGE] == 6
        assert [bool(failure) for failure in asking.failures] == [True, True, False, True, True, True, True, True]
        assert asking.failures[-1] == "it answers 503"


@pytest.mark.parametrize(("said", "seconds"), [("90", 90), ("soon", 2), ("-1", 2), ("99999999999", 2), ("86400", 3600)])
async def test_retry_after_is_respected(said: str, seconds: int) -> None:
    """From the first failure on, and for an hour at the most; what is none of RFC 9110 counts as not said."""
    upstream = Upstream()
    upstream.down = Fault(status=429, headers={"retry-after": said})
    async with served(upstream) as url, Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        options = MirrorOptions(f"{url}/simple/")
        upstreams = Upstreams(outgoing, SystemClock(), page_bytes=1 << 20, patience=HASTE)
        with pytest.raises(AskFailed) as failed:
            await upstreams.page(options, None, NormalizedName("thing"), None)
        assert failed.value.pause.total_seconds() == seconds
        shut = upstreams.shut(options)
        assert (shut is not None) == (seconds > 2)


async def test_the_upstream_is_told_who_asks(site: Site) -> None:
    """By name and version, for pages and lists alike: nothing is passed off as an installer."""
    await site.get()
    await site.get("/root/pypi/+simple/")
    agents = {request["user-agent"] for request in site.upstream.requests}
    assert len(agents) == 1
    assert agents.pop().startswith("countermark-server/0.")


async def test_that_there_is_none_is_remembered_for_a_moment(site: Site) -> None:
    """For `mirrors.absent`, a minute at the most; in memory alone: nothing is written down."""
    for _ in range(5):
        assert (await site.get(DIRECT.replace("thing", "nothing"))).status_code == 404
    assert site.upstream.asked["/simple/nothing/"] == 1
    site.upstream.add("nothing", "nothing-1.0.tar.gz")
    site.reopen()
    assert await site.names(DIRECT.replace("thing", "nothing")) == ["nothing-1.0.tar.gz"]


def _gauges(site: Site) -> dict[str, float]:
    """Return what this process tells Prometheus of the mirror's upstream."""
    text = site.family.reading.resources.metrics.text().decode()
    found = re.findall(r'^countermark_upstream_(\w+)\{index="root/pypi"\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_gauges_tell_of_stale_pages_and_of_an_upstream_that_is_left_alone(site: Site) -> None:
    """Both go back to zero by themselves: with the next good answer, and with the next question that is asked."""
    await site.get()
    assert _gauges(site) == {"failures": 0, "stale": 0, "shut": 0}
    await site.expire()
    site.upstream.down = Fault(status=503, headers={"retry-after": "1"})
    assert STALE in (await site.get()).headers
    assert _gauges(site) == {"failures": 1, "stale": 1, "shut": 0}
    for path in (BASED, DIRECT.replace("thing", "other")):
        await site.get(path)
    assert _gauges(site) == {"failures": 1, "stale": 2, "shut": 1}
    site.upstream.down = None
    await asyncio.sleep(2.1)
    assert (await site.get(DIRECT.replace("thing", "another"))).status_code == 404
    assert _gauges(site) == {"failures": 0, "stale": 0, "shut": 0}


async def test_a_slow_upstream_shows_in_the_gauge(site: Site) -> None:
    """Though it does not fail: a page that is shown before its answer came is unconfirmed all the same."""
    await site.get()
    await site.expire()
    site.upstream.faults[PAGE] = Fault(delay=0.45)
    assert STALE in (await site.get()).headers
    assert _gauges(site) == {"stale": 1, "shut": 0}


async def test_credentials_come_from_a_secret(site: Site) -> None:
    """Sent with pages and the list to the mirror's own place alone, and told to nobody."""
    secret = SecretStr(site.url.replace("://", "://reader:hush%2Dhush@"))
    mirrors = Mirrors(patience=0.3, credentials={"root/pypi": secret})
    reading = open_reading(site.engine, site.family.stores, mirrors=mirrors)
    await reading.news()
    elsewhere = Upstream()
    elsewhere.add("moved", "moved-1.0.tar.gz")
    async with reading.client() as client, served(elsewhere) as url:
        site.upstream.faults["/simple/moved/"] = Fault(status=302, headers={"location": f"{url}/simple/moved/"})
        answers = [await client.get(f"/root/pypi/+simple/{path}", headers={"accept": JSON}) for path in ("thing/", "")]
        answers.append(await client.get("/root/pypi/+simple/moved/", headers={"accept": JSON}))
        assert "moved-1.0.tar.gz" in answers[-1].text
    given = "Basic " + base64.b64encode(b"reader:hush-hush").decode()
    assert [request.get("authorization") for request in site.upstream.requests] == [given] * 3
    assert [request.get("authorization") for request in elsewhere.requests] == [None]
    assert not any("hush" in f"{answer.text}{answer.headers}" for answer in answers)


async def test_credentials_do_not_follow_the_mirror(site: Site) -> None:
    """Whoever points it at another server reads nothing there that was meant for the first one."""
    secret = SecretStr(site.url.replace("://", "://reader:hush@"))
    reading = open_reading(site.engine, site.family.stores, mirrors=Mirrors(credentials={"root/pypi": secret}))
    another = Upstream()
    another.add("thing", "thing-1.0.tar.gz", b"theirs")
    async with reading.client() as client, served(another) as url:
        site.family.reading = reading
        await site.set("root/pypi", mirror_url=f"{url}/simple/")
        for path in ("+simple/thing/", "+simple/", "pypi/thing/json"):
            assert (await client.get(f"/root/pypi/{path}", headers={"accept": JSON})).status_code == 200
        page = (await client.get("/root/pypi/+simple/thing/", headers={"accept": JSON})).json()
        address = page["files"][0]["url"].removeprefix("../../")
        assert (await client.get(f"/root/pypi/{address}")).content == b"theirs"
    assert len(another.requests) >= 4
    assert not any("authorization" in request for request in another.requests)


async def test_a_date_in_retry_after_is_respected() -> None:
    """As RFC 9110 writes it; one that is past says nothing."""
    upstream = Upstream()
    async with served(upstream) as url, Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        for ahead, least, most in ((300, 290, 301), (-300, 2, 2)):
            upstreams = Upstreams(outgoing, SystemClock(), page_bytes=1 << 20, patience=HASTE)
            moment = format_datetime(now() + timedelta(seconds=ahead), usegmt=True)
            upstream.down = Fault(status=503, headers={"retry-after": moment})
            with pytest.raises(AskFailed) as failed:
                await upstreams.page(MirrorOptions(f"{url}/simple/"), None, NormalizedName("thing"), None)
            assert least <= failed.value.pause.total_seconds() <= most
