"""Changes of projects at the dashboard: asked for by a form, made by the API."""

from __future__ import annotations

import pytest

from shared.auth.principal import Scope, Verb
from shared.auth.verifier import Verifier
from tests.integration.dashboard.demo import PROJECT, STABLE, WHEEL
from tests.support.browser import Browser
from tests.support.dashboard import post, signed_in
from tests.support.gateway import TestGateway
from tests.support.registry_api import RegistryApi


async def test_yank_asks_first_and_then_goes_to_the_api(api: RegistryApi, gateway: TestGateway, root: Browser) -> None:
    """The form becomes one request, made with a token for that verb and project alone, soon to expire."""
    ask = await root.get(f"{PROJECT}/change?action=yank&version=1.0&file={WHEEL}")
    assert f"Yank {WHEEL}?" in ask.text
    assert not api.asked
    done = await post(root, PROJECT, f"{PROJECT}/change", action="yank", version="1.0", file=WHEEL, reason="broken")
    assert (done.status_code, done.headers["location"]) == (303, f"{PROJECT}/releases/1.0?done=published")
    assert "signed and published" in (await root.get(done.headers["location"])).text
    (asked,) = api.asked
    files = f"/api/v1{PROJECT}/releases/1.0/files/{WHEEL}/yank"
    assert (asked.method, asked.path, asked.body) == ("POST", files, {"reason": "broken"})
    principal = await Verifier(gateway.resources.directory, gateway.clock).verify(asked.authorization)
    assert principal.scopes == (Scope(STABLE, "demo", frozenset({Verb.UPLOAD})),)  # type: ignore[arg-type]
    assert asked.authorization not in api.read_with


@pytest.mark.parametrize(
    ("fields", "request_line"),
    [
        ({"action": "unyank", "version": "1.0"}, ("DELETE", "/releases/1.0/yank", None)),
        ({"action": "remove", "version": "1.0"}, ("DELETE", "/releases/1.0", None)),
        ({"action": "remove", "version": "1.0", "file": WHEEL}, ("DELETE", f"/releases/1.0/files/{WHEEL}", None)),
    ],
)
async def test_the_other_changes(
    api: RegistryApi, root: Browser, fields: dict[str, str], request_line: tuple[str, str, object]
) -> None:
    """Each is the request that the API names for it."""
    done = await post(root, PROJECT, f"{PROJECT}/change", **fields)
    assert done.status_code == 303, done.text
    method, path, body = request_line
    assert [(asked.method, asked.path, asked.body) for asked in api.asked] == [
        (method, f"/api/v1{PROJECT}{path}", body)
    ]


async def test_the_status_is_changed(api: RegistryApi, root: Browser) -> None:
    """The form shows what each status means; the change goes to the API, and a pending one is said to be that."""
    api.change = (202, {"state": "pending"})
    assert "No file is offered" in (await root.get(f"{PROJECT}/status")).text
    done = await post(root, PROJECT, f"{PROJECT}/status", status="quarantined", reason="")
    assert done.headers["location"] == f"{PROJECT}?done=pending"
    assert "waiting to be signed" in (await root.get(done.headers["location"])).text
    assert api.asked[0].body == {"status": "quarantined", "reason": None}
    assert (await post(root, PROJECT, f"{PROJECT}/status", status="gone")).status_code == 400


async def test_a_refusal_is_shown_in_the_apis_words(api: RegistryApi, root: Browser) -> None:
    """What the API says no to is a page with its sentence."""
    api.change = (409, {"detail": "This release is under review."})
    done = await post(root, PROJECT, f"{PROJECT}/change", action="yank", version="1.0")
    assert done.status_code == 409
    assert "This release is under review." in done.text


async def test_who_may_not_gets_no_button_and_no_way(api: RegistryApi, gateway: TestGateway) -> None:
    """Without a right there is no button, no confirmation, and the form is refused before the API is asked."""
    guest = await signed_in(gateway, "guest")
    page = (await guest.get(PROJECT)).text
    assert "/change?" not in page
    assert "/status" not in page
    assert (await guest.get(f"{PROJECT}/change?action=yank&version=1.0")).status_code == 403
    refused = await post(guest, PROJECT, f"{PROJECT}/change", action="remove", version="1.0")
    assert refused.status_code == 403
    assert (await guest.get("/jobs")).status_code == 403
    assert not api.asked


@pytest.mark.parametrize("path", [f"{PROJECT}/change", f"{PROJECT}/status", "/tokens", "/jobs/1/retry"])
async def test_a_form_of_another_site_changes_nothing(api: RegistryApi, root: Browser, path: str) -> None:
    """A form without this session's token, or from another origin, is refused."""
    fields = {"action": "yank", "version": "1.0", "status": "archived", "label": "x", "days": "1", "verb_read": "on"}
    ours = str(root.client.base_url).rstrip("/")
    for origin, token in ((ours, "wrong"), ("http://evil.test", "wrong"), (ours, "")):
        answer = await root.client.post(path, data={**fields, "form_token": token}, headers={"origin": origin})
        assert answer.status_code == 403
    assert not api.asked
    assert "You have no token yet" in (await root.get("/tokens")).text


async def test_a_reason_is_a_line_of_printable_text(api: RegistryApi, root: Browser) -> None:
    """What no page could show is refused before anybody is asked to keep it."""
    for reason in ("a\0b", "a\x1bb", "x" * 501):
        page = await post(root, PROJECT, f"{PROJECT}/status", status="quarantined", reason=reason)
        assert (page.status_code, "printable characters" in page.text) == (400, True)
    assert api.asked == []
