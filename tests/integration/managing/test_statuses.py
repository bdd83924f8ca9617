"""The status of a project, signed before it is answered: quarantined, archived, active."""

from shared.catalogue import heads
from shared.errors import ErrorKind
from shared.objects.keys import file_key
from tests.integration.managing.deployment import W10, W11, Deployment
from tests.support.archives import make_wheel
from tests.support.factories import make_file
from tests.support.uploading import form_body


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
