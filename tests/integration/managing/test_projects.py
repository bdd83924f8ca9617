"""Projects and releases in the API as lists and documents tell of them."""

import asyncio

from packaging.utils import NormalizedName
from sqlalchemy import select

from countermark.core.names import FileName
from services.signing.upkeep.rebuilding import rebuild
from shared.catalogue.tables import File
from tests.integration.managing.deployment import API, W10, W11, W100, Deployment
from tests.support.archives import make_sdist
from tests.support.factories import MadeFile, make_file, make_index, make_token
from tests.support.kept_bundles import Keeper
from tests.support.uploading import basic, form_body


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
