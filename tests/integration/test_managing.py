"""Projects in the API: lists, yank, removal and status, each signed before it is answered, read by stock python-tuf."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from packaging.utils import NormalizedName
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import FileName
from countermark.core.pointer import parse_latest
from services.download.rules import FileWanted, refusal
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebuilding import rebuild
from services.upload.app import create_service
from services.upload.holding import hold_file
from shared.auth.principal import Scope, Verb
from shared.catalogue import audit, heads, reading
from shared.catalogue.tables import Audit, File, Grant, Journal, Outbox
from shared.errors import ErrorKind
from shared.ids import FileId
from shared.jobs.messages import HoldFile
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.support.archives import Project, make_sdist, make_wheel
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index, make_token, now
from tests.support.kept_bundles import Keeper
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic, form_body

API = "/api/v1/indexes/root/stable/projects"


@dataclass
class Deployment:
    """The upload service with a signer at work, its owner's token, and a reader of what is signed."""

    resources: Resources
    index: MadeIndex
    http: httpx2.AsyncClient
    owner: dict[str, str]
    tree: TreeReader

    async def upload(self, *names: str, summary: str | None = None) -> None:
        """Upload wheels `name-version`, each under its own name."""
        for name in names:
            project, version = name.split("-")
            content = make_wheel(project, version, project=Project(project, version, summary=summary))
            body, form = form_body(f"{project}-{version}-py3-none-any.whl", content)
            answer = await self.http.post("/root/stable/", content=body, headers=self.owner | form)
            assert answer.status_code == 200, answer.text
            assert "serial" in answer.text, "published before it was answered"

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask as the owner and expect success."""
        answer = await self.http.request(method, f"{API}{path}", json=body, headers=self.owner)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def page(self, project: str = "widget") -> dict[str, Any]:
        """Return the signed page document of a project as a TUF client gets it."""
        document: dict[str, Any] = orjson.loads(self.tree.target(f"pointers/{project}/_simple.json") or b"null")
        return document

    def has_pointer(self, file_name: str, project: str = "widget") -> bool:
        """Whether signed metadata name a pointer of a file."""
        return self.tree.target(f"pointers/{project}/{file_name}.pointer") is not None

    def latest(self, project: str = "widget") -> str | None:
        """Return the version that the signed `_latest` names."""
        found = self.tree.target(f"pointers/{project}/_latest.pointer")
        return None if found is None else parse_latest(found).version

    async def journal(self) -> list[tuple[str | None, str, str | None]]:
        """Return the journal: version, action, actor."""
        async with self.resources.engine.connect() as connection:
            query = select(Journal.version, Journal.action, Journal.actor).order_by(Journal.serial, Journal.position)
            return [(row.version, row.action, row.actor) for row in await connection.execute(query)]

    async def audited(self) -> list[tuple[str, str, str]]:
        """Return what people did beside uploading: actor, action, subject."""
        async with self.resources.engine.connect() as connection:
            others = (Audit.subject.startswith("root/stable/"), Audit.action != "file.upload")
            query = select(Audit.actor, Audit.action, Audit.subject).where(*others)
            return [(row.actor, row.action, row.subject) for row in await connection.execute(query.order_by(Audit.id))]

    async def refused(self, file_name: str) -> ErrorKind | None:
        """Return why the download service refuses a file, None when it serves it."""
        async with self.resources.engine.connect() as connection:
            files = await connection.execute(select(func.max(File.path_key)).filter_by(file_name=file_name))
            key = files.scalar_one()
            facts = await reading.file_facts(connection, self.index.id, key, FileName(file_name))
        error = refusal(FileWanted(key, FileName(file_name), metadata=False), facts)
        return None if error is None else error.kind


@pytest.fixture
async def deployment(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The service, its index, and a signer that publishes what waits."""
    async with service_resources(engine, tmp_path, publish_wait=10) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        async with engine.begin() as connection:
            await connection.execute(insert(Grant).values(index_id=index.id, subject="root", verb="configure"))
        token = await make_token(engine)
        await resources.directory.refresh()
        publisher = Publisher(resources)
        await publisher.publish(index.id)

        async def sign() -> None:
            while True:
                await publisher.publish(index.id)
                await resources.heads.wake(str(index.id))
                await asyncio.sleep(0.02)

        signer = asyncio.create_task(sign())
        transport = httpx2.ASGITransport(create_service(resources).app)
        tree = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            yield Deployment(resources, index, http, basic(token), tree)
        signer.cancel()
        with suppress(asyncio.CancelledError):
            await signer


W10, W11 = "widget-1.0-py3-none-any.whl", "widget-1.1-py3-none-any.whl"
W100 = "widget-1.0.0-py3-none-any.whl"


async def test_equal_versions_are_one_release_found_by_either_spelling(deployment: Deployment) -> None:
    """1.0 and 1.0.0 are one version (PEP 440): the release is written as its first file writes it."""
    await deployment.upload("widget-1.0", "widget-1.0.0", "widget-1!1.0", "widget-1.0.post1")
    page = deployment.page()
    assert page["versions"] == ["1!1.0", "1.0.post1", "1.0"]
    assert [file["filename"] for file in page["files"]][:2] == [W10, W100]
    shown = await deployment.ask("GET", "/widget")
    assert [(line["version"], line["files"]) for line in shown["releases"]] == [
        ("1!1.0", 1),
        ("1.0.post1", 1),
        ("1.0", 2),
    ]
    again = await rebuild(deployment.resources, deployment.index.id)
    assert (again is not None and again.differing) == ()
    for version in ("1.0", "1.0.0", "1", "v1.0.0.0"):
        release = await deployment.ask("GET", f"/widget/releases/{version}")
        assert release["version"] == "1.0"
        assert [file["filename"] for file in release["files"]] == [W10, W100]
    await deployment.ask("POST", f"/widget/releases/1/files/{W100}/yank", {"reason": "broken"})
    assert [file["yanked"] for file in deployment.page()["files"]][:2] == [False, "broken"]
    await deployment.ask("DELETE", "/widget/releases/1.0.0")
    assert deployment.page()["versions"] == ["1!1.0", "1.0.post1"]
    assert [version for version, _, _ in (await deployment.journal())[-3:]] == ["1.0"] * 3
    assert (await deployment.audited())[-1] == ("root", "release.remove", "root/stable/widget/1.0")


async def test_equal_versions_that_arrive_at_once_are_one_release(deployment: Deployment) -> None:
    """Whichever spelling commits first names the release; nobody is refused for it."""
    await asyncio.gather(*(deployment.upload(f"widget-2{zeros}") for zeros in ("", ".0", ".0.0", ".0.0.0")))
    [version] = deployment.page()["versions"]
    assert version in {"2", "2.0", "2.0.0", "2.0.0.0"}
    assert len(deployment.page()["files"]) == 4


async def test_a_yank_is_signed_when_it_is_answered_and_can_be_taken_back(deployment: Deployment) -> None:
    """The page says the reason, `_latest` goes to the release before, the pointers stay; un-yanking undoes it all."""
    await deployment.upload("widget-1.0", "widget-1.1")
    done = await deployment.ask("POST", "/widget/releases/1.1/yank", {"reason": "breaks <everything>"})
    assert done == {"state": "published", "serial": deployment.page()["meta"]["_last-serial"]}
    assert {file["filename"]: file["yanked"] for file in deployment.page()["files"]} == {
        W10: False,
        W11: "breaks <everything>",
    }
    assert (deployment.latest(), deployment.has_pointer(W11)) == ("1.0", True)
    assert await deployment.refused(W11) is None
    await deployment.ask("DELETE", "/widget/releases/1.1/yank")
    assert [file["yanked"] for file in deployment.page()["files"]] == [False, False]
    assert deployment.latest() == "1.1"
    assert (await deployment.journal())[2:] == [("1.1", "yank release", "root"), ("1.1", "unyank release", "root")]
    assert await deployment.audited() == [
        ("root", "release.yank", "root/stable/widget/1.1"),
        ("root", "release.unyank", "root/stable/widget/1.1"),
    ]


async def test_one_file_is_yanked_without_a_reason(deployment: Deployment) -> None:
    """Without words the page says `true`, since an empty text means two things to two installers."""
    await deployment.upload("widget-1.0")
    await deployment.ask("POST", f"/widget/releases/1.0/files/{W10}/yank")
    assert deployment.page()["files"][0]["yanked"] is True
    await deployment.ask("DELETE", f"/Widget/releases/v1.0/files/{W10}/yank")
    assert deployment.page()["files"][0]["yanked"] is False


async def test_a_held_file_leaves_the_page_and_comes_back(deployment: Deployment) -> None:
    """What was held by a job is not listed, with its reason in the release; whoever may configure gives it back."""
    await deployment.upload("widget-1.0", "widget-1.1")
    engine, index = deployment.resources.engine, deployment.index
    async with engine.begin() as connection:
        file_id = (await connection.execute(select(File.id).where(File.file_name == W10))).scalar_one()
        asked = await audit.record(
            connection, at=now(), actor="download", action="file.unverified", subject="x", reason="step 6, digest"
        )
    await hold_file(deployment.resources, HoldFile(index.id, FileId(file_id), asked))
    async with asyncio.timeout(20):
        while [file["filename"] for file in deployment.page()["files"]] != [W11]:
            await asyncio.sleep(0.05)
    shown = (await deployment.ask("GET", "/widget/releases/1.0"))["files"][0]
    assert (shown["held_reason"], shown["state"]) == ("step 6, digest", "received")
    await deployment.ask("DELETE", f"/widget/releases/1.0/files/{W10}/hold")
    assert {file["filename"] for file in deployment.page()["files"]} == {W10, W11}
    assert (await deployment.ask("GET", "/widget/releases/1.0"))["files"][0]["held_reason"] is None
    assert [action for _, action, _ in await deployment.audited()] == ["file.hold", "file.unhold"]


async def test_a_release_tells_of_its_provenance(deployment: Deployment) -> None:
    """Each release is labelled beside the one before it by version, in the list and by itself."""
    await deployment.upload("widget-1.0", "widget-1.1", "widget-1.2")
    engine, index = deployment.resources.engine, deployment.index
    keeper = Keeper(engine, deployment.resources.objects, index)
    async with engine.connect() as connection:
        rows = {row.file_name: row for row in await connection.execute(select(File))}
    for name, san in ((W10, "https://forge.test/acme@v1"), (W11, "https://forge.test/evil@v2")):
        row = rows[name]
        file = MadeFile(row.id, row.project_id, NormalizedName("widget"), "", FileName(name), row.sha256, b"", None)
        await keeper.keep(file, name.encode(), san=san)
    listed = (await deployment.ask("GET", "/widget"))["releases"]
    assert [(one["version"], one["provenance"]["label"]) for one in listed] == [
        ("1.2", "lost"),
        ("1.1", "changed"),
        ("1.0", "full"),
    ]
    one = (await deployment.ask("GET", "/widget/releases/1.1"))["provenance"]
    assert one == listed[1]["provenance"]
    # The issuer is told where it is not the forge's own.
    issued = "https://forge.test/evil (https://token.actions.githubusercontent.com)"
    assert (one["files"], one["attested"], one["identities"]) == (1, 1, [issued])


async def test_doing_a_thing_twice_does_it_once(deployment: Deployment) -> None:
    """The second answer is the first one's; another reason is another change."""
    await deployment.upload("widget-1.0")
    first = await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "bad"})
    assert await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "bad"}) == first
    other = await deployment.ask("POST", "/widget/releases/1.0/yank", {"reason": "worse"})
    assert other["serial"] == first["serial"] + 1
    removed = await deployment.ask("DELETE", "/widget/releases/1.0")
    assert await deployment.ask("DELETE", "/widget/releases/1.0") == removed
    assert len(await deployment.audited()) == 3


async def test_a_removed_file_leaves_pages_and_pointers_and_its_name_stays_burnt(deployment: Deployment) -> None:
    """The pointer vanishes, `_latest` moves, the address is gone, and no bytes bring the name back."""
    await deployment.upload("widget-1.0", "widget-1.1")
    await deployment.ask("DELETE", f"/widget/releases/1.1/files/{W11}")
    assert [file["filename"] for file in deployment.page()["files"]] == [W10]
    assert deployment.page()["versions"] == ["1.0"]
    assert (deployment.latest(), deployment.has_pointer(W11), deployment.has_pointer(W10)) == ("1.0", False, True)
    assert await deployment.refused(W11) is ErrorKind.GONE
    body, form = form_body(W11, make_wheel("widget", "1.1"))
    again = await deployment.http.post("/root/stable/", content=body, headers=deployment.owner | form)
    assert (again.status_code, "cannot be used again" in again.text) == (409, True)
    answer = await deployment.http.post(f"{API}/widget/releases/1.1/yank", headers=deployment.owner)
    assert (answer.status_code, answer.json()["detail"]) == (410, "root/stable/widget/1.1 was removed.")
    assert (await deployment.journal())[2:] == [("1.1", f"remove file {W11}", "root")]


async def test_removing_the_last_release_leaves_an_empty_page(deployment: Deployment) -> None:
    """Lists no longer name the project; what was is still told of it."""
    await deployment.upload("widget-1.0")
    await deployment.ask("DELETE", "/widget/releases/1.0")
    assert (deployment.page()["files"], deployment.latest()) == ([], None)
    assert (await deployment.ask("GET", ""))["items"] == []
    assert (await deployment.ask("GET", "/widget"))["releases"] == []
    assert [file["state"] for file in (await deployment.ask("GET", "/widget/releases/1.0"))["files"]] == ["removed"]
    assert (await deployment.journal())[1:] == [
        ("1.0", "remove release", "root"),
        ("1.0", f"remove file {W10}", "root"),
    ]


async def test_quarantine_hides_everything_and_gives_it_back(deployment: Deployment) -> None:
    """No file, no pointer, no `_latest`, no upload while it lasts; afterwards all of it, and what had waited."""
    await deployment.upload("widget-1.0", "widget-1.1")
    hidden = {"status": "quarantined", "reason": "malware report"}
    await deployment.ask("PATCH", "/widget", hidden)
    page = deployment.page()
    assert (page["files"], page["versions"]) == ([], [])
    assert page["project-status"] == hidden
    async with deployment.resources.engine.connect() as connection:
        assert await heads.current_pages(connection, deployment.index.id) == [], "nor does the project list name it"
    assert not any(deployment.has_pointer(name) for name in (W10, W11))
    assert deployment.latest() is None
    assert await deployment.refused(W10) is ErrorKind.FORBIDDEN
    body, form = form_body("widget-1.2-py3-none-any.whl", make_wheel("widget", "1.2"))
    answer = await deployment.http.post("/root/stable/", content=body, headers=deployment.owner | form)
    assert (answer.status_code, "is quarantined: it takes no uploads" in answer.text) == (403, True)
    await deployment.ask("DELETE", f"/widget/releases/1.0/files/{W10}")
    await deployment.ask("PATCH", "/widget", {"status": "active"})
    assert "project-status" not in deployment.page()
    assert [file["filename"] for file in deployment.page()["files"]] == [W11]
    assert [deployment.has_pointer(name) for name in (W10, W11)] == [False, True]
    assert (deployment.latest(), await deployment.refused(W11)) == ("1.1", None)
    assert await deployment.refused(W10) is ErrorKind.GONE
    actions = [action for _, action, _ in (await deployment.journal())[2:]]
    assert actions == ["set status quarantined", "set status active"]


async def test_a_file_that_was_waiting_when_quarantine_came_is_shown_after_it(deployment: Deployment) -> None:
    """Nothing that was acknowledged is lost, though its own publication came and went unseen."""
    await deployment.upload("widget-1.0")
    await deployment.ask("PATCH", "/widget", {"status": "quarantined"})
    waiting = await make_file(deployment.resources.engine, deployment.index, W11, b"late")
    await deployment.resources.objects.public.put(file_key(waiting.sha256, waiting.file_name), b"late")
    await deployment.ask("PATCH", "/widget", {"status": "deprecated"})
    assert [file["filename"] for file in deployment.page()["files"]] == [W10, W11]
    assert all(map(deployment.has_pointer, (W10, W11)))


async def test_an_archived_project_is_offered_and_takes_no_uploads(deployment: Deployment) -> None:
    """Files stay; the same bytes again are still fine, new ones are refused in words."""
    await deployment.upload("widget-1.0")
    await deployment.ask("PATCH", "/widget", {"status": "archived", "reason": "use gadget"})
    assert [file["filename"] for file in deployment.page()["files"]] == [W10]
    assert deployment.page()["project-status"] == {"status": "archived", "reason": "use gadget"}
    for version, status in (("1.0", 200), ("2.0", 403)):
        body, form = form_body(f"widget-{version}-py3-none-any.whl", make_wheel("widget", version))
        answer = await deployment.http.post("/root/stable/", content=body, headers=deployment.owner | form)
        assert answer.status_code == status, answer.text


async def test_a_change_that_nobody_signs_is_pending(engine: AsyncEngine, tmp_path: Path) -> None:
    """202 with a link to the state; asking again waits for the same publication instead of making another."""
    async with service_resources(engine, tmp_path) as resources:
        index = await make_index(engine)
        await make_file(engine, index, W10)
        token = await make_token(engine)
        await resources.directory.refresh()
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            for _ in range(2):
                answer = await http.post(f"{API}/widget/releases/1.0/yank", headers=basic(token))
                assert (answer.status_code, answer.json()) == (202, {"state": "pending", "serial": None})
                assert answer.headers["link"] == f'<{API}/widget>; rel="status"'
        async with engine.connect() as connection:
            assert await connection.scalar(select(func.count()).select_from(Outbox)) == 1


async def test_lists_have_pages_and_a_search(deployment: Deployment) -> None:
    """Every project once, by name, whatever the size of the pages; the search looks at both spellings."""
    await deployment.upload("alpha-1.0", "beta_kit-1.0", "gamma-1.0rc1", "widget-1.0", "widget-0.9", summary="A thing")
    names, after = [], ""
    while True:
        found = await deployment.ask("GET", f"?limit=2{after}")
        names += [item["name"] for item in found["items"]]
        if found["next"] is None:
            break
        after = f"&after={found['next']}"
    assert names == ["alpha", "beta-kit", "gamma", "widget"]
    assert [item["name"] for item in (await deployment.ask("GET", "?q=TA_K"))["items"]] == ["beta-kit"]
    assert (await deployment.ask("GET", "?q=%25"))["items"] == [], "a percent sign is no wildcard"
    (widget,) = (await deployment.ask("GET", "?q=widget"))["items"]
    assert (widget["latest_version"], widget["releases"], widget["files"]) == ("1.0", 2, 2)
    assert (widget["summary"], widget["status"]) == ("A thing", "active")
    (gamma,) = (await deployment.ask("GET", "?q=gamma"))["items"]
    assert gamma["latest_version"] == "1.0rc1", "a pre-release is the newest where there is nothing else"


async def test_a_project_and_a_release_tell_all_of_themselves(deployment: Deployment) -> None:
    """Releases by version, not by time; files with digests, uploader, state and serial."""
    await deployment.upload("widget-1.10", "widget-1.9", summary="A thing")
    body, form = form_body("widget-1.9.tar.gz", make_sdist("widget", "1.9"))
    await deployment.http.post("/root/stable/", content=body, headers=deployment.owner | form)
    project = await deployment.ask("GET", "/Widget")
    assert [(line["version"], line["files"]) for line in project["releases"]] == [("1.10", 1), ("1.9", 2)]
    assert (project["latest_version"], project["serial"], project["status_reason"]) == ("1.10", 3, None)
    release = await deployment.ask("GET", "/widget/releases/1.9")
    assert release["metadata"]["summary"] == "A thing"
    assert [file["package_type"] for file in release["files"]] == ["bdist_wheel", "sdist"]
    first = release["files"][0]
    assert (first["state"], first["serial"], first["uploader"], first["yanked"]) == ("published", 2, "root", False)
    assert [len(first[name]) for name in ("sha256", "blake2b_256", "md5")] == [64, 64, 32]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "?limit=0", None, 422),
        ("GET", "?after=W10", None, 422),
        ("GET", "?after=" + "A" * 3000, None, 422),
        ("GET", "?q=" + "A" * 201, None, 422),
        ("GET", "/nothing", None, 404),
        ("GET", "/..%2Fwidget", None, 404),
        ("GET", "/widget/releases/2.0", None, 404),
        ("GET", "/widget/releases/" + "9" * 5000, None, 404),
        ("PATCH", "/nothing", {"status": "active"}, 404),
        ("PATCH", "/widget", {"status": "gone"}, 422),
        ("PATCH", "/widget", {"status": "archived", "reason": "a\nb"}, 422),
        ("PATCH", "/widget", {"status": "archived", "why": "?"}, 422),
        ("POST", "/widget/releases/1.0/yank", {"reason": "x" * 513}, 422),
        ("POST", "/widget/releases/1.0/yank", {"reason": 7}, 422),
        ("POST", "/widget/releases/1.0/files/other-1.0.tar.gz/yank", None, 404),
        ("POST", "/widget/releases/1.0/files/.hidden/yank", None, 404),
        ("DELETE", "/widget/releases/2.0", None, 404),
        ("DELETE", "/widget", None, 404),
    ],
)
async def test_what_makes_no_sense_is_refused_in_a_problem_document(
    deployment: Deployment, method: str, path: str, body: Any, status: int
) -> None:
    """Every bad input has its status and changes nothing."""
    await make_file(deployment.resources.engine, deployment.index, W10)
    answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=deployment.owner)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await deployment.audited() == []


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("PATCH", "/widget", Verb.CONFIGURE),
        ("POST", "/widget/releases/1.0/yank", Verb.UPLOAD),
        ("DELETE", "/widget/releases/1.0/yank", Verb.UPLOAD),
        ("DELETE", "/widget/releases/1.0", Verb.REMOVE),
        ("POST", f"/widget/releases/1.0/files/{W10}/yank", Verb.UPLOAD),
        ("DELETE", f"/widget/releases/1.0/files/{W10}/yank", Verb.UPLOAD),
        ("DELETE", f"/widget/releases/1.0/files/{W10}", Verb.REMOVE),
        ("DELETE", f"/widget/releases/1.0/files/{W10}/hold", Verb.CONFIGURE),
    ],
)
async def test_each_change_needs_its_right(deployment: Deployment, method: str, path: str, verb: Verb) -> None:
    """Nobody: 401 with a challenge; a stranger, a token of another project or without the verb: 403."""
    engine, index = deployment.resources.engine, deployment.index
    await make_file(engine, index, W10)
    others = frozenset(Verb) - {verb}
    tokens = [
        await make_token(engine, "mallory"),
        await make_token(engine, "root", [Scope(index.name, NormalizedName("gadget"), frozenset(Verb))]),
        await make_token(engine, "root", [Scope(index.name, None, others)]),
    ]
    await deployment.resources.directory.refresh()
    body = {"status": "archived"} if method == "PATCH" else None
    for headers in ({}, basic("cmk_1" + "0" * 49)):
        answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    for token in tokens:
        answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=basic(token))
        assert answer.status_code == 403, answer.text
    assert await deployment.audited() == []
    right = await make_token(engine, "root", [Scope(index.name, NormalizedName("widget"), frozenset({verb}))])
    await deployment.resources.directory.refresh()
    answer = await deployment.http.request(method, f"{API}{path}", json=body, headers=basic(right))
    assert answer.status_code == 200, answer.text


async def test_a_private_index_shows_its_projects_to_its_readers_alone(deployment: Deployment) -> None:
    """401 for nobody, 403 for a stranger, and an unknown index is not found."""
    engine = deployment.resources.engine
    secret = await make_index(engine, "root/secret", public=False)
    await make_file(engine, secret, W10)
    mallory = await make_token(engine, "mallory")
    await deployment.resources.directory.refresh()
    path = "/api/v1/indexes/root/secret/projects"
    for headers, status in (({}, 401), (basic(mallory), 403), (deployment.owner, 200)):
        for below in ("", "/widget", "/widget/releases/1.0"):
            assert (await deployment.http.get(path + below, headers=headers)).status_code == status
    assert (await deployment.http.get("/api/v1/indexes/root/none/projects")).status_code == 404
    assert (await deployment.http.get("/api/v1/indexes/a b/c/projects")).status_code == 404
    assert (await deployment.http.get(API)).status_code == 200, "what is public needs no credentials"


async def test_ten_changes_at_once_are_all_kept(deployment: Deployment) -> None:
    """Yanks of ten releases in parallel: each is signed, and each answer names a page that shows it."""
    await deployment.upload(*(f"widget-1.{number}" for number in range(10)))
    asked = (deployment.ask("POST", f"/widget/releases/1.{number}/yank") for number in range(10))
    answers = await asyncio.gather(*asked)
    assert [file["yanked"] for file in deployment.page()["files"]] == [True] * 10
    assert max(answer["serial"] for answer in answers) == deployment.page()["meta"]["_last-serial"]


async def test_pages_of_other_sites_change_nothing(deployment: Deployment) -> None:
    """A browser that knows a password for this host is not used by another site's page, to mark or to upload."""
    await deployment.upload("widget-1.0")
    body, form = form_body(W11, make_wheel("widget", "1.1"))
    for origin in ("https://evil.test", "null"):
        headers = deployment.owner | {"origin": origin}
        yank = await deployment.http.post(f"{API}/widget/releases/1.0/yank", headers=headers)
        assert (yank.status_code, yank.headers["content-type"]) == (403, "application/problem+json")
        upload = await deployment.http.post("/root/stable/", content=body, headers=headers | form)
        assert (upload.status_code, upload.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert await deployment.audited() == []
    own = deployment.owner | {"origin": "http://127.0.0.1:3141"}
    assert (await deployment.http.post(f"{API}/widget/releases/1.0/yank", headers=own)).status_code == 200


async def test_a_body_without_end_is_refused_before_it_fills_the_memory(deployment: Deployment) -> None:
    """Whoever sends it: a change says little, and 413 comes after a mebibyte."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 50 << 20:
            taken += 65536
            yield b" " * 65536

    answer = await deployment.http.post(f"{API}/widget/releases/1.0/yank", content=endless())
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert taken < 2 << 20
