"""Tokens at the dashboard: those people make, and those that pages read by."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from shared.auth.principal import Scope, Verb
from shared.auth.tokens import token_sha256
from shared.auth.verifier import BadCredentials, Verifier
from tests.integration.dashboard.demo import STABLE
from tests.support.browser import Browser
from tests.support.dashboard import post, signed_in
from tests.support.gateway import TestGateway
from tests.support.registry_api import RegistryApi


async def test_pages_read_by_a_token_that_can_nothing_else_and_ends_with_the_session(
    api: RegistryApi, gateway: TestGateway, root: Browser
) -> None:
    """All pages of a session ask as the person who looks, with one token; signing out revokes it."""
    await root.get("/")
    await root.get("/indexes/root/stable")
    (header,) = api.read_with
    verifier = Verifier(gateway.resources.directory, gateway.clock)
    reader = await verifier.verify(header)
    assert (reader.account, [scope.verbs for scope in reader.scopes or ()]) == ("root", [frozenset({Verb.READ})])
    digest = token_sha256(header.partition(" ")[2])
    assert digest is not None
    record = gateway.resources.directory.token(digest)
    assert record is not None
    assert record.expires_at <= gateway.clock.now() + timedelta(minutes=5)
    await root.submit(await root.get("/"))
    await gateway.resources.directory.refresh()
    with pytest.raises(BadCredentials):
        await verifier.verify(header)


async def test_a_token_is_shown_once_works_and_is_revoked(gateway: TestGateway, root: Browser) -> None:
    """The secret is on the page that answers the form alone; revoking ends it at once."""
    fields = {"label": "my machine", "index": "root/stable", "project": "Demo", "verb_upload": "on", "days": "7"}
    made = await post(root, "/tokens", "/tokens", **fields)
    secret = re.search(r'class="secret"[^>]*><code>([^<]+)<', made.text)
    assert secret is not None, made.text
    verifier = Verifier(gateway.resources.directory, gateway.clock)
    principal = await verifier.verify(f"Bearer {secret[1]}")
    assert principal.scopes == (Scope(STABLE, "demo", frozenset({Verb.UPLOAD})),)  # type: ignore[arg-type]
    listed = (await root.get("/tokens")).text
    assert "my machine" in listed
    assert secret[1] not in listed
    revoke = re.search(r'href="(/tokens/[^"]+/revoke)"', listed)
    assert revoke is not None
    assert "Revoke “my machine”?" in (await root.get(revoke[1])).text
    assert (await post(root, "/tokens", revoke[1])).status_code == 303
    assert "my machine" not in (await root.get("/tokens")).text
    with pytest.raises(BadCredentials):
        await verifier.verify(f"Bearer {secret[1]}")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verb_upload": ""}, None),
        ({"days": "0"}, "between 1 and 366 days"),
        ({"days": "x"}, "between 1 and 366 days"),
        ({"label": " "}, "Give the token a name"),
        ({"project": "no/such"}, "cannot be right"),
        ({"index": "root/none"}, "There is no index root/none"),
    ],
)
async def test_a_faulty_token_form_comes_back_with_the_fault(
    root: Browser, changed: dict[str, str], words: str | None
) -> None:
    """The fault is said above the form, which keeps what was filled in; nothing is made."""
    fields = {"label": "laptop", "index": "root/stable", "project": "", "days": "7", "verb_upload": "on", **changed}
    if words is None:
        del fields["verb_upload"]
    page = await post(root, "/tokens", "/tokens", **fields)
    assert page.status_code == 400
    assert (words or "Choose at least one thing") in page.text
    assert "You have no token yet" in page.text


async def test_the_token_form_does_not_tell_private_indexes_apart(gateway: TestGateway, root: Browser) -> None:
    """An index that the visitor may not read answers as one that is not there; who may read it gets a token for it."""
    guest = await signed_in(gateway, "guest")
    fields = {"label": "x", "project": "", "days": "7", "verb_read": "on"}
    for name in ("root/vault", "root/nothing"):
        page = await post(guest, "/tokens", "/tokens", index=name, **fields)
        assert (page.status_code, f"There is no index {name}." in page.text) == (400, True)
    assert (await post(root, "/tokens", "/tokens", index="root/vault", **fields)).status_code == 200


async def test_one_account_cannot_revoke_anothers_token(gateway: TestGateway, root: Browser) -> None:
    """Another's token is not there, on the page and for the form."""
    await post(root, "/tokens", "/tokens", label="my machine", index="", project="", days="7", verb_read="on")
    revoke = re.search(r'href="(/tokens/[^"]+/revoke)"', (await root.get("/tokens")).text)
    assert revoke is not None
    guest = await signed_in(gateway, "guest")
    assert (await guest.get(revoke[1])).status_code == 404
    assert (await post(guest, "/tokens", revoke[1])).status_code == 404
    assert "my machine" in (await root.get("/tokens")).text
